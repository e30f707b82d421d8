// Just enough of HTTP/1.1's receiving side for servers that only ever get POSTs with a body of known length.

/** How a request's head reads on from `received`, once it is whole: the head, how long the body is, and how much of it is there. */
export function parseHead(
  received: string,
): { head: string; bodyBytes: number; bodyBytesThere: number } | undefined {
  const end = received.indexOf("\r\n\r\n");
  if (end === -1) return undefined;
  const head = received.slice(0, end);
  const bodyBytes = Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0);
  return { head, bodyBytes, bodyBytesThere: received.length - end - 4 };
}
