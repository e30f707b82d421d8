// The list of mutations (npm run test:mutations) fits the program as it is: each can be made, and names tests that are there.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";

import { mutate, type Mutation, testFile } from "../mutations/mutation.ts";
import native from "../mutations/native.ts";
import oidc from "../mutations/oidc.ts";
import src from "../mutations/src.ts";

const ALL: readonly Mutation[] = [...native, ...src, ...oidc];

describe("mutations", () => {
  test("each stands in its file exactly once, and changes it", () => {
    for (const mutation of ALL) {
      const text = readFileSync(mutation.file, "utf8");
      expect(mutate(text, mutation), mutation.promise).not.toBe(text);
    }
    expect(ALL.length).toBeGreaterThan(100);
  });

  test("one that does not, or does twice, is an error", () => {
    const mutation = { promise: "a promise", file: "file", from: "a", to: "b", tests: [] };
    expect(mutate("-a-", mutation)).toBe("-b-");
    expect(() => mutate("-", mutation)).toThrow('file, "a promise": stands there 0 times: a');
    expect(() => mutate("-a-a-", mutation)).toThrow("stands there 2 times");
  });

  test("each names tests that are there", () => {
    for (const { promise, tests, only } of ALL) {
      expect(tests.length, promise).toBeGreaterThan(0);
      for (const name of tests) expect(testFile(name), name).toBeDefined();
      expect(() => new RegExp(only ?? "")).not.toThrow();
    }
  });

  test("each promise is listed once", () => {
    const names = ALL.map(({ file, promise }) => `${file}: ${promise}`);
    expect(names).toEqual([...new Set(names)]);
  });

  test("every file between the socket, the key and the kernel has some", () => {
    const files = new Set(ALL.map(({ file }) => file));
    const expected = [
      "native/files/descriptors.ts",
      "native/files/directory.ts",
      "native/files/files.ts",
      "native/process/credentials.ts",
      "native/process/image.ts",
      "native/process/memory.ts",
      "native/process/process.ts",
      "native/sandbox/bpf.ts",
      "native/sandbox/landlock.ts",
      "native/sandbox/seccomp.ts",
      "native/sockets/datagram.ts",
      "native/sockets/listener.ts",
      "native/sockets/socket-owner.ts",
      "src/base/terminal.ts",
      "src/commands/run/client-environment.ts",
      "src/commands/run/codex.ts",
      "src/commands/run/run.ts",
      "src/commands/run/watch.ts",
      "src/base/upstream-faults.ts",
      "src/files/key-file.ts",
      "src/files/log-file.ts",
      "src/files/owners.ts",
      "src/files/places.ts",
      "src/files/published.ts",
      "src/files/server-info-reader.ts",
      "src/files/server-info.ts",
      "src/input/environment.ts",
      "src/input/upstream-url.ts",
      "src/input/oidc/options.ts",
      "src/key/authorization.ts",
      "src/key/client-token.ts",
      "src/key/key.ts",
      "src/key/oidc/acceptance.ts",
      "src/key/oidc/ask.ts",
      "src/key/oidc/exchange.ts",
      "src/key/oidc/first-token.ts",
      "src/key/oidc/members.ts",
      "src/key/oidc/renewal.ts",
      "src/lockdown/file.ts",
      "src/lockdown/memory-lock.ts",
      "src/lockdown/reexec.ts",
      "src/lockdown/refusals.ts",
      "src/lockdown/sandbox.ts",
      "src/lockdown/starts.ts",
      "src/lockdown/user.ts",
      "src/main.ts",
      "src/proxy/body.ts",
      "src/server/budget.ts",
      "src/server/bun-serve.ts",
      "src/server/callers.ts",
      "src/proxy/failures.ts",
      "src/proxy/forward.ts",
      "src/proxy/headers.ts",
      "src/server/idle.ts",
      "src/server/overload.ts",
      "src/proxy/policy.ts",
      "src/report/starter.ts",
      "src/server/server.ts",
      "src/proxy/upstream.ts",
      "src/run.ts",
    ];
    expect(expected.filter((file) => !files.has(file))).toEqual([]);
  });
});
