// The session that docs/pictures/run.svg shows: a shell on a real pty, with the program, an agent and an attack typed into it. The command
// lines are those of a user: `pass` is a stand-in, and so is
// api.openai.com: on this machine, where an HTTPS_PROXY leads to.

import { chmodSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

import { makeAuthority, trust } from "../harness/certificates.ts";
import { atEnd } from "../harness/cleanup.ts";
import { sharedCopy, temporaryDirectory } from "../harness/copies.ts";
import { until, within } from "../harness/deadline.ts";
import { startHttpProxy } from "../harness/http-proxy.ts";
import type { Need } from "../harness/needs.ts";
import { BARE_ENVIRONMENT, CANARY_KEY } from "../harness/program.ts";
import { type ResponsesApi, startResponsesApi } from "../harness/responses-api.ts";
import { as, ORDINARY } from "../harness/users.ts";

export const COLUMNS = 90;
const ROWS = 40;

/** What is typed. The first line is the key's owner, who has a password manager; the others are whoever runs behind the proxy: the same user. */
export const COMMANDS = [
  "pass show openai | responses-api-proxy run -- bash",
  "env | grep -i key                # a token for this proxy, not the key",
  "bun agent.js 'Where is the key?' # OpenAI's SDK",
  "curl -w '\\nHTTP %{http_code}\\n' $OPENAI_BASE_URL/models",
  "cat /proc/$(pgrep -P $$ proxy)/{environ,mem,fd/0}",
  "exit",
];

/** The prompt of the shell in which `run` is typed, and that of the shell which is COMMAND. */
const [OUTER, INNER] = ["$ ", "agent$ "];
export const PROMPT = /^(?:agent)?\$ /;

export const NEEDS: Need[] = ["bash", "curl", "pgrep", "/proc without hidepid"];

/** What the terminal got, and when. */
export type Event = { atMs: number; text: string };

export type Played = { events: Event[]; upstream: ResponsesApi; asked: string[] };

/** How fast a person types and reads; nobody waits in a test. */
export type Pace = { keyMs: number; readMs: number; wordMs: number };

/** Goes through the session from the first prompt to the closing line. An ordinary user's, also if root plays it. */
export async function play(binary: string, { keyMs, readMs, wordMs }: Pace): Promise<Played> {
  const home = await makeHome();
  const authority = await makeAuthority("api.openai.com");
  const upstream = startResponsesApi({ tls: authority.server, pauseMs: wordMs });
  atEnd(upstream.stop);
  const { port, asked } = await startHttpProxy({ to: Number(new URL(upstream.url).port) });
  const shell = new Shell(binary, home, {
    ...trust(authority, home),
    HTTPS_PROXY: `http://127.0.0.1:${port}`,
  });
  for (const command of COMMANDS) {
    await shell.prompted();
    await Bun.sleep(readMs);
    await shell.type(command, keyMs);
  }
  await shell.closed();
  return { events: shell.events, upstream, asked };
}

/** A directory with the agent, and with what keeps the user's own settings out. */
async function makeHome(): Promise<string> {
  const home = temporaryDirectory();
  const built = await Bun.build({
    entrypoints: [join(import.meta.dir, "agent.ts")],
    target: "bun",
    outdir: home,
  });
  if (!built.success) throw new AggregateError(built.logs, "the agent cannot be bundled");
  writeFileSync(join(home, ".bashrc"), `unset PROMPT_COMMAND; PS1='${INNER}'\n`);
  writeFileSync(join(home, ".hushlogin"), "");
  writeFileSync(join(home, "pass"), `#!/bin/sh\necho '${CANARY_KEY}'\n`);
  chmodSync(join(home, "pass"), 0o755);
  writeFileSync(join(home, "inputrc"), "set enable-bracketed-paste off\n");
  for (const name of ["agent.js", ".bashrc", "inputrc"]) chmodSync(join(home, name), 0o644);
  return home;
}

class Shell {
  readonly events: Event[] = [];
  readonly #startedAt = performance.now();
  readonly #child: Bun.Subprocess;
  /** How much of the text was there when Enter was pressed last. */
  #typedAt = 0;

  constructor(binary: string, home: string, environment: Record<string, string>) {
    const decoder = new TextDecoder();
    const path = [binary, sharedCopy(process.execPath, 0o755)].map((file) => dirname(file));
    this.#child = Bun.spawn([...as(ORDINARY), "bash", "--norc", "--noprofile", "-i"], {
      env: {
        ...BARE_ENVIRONMENT,
        ...environment,
        PATH: [home, ...path, BARE_ENVIRONMENT.PATH].join(":"),
        HOME: home,
        PS1: OUTER,
        // The shell does not wait for the process that says the closing line: its prompt could come first.
        PROMPT_COMMAND: "sleep 0.3",
        TERM: "dumb",
        INPUTRC: join(home, "inputrc"),
        HISTFILE: "/dev/null",
      },
      cwd: home,
      terminal: {
        cols: COLUMNS,
        rows: ROWS,
        data: (_terminal, bytes) => {
          const text = decoder.decode(bytes, { stream: true });
          this.events.push({ atMs: performance.now() - this.#startedAt, text });
        },
      },
    });
    atEnd(() => {
      this.#child.kill("SIGKILL");
      return this.#child.exited;
    });
  }

  get #text(): string {
    return this.events.map(({ text }) => text).join("");
  }

  #sees(pattern: RegExp, what: string): Promise<unknown> {
    return until(() => pattern.test(this.#text.slice(this.#typedAt)), what, { seen: () => this.#text });
  }

  prompted(): Promise<unknown> {
    return this.#sees(/(?:^|\n)(?:agent)?\$ $/, "a prompt");
  }

  /** Types a line, and waits until the terminal has shown each character. */
  async type(line: string, keyMs: number): Promise<void> {
    for (const character of line) {
      this.#child.terminal!.write(character);
      if (keyMs > 0) await Bun.sleep(keyMs);
    }
    await until(() => this.#text.endsWith(line), `'${line}' on the terminal`, { seen: () => this.#text });
    this.#typedAt = this.#text.length;
    this.#child.terminal!.write("\n");
  }

  /** Waits for the line that says what was, and ends the shell. */
  async closed(): Promise<void> {
    await this.#sees(/ended after .*\r\n/, "the closing line");
    this.#child.kill("SIGHUP");
    await within(this.#child.exited, "the shell to end");
  }
}
