// The least that a proxy on Bun can be, with nothing of what ours promises. It speaks HTTP/1.1, as all peers do.

const [port, upstream] = process.argv.slice(2) as [string, string];
const forward = async ({ method, headers }: Request, body: ArrayBuffer): Promise<Response> =>
  fetch(upstream, { method, headers, body, protocol: "http1.1" } as RequestInit);
// A body that is passed on as a stream would cost twice as much.
const handle = async (request: Request) => forward(request, await request.arrayBuffer());
Bun.serve({ hostname: "127.0.0.1", port: Number(port), fetch: handle });
