// A package registry on 127.0.0.1 that serves real tarballs to `npm install`, `npx`, `bun install` and `bunx`.

import { atEnd } from "./cleanup.ts";

type Manifest = { name: string; version: string };

export class Registry {
  /** Paths asked for. */
  readonly asked: string[] = [];
  readonly #manifests = new Map<string, { manifest: Manifest; tarball: string | undefined }>();
  readonly #server: Bun.Server<undefined>;

  constructor() {
    this.#server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: (request) => this.#answer(request) });
    atEnd(() => this.#server.stop(true));
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.port}/`;
  }

  /** Offers a package; without a tarball, only its metadata. */
  add(manifest: Manifest, tarball?: string): void {
    this.#manifests.set(manifest.name, { manifest, tarball });
  }

  async #answer(request: Request): Promise<Response> {
    const [, name = "", file] = new URL(request.url).pathname.split("/");
    this.asked.push(file === undefined ? name : `${name}/${file}`);
    const found = this.#manifests.get(name);
    if (found === undefined) return new Response("{}", { status: 404 });
    const { manifest, tarball } = found;
    if (file !== undefined)
      return tarball === undefined ? new Response("", { status: 404 }) : new Response(Bun.file(tarball));
    const dist = { tarball: `${this.url}${name}/${name}.tgz`, ...(await checksums(tarball)) };
    return Response.json({
      name,
      "dist-tags": { latest: manifest.version },
      versions: { [manifest.version]: { ...manifest, dist } },
    });
  }
}

async function checksums(tarball: string | undefined): Promise<object> {
  const bytes = tarball === undefined ? new Uint8Array() : await Bun.file(tarball).bytes();
  const shasum = new Bun.CryptoHasher("sha1").update(bytes).digest("hex");
  const integrity = `sha512-${new Bun.CryptoHasher("sha512").update(bytes).digest("base64")}`;
  return { shasum, integrity };
}
