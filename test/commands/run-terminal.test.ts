// `run` in a terminal: COMMAND has it as if nothing of ours were there. A shell with job control on a real pty starts it.

import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { atEnd } from "../harness/cleanup.ts";
import { until, within } from "../harness/deadline.ts";
import { lacks } from "../harness/needs.ts";
import { BARE_ENVIRONMENT, BINARY, CANARY_KEY, temporaryDirectory } from "../harness/program.ts";
import { processesOf } from "../harness/run.ts";
import { RawUpstream } from "../harness/upstream.ts";

const PROMPT = "ready> ";

class Shell {
  readonly url = new RawUpstream().url;
  #seen = "";
  readonly #child: Bun.Subprocess;

  constructor() {
    const decoder = new TextDecoder();
    this.#child = Bun.spawn(["bash", "--norc", "--noprofile", "-i"], {
      env: { ...BARE_ENVIRONMENT, PS1: PROMPT, KEY: CANARY_KEY, RAP: BINARY, URL: this.url, TERM: "dumb" },
      cwd: "/",
      terminal: {
        cols: 90,
        rows: 30,
        data: (_terminal, bytes) => {
          this.#seen += decoder.decode(bytes, { stream: true });
        },
      },
    });
    atEnd(() => {
      this.#child.kill("SIGKILL");
      return this.#child.exited;
    });
  }

  /** Types; the terminal shows it again. */
  type(text: string): void {
    this.#seen = "";
    this.#child.terminal!.write(text);
  }

  resize(columns: number, rows: number): void {
    this.#child.terminal!.resize(columns, rows);
  }

  /** Resolves with what came since the last `type`, once the pattern is in it. */
  async until(pattern: RegExp): Promise<string> {
    await until(() => pattern.test(this.#seen), `${pattern} on the terminal`, { seen: () => this.#seen });
    return this.#seen;
  }

  /** Runs a line to its end, and returns what it wrote. */
  async line(text: string): Promise<string> {
    this.type(`${text}\n`);
    const seen = await this.until(new RegExp(`\\n[^\\n]*${PROMPT}`));
    return seen.replaceAll("\r", "");
  }

  get exited(): Promise<number> {
    return this.#child.exited;
  }
}

async function startShell(): Promise<Shell> {
  const shell = new Shell();
  await shell.until(/ready> $/);
  await shell.line("bind 'set enable-bracketed-paste off' 2>/dev/null");
  return shell;
}

const RUN = 'printenv KEY | "$RAP" run --upstream-url="$URL" --';
const gone = ({ url }: Shell): Promise<boolean> =>
  until(() => processesOf(url).length === 0, "every process of the run to end", {
    seen: () => processesOf(url).join("\n"),
  });

describe.skipIf(lacks("bash"))("in a terminal (needs bash)", () => {
  test("COMMAND's standard input is the terminal, and it draws alone on it", async () => {
    const shell = await startShell();
    shell.type(
      `${RUN} sh -c 'tty; stty size; echo "in front: $(ps -o stat= -p $$)"; read line; echo "<$line>"'\n`,
    );
    const start = await shell.until(/in front: S\S*\r\n/);
    expect(start).toMatch(/\/dev\/tty\r\n30 90\r\n/);
    expect(start).toMatch(/in front: S\S*\+/);
    shell.type("typed\n");
    expect(await shell.until(/<typed>\r\n/)).toBeString();
    await gone(shell);
  });

  test("Ctrl-C reaches COMMAND alone: the proxy serves on until COMMAND ends", async () => {
    const shell = await startShell();
    shell.type(
      `${RUN} sh -c 'trap "echo interrupted; curl -s -d hi -H \\"Authorization: Bearer $OPENAI_API_KEY\\" $OPENAI_BASE_URL/responses; echo; exit 9" INT; echo up; while :; do sleep 0.1; done'; echo "code $?"\n`,
    );
    await shell.until(/\nup\r\n/);
    shell.type("\x03");
    expect(await shell.until(/code \d+/)).toMatch(/interrupted\r\nok\r\n[^]*code 9/);
    await gone(shell);
  });

  test("Ctrl-C while the key is awaited leaves nothing", async () => {
    const shell = await startShell();
    shell.type(`sleep 20 | "$RAP" run --upstream-url="$URL" -- echo never\n`);
    await until(() => processesOf(shell.url).length >= 2, "the proxy to start");
    shell.type("\x03");
    await shell.until(/ready> $/);
    expect(await shell.line('echo "code $?"')).toContain("code 130");
    await gone(shell);
  });

  test("Ctrl-Z stops it, fg goes on, and the window's size is the terminal's", async () => {
    const shell = await startShell();
    shell.type(`${RUN} sh -c 'echo up; read x; stty size; exit 4'\n`);
    await shell.until(/\nup\r\n/);
    shell.type("\x1a");
    await shell.until(/Stopped[^]*ready> /);
    shell.resize(111, 44);
    shell.type("fg\n");
    await shell.until(/fg\r\n/);
    shell.type("\n");
    expect(await shell.until(/\d+ \d+\r\n[^]*ready> /)).toMatch(/44 111\r\n/);
    expect(await shell.line('echo "code $?"')).toContain("code 4");
    await gone(shell);
  });

  test("a program that reads keys itself, and its exit code", async () => {
    const shell = await startShell();
    const file = join(temporaryDirectory(), "raw");
    writeFileSync(
      file,
      'old=$(stty -g); stty raw -echo; k=$(dd bs=1 count=1 2>/dev/null); stty $old; echo "key $k"; exit 6\n',
    );
    shell.type(`${RUN} sh -c 'echo up; . ${file}'; echo "code $?"\n`);
    await shell.until(/\nup\r\n/);
    shell.type("q");
    expect(await shell.until(/code \d+/)).toMatch(/key q\r\n[^]*code 6/);
    await gone(shell);
  });

  test("the terminal is closed: COMMAND and the proxy end", async () => {
    const shell = await startShell();
    shell.type(`${RUN} sh -c 'echo up; exec sleep 60'\n`);
    await shell.until(/\nup\r\n/);
    expect(processesOf(shell.url).length).toBeGreaterThan(0);
    process.kill(-(await foregroundOf(shell.url)), "SIGHUP");
    await gone(shell);
  });

  test("a terminal as standard input, and no key file", async () => {
    const shell = await startShell();
    const seen = await shell.line('"$RAP" run -- echo never; echo "code $?"');
    expect(seen).toContain(
      "error: standard input is a terminal, and a key must not be typed\n" +
        "responses-api-proxy: hint: pipe the key in: printenv OPENAI_API_KEY | responses-api-proxy run -- COMMAND\n" +
        "responses-api-proxy: hint: or name a file that has it: --key-file FILE\n",
    );
    expect(seen).toContain("code 1");
    expect(seen).not.toContain("\nnever");
    shell.type("exit\n");
    await within(shell.exited, "the shell to end");
  });
});

/** The process group of the COMMAND of the only run: its proxy's parent's. */
async function foregroundOf(upstreamUrl: string): Promise<number> {
  const [proxy] = processesOf(upstreamUrl);
  const pid = proxy!.split(" ")[0]!;
  const parent = (await Bun.$`ps -o ppid= -p ${pid}`.text()).trim();
  return Number((await Bun.$`ps -o pgid= -p ${parent}`.text()).trim());
}
