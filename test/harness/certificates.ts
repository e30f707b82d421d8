// A certificate authority that lives as long as one run, and certificates it signs.

import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { generate } from "selfsigned";

export type Certificate = { key: string; cert: string };

/** Returns a new authority and a certificate that it signed for `host`, which has expired if `expired` is set. */
export async function makeAuthority(host = "localhost", { expired = false } = {}): Promise<Authority> {
  const name = `throw-away CA ${crypto.randomUUID()}`;
  const ca = await generate([{ name: "commonName", value: name }], {
    keyType: "ec",
    algorithm: "sha256",
    extensions: [{ name: "basicConstraints", cA: true, critical: true }],
  });
  const yesterday = new Date(Date.now() - 86_400_000);
  const server = await generate([{ name: "commonName", value: host }], {
    keyType: "ec",
    algorithm: "sha256",
    ca: { key: ca.private, cert: ca.cert },
    notBeforeDate: new Date(Date.now() - 2 * 86_400_000),
    notAfterDate: expired ? yesterday : new Date(Date.now() + 86_400_000),
    extensions: [
      {
        name: "subjectAltName",
        altNames: [
          { type: 2, value: host },
          { type: 7, ip: "127.0.0.1" },
        ],
      },
    ],
  });
  return { caCert: ca.cert, server: { key: server.private, cert: server.cert } };
}

export type Authority = { caCert: string; server: Certificate };

/** Writes the authority's certificate to `directory`. Returns the environment in which the program trusts it. */
export function trust({ caCert }: Authority, directory: string): { NODE_EXTRA_CA_CERTS: string } {
  const path = join(directory, "ca.pem");
  writeFileSync(path, caCert, { mode: 0o644 });
  return { NODE_EXTRA_CA_CERTS: path };
}
