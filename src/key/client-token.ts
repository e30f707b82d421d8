// --client-token: what clients must send in place of a key. A new one at each start; only the file, the process that started this one (`run`) and
// this object have it.

import { tokenPlace } from "../files/places.ts";
import { PublishedFile, withText } from "../files/published.ts";

const TOKEN_BYTES = 32;
const OWN_MODE = 0o600;
const GROUP_MODE = 0o640;

export class ClientToken {
  readonly #value: Uint8Array;
  /** Undefined if `run` alone is told the token. */
  readonly file: PublishedFile | undefined;

  private constructor(value: string, file?: PublishedFile) {
    this.#value = Buffer.from(value);
    this.file = file;
  }

  /** Makes a token of 256 random bits that is in no file. */
  static withoutFile(): ClientToken {
    return new ClientToken(randomValue());
  }

  /** Makes a token, and its file, which is published later. Comes before the filter, which forbids chown(2). Throws UserError. */
  static create(path: string, gid: number | undefined): ClientToken {
    const value = randomValue();
    const access = { mode: gid === undefined ? OWN_MODE : GROUP_MODE, gid };
    return new ClientToken(
      value,
      PublishedFile.create(tokenPlace(path), withText(`${value}\n`, OWN_MODE), access),
    );
  }

  /** The token, for the client that it is made for. */
  exposeForClient(): string {
    return Buffer.from(this.#value).toString();
  }

  /** Whether the field is `Bearer <token>` (RFC 6750 §2.1), compared in a time that does not depend on where they differ. */
  matches(authorization: string | null): boolean {
    const [, sent] = /^bearer +(\S+)$/i.exec(authorization ?? "") ?? [];
    if (sent === undefined) return false;
    const bytes = Buffer.from(sent);
    return bytes.byteLength === this.#value.byteLength && isEqual(bytes, this.#value);
  }
}

function randomValue(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(TOKEN_BYTES));
  return bytes.toBase64({ alphabet: "base64url", omitPadding: true });
}

/** Bun has node:crypto's function on the global object. Not a constant: loading `crypto` would slow each start. */
function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return (crypto as unknown as { timingSafeEqual: typeof isEqual }).timingSafeEqual(a, b);
}
