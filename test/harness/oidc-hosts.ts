// Stand-ins over TLS for the three hosts of --github-oidc: GitHub's, which gives ID tokens, OpenAI's, which exchanges them, and the upstream.

import { type Authority, makeAuthority, trust } from "./certificates.ts";
import { Proxy, type Start, temporaryDirectory } from "./program.ts";
import { type Connection, RawUpstream, type Received } from "./upstream.ts";

export const AUDIENCE = "https://api.openai.com/v1?a b&c";
export const [PROVIDER, ACCOUNT] = ['idp_"1"', "sa_é"];
/** What standard input has: dots, as GitHub's has. */
export const REQUEST_TOKEN = `req.${"uFrH7kQ2".repeat(100)}.tokn`;

/** The JSON of an answer with a token, or a whole answer in its place. */
type Answer = Record<string, unknown> | string;

export function json(status: string, body: unknown): string {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  // The stand-ins write a byte for each character.
  const bytes = Buffer.from(text).toString("latin1");
  return `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${bytes.length}\r\n\r\n${bytes}`;
}

const random = (bytes: number): string =>
  crypto.getRandomValues(new Uint8Array(bytes)).toBase64({ alphabet: "base64url", omitPadding: true });

export class OidcHosts {
  readonly #authority: Authority;
  readonly github: RawUpstream;
  readonly openai: RawUpstream;
  readonly upstream: RawUpstream;
  readonly env: Record<string, string>;
  /** The tokens that were given, in their order. */
  readonly idTokens: string[] = [];
  readonly accessTokens: string[] = [];
  /** Of the tokens that are given from now on. */
  lifeSeconds = 3600;
  /** In place of the usual answers, from now on. */
  idAnswer: (token: string, request: Received) => Answer | undefined = (value) => ({ value });
  accessAnswer: (token: string, request: Received) => Answer | undefined = (token) => this.goodAnswer(token);
  /** Whether a connection is closed after the answer. */
  closes = false;
  /** Waited for before an answer of either. */
  beforeAnswer: () => Promise<unknown> | undefined = () => undefined;
  /** A token is this long. */
  readonly #tokenBytes: number;

  private constructor(authority: Authority, tokenBytes: number) {
    this.#authority = authority;
    this.#tokenBytes = tokenBytes;
    const tls = authority.server;
    this.env = trust(authority, temporaryDirectory());
    this.github = new RawUpstream({
      tls,
      answer: (connection, request) =>
        void this.#answer(connection, this.idTokens, (token) => this.idAnswer(token, request)),
    });
    this.openai = new RawUpstream({
      tls,
      answer: (connection, request) =>
        void this.#answer(connection, this.accessTokens, (token) => this.accessAnswer(token, request)),
    });
    this.upstream = new RawUpstream({ tls });
  }

  static async start({ tokenBytes = 900, host = "localhost" } = {}): Promise<OidcHosts> {
    return new OidcHosts(await makeAuthority(host), tokenBytes);
  }

  get certificate() {
    return this.#authority.server;
  }

  get requestUrl(): string {
    return `${this.github.url.replace("/v1/responses", "/idtoken/1/2")}?api-version=2.0`;
  }

  get tokenUrl(): string {
    return this.openai.url.replace("/v1/responses", "/oauth/token");
  }

  /** The whole command line. */
  get args(): string[] {
    return [
      "--github-oidc",
      `--oidc-audience=${AUDIENCE}`,
      `--identity-provider-id=${PROVIDER}`,
      `--service-account-id=${ACCOUNT}`,
      `--github-oidc-request-url=${this.requestUrl}`,
      `--oidc-token-url=${this.tokenUrl}`,
      `--upstream-url=${this.upstream.url}`,
    ];
  }

  /** How the program is started, with more arguments. */
  start(...more: string[]): Start {
    return { args: [...this.args, ...more], input: `${REQUEST_TOKEN}\n`, env: this.env };
  }

  proxy(...more: string[]): Promise<Proxy> {
    return Proxy.start(this.start(...more));
  }

  /** The Authorization of each request that the upstream got. */
  authorizations(): (string | undefined)[] {
    return this.upstream.requests.map(({ fields }) => fields.find(([name]) => name === "authorization")?.[1]);
  }

  goodAnswer(token: string): Record<string, unknown> {
    return {
      access_token: token,
      issued_token_type: "urn:ietf:params:oauth:token-type:access_token",
      token_type: "Bearer",
      expires_in: this.lifeSeconds,
      // In whole seconds, and never the nearer end.
      expires_at: Math.ceil(Date.now() / 1000) + this.lifeSeconds,
    };
  }

  async #answer(
    connection: Connection,
    tokens: string[],
    make: (token: string) => Answer | undefined,
  ): Promise<void> {
    const token = [random(9), random(this.#tokenBytes), random(30)].join(".");
    const answer = make(token);
    if (JSON.stringify(answer ?? "").includes(token)) tokens.push(token);
    await this.beforeAnswer();
    if (answer === undefined) return;
    connection.write(typeof answer === "string" ? answer : json("200 OK", answer));
    if (this.closes) connection.end();
  }
}
