// The flags of --github-oidc: all together or none, and https URLs alone. `codex responses-api-proxy` 0.169.0 refuses the same.

import { describe, expect, test } from "bun:test";

import { type Options, parseOptions, toArguments } from "../../src/input/options.ts";
import { runProgram } from "../harness/program.ts";

const REQUEST_URL = "https://run-actions-1.actions.githubusercontent.com/1//idtoken/2/3?api-version=2.0";
const BASIC = {
  "github-oidc": "",
  "oidc-audience": "https://api.openai.com/v1",
  "identity-provider-id": "idp_1",
  "service-account-id": "user-1",
  "github-oidc-request-url": REQUEST_URL,
};
const OTHER_UPSTREAM = { "upstream-url": "https://openai.test/v1/responses" };
const TOKEN_URL = { "oidc-token-url": "https://auth.openai.test/oauth/token" };

type Flags = Record<string, string | undefined>;

/** The basic flags with changes; those that are undefined are left out. */
const flags = (changes: Flags = {}): string[] =>
  Object.entries({ ...BASIC, ...changes } as Flags).flatMap(([name, value]) =>
    value === undefined ? [] : name === "github-oidc" ? [`--${name}`] : [`--${name}=${value}`],
  );

const expected = {
  requestUrl: new URL(REQUEST_URL),
  audience: "https://api.openai.com/v1",
  identityProviderId: "idp_1",
  serviceAccountId: "user-1",
  tokenUrl: new URL("https://auth.openai.com/oauth/token"),
};

describe("accepted", () => {
  const ACCEPTED: [changes: Flags, githubOidc: Partial<typeof expected>][] = [
    [{}, {}],
    [{ "upstream-url": "https://api.openai.com/v1/responses" }, {}],
    [TOKEN_URL, { tokenUrl: new URL(TOKEN_URL["oidc-token-url"]) }],
    [{ ...TOKEN_URL, ...OTHER_UPSTREAM }, { tokenUrl: new URL(TOKEN_URL["oidc-token-url"]) }],
    [
      { "oidc-audience": ' a "b"&=é', "identity-provider-id": "-", "service-account-id": "a b" },
      { audience: ' a "b"&=é', identityProviderId: "-", serviceAccountId: "a b" },
    ],
    [{ "oidc-audience": "a".repeat(1024) }, { audience: "a".repeat(1024) }],
    [
      { "github-oidc-request-url": "https://localhost:8443" },
      { requestUrl: new URL("https://localhost:8443/") },
    ],
    [{ "max-requests": "5", lifetime: "1h", "key-file": "/tmp/token" }, {}],
  ];
  test.each(ACCEPTED)("%j", (changes, githubOidc) => {
    const parsed = parseOptions(flags(changes)) as Options;
    expect(parsed.githubOidc).toEqual({ ...expected, ...githubOidc });
    // The second start gets the same.
    expect((parseOptions(toArguments(parsed)) as Options).githubOidc).toEqual(parsed.githubOidc);
  });
});

const PREFIX = "responses-api-proxy: ";
const HELP = `${PREFIX}hint: responses-api-proxy --help shows all flags\n`;
const PERMISSION = `${PREFIX}hint: in GitHub Actions the job needs permissions: id-token: write\n`;
const INSTALLATION = `${PREFIX}hint: another installation needs its --oidc-token-url, too\n`;

describe("refused with exit code 2", () => {
  const url = "github-oidc-request-url";
  const REFUSED: [args: string[], error: string, hint?: string][] = [
    [
      ["--github-oidc"],
      "--github-oidc requires --oidc-audience, --identity-provider-id, --service-account-id, --github-oidc-request-url",
    ],
    ...Object.keys(BASIC).flatMap((name): [string[], string][] =>
      name === "github-oidc"
        ? [[flags({ [name]: undefined }), "--oidc-audience requires --github-oidc"]]
        : [[flags({ [name]: undefined }), `--github-oidc requires --${name}`]],
    ),
    [["--oidc-token-url=https://a.test/"], "--oidc-token-url requires --github-oidc"],
    [["--service-account-id=a"], "--service-account-id requires --github-oidc"],
    [flags(OTHER_UPSTREAM), "--github-oidc requires the default --upstream-url", INSTALLATION],
    [
      flags({ "upstream-url": "https://api.openai.com/v1/responses?a=b" }),
      "--github-oidc requires the default --upstream-url",
      INSTALLATION,
    ],
    [flags({ "oidc-audience": "" }), "--oidc-audience needs a value"],
    [flags({ "identity-provider-id": "" }), "--identity-provider-id needs a value"],
    [flags({ "service-account-id": "" }), "--service-account-id needs a value"],
    // What a workflow without the permission gives.
    [flags({ [url]: "" }), `--${url} needs a value`, PERMISSION],
    [
      flags({ "oidc-audience": "a".repeat(1025) }),
      "--oidc-audience must have at most 1024 characters, got 1025",
    ],
    ...["http://a.test/x", "a.test/x", "https:a.test", "https://", "ftp://a.test/", "http://127.0.0.1/"].map(
      (text): [string[], string] => [
        flags({ [url]: text }),
        `--${url} must be an absolute https URL, got '${text}'`,
      ],
    ),
    [
      flags({ [url]: "https://me:pass@a.test/x" }),
      `--${url} must not contain user info, got 'https://…@a.test/x'`,
    ],
    [
      flags({ [url]: "https://a.test/x#y" }),
      `--${url} must not contain a fragment, got 'https://a.test/x#y'`,
    ],
    [flags({ [url]: "https://a.test/x#" }), `--${url} must not contain a fragment, got 'https://a.test/x#'`],
    [flags({ [url]: "https://a.test:0/" }), `--${url} must not have port 0, got 'https://a.test:0/'`],
    [
      flags({ "oidc-token-url": "http://127.0.0.1/" }),
      "--oidc-token-url must be an absolute https URL, got 'http://127.0.0.1/'",
    ],
    [[...flags(), "--github-oidc"], "--github-oidc is given more than once"],
    [[...flags(), "--oidc-audience=a"], "--oidc-audience is given more than once"],
    [["--github-oidc=yes"], "--github-oidc takes no value, got 'yes'"],
  ];
  test.each(REFUSED)("%j", async (args, error, hint = "") => {
    const { exitCode, stdout, stderr } = await runProgram({ args, input: "qqqq\n" });
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr).toBe(`${PREFIX}error: ${error}\n${hint}${HELP}`);
  });
});
