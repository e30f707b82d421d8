// The runner's side: inputs, outputs and the commands that a line of standard output can be.
// https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands

import { randomUUID } from "node:crypto";
import { appendFileSync } from "node:fs";

/** What went wrong, in one line, for whoever wrote the workflow. */
export class Failure extends Error {}

/** Returns an input without blanks around it; empty if it was not given. It stays in no variable that a child could inherit. */
export function takeInput(name: string): string {
  const variable = `INPUT_${name.toUpperCase()}`;
  const value = process.env[variable] ?? "";
  delete process.env[variable];
  return value.trim();
}

/** Returns a variable that the runner sets. Throws Failure. */
export function variable(name: string): string {
  const value = process.env[name];
  if (!value) throw new Failure(`${name} is not set: this is for a runner of GitHub Actions`);
  return value;
}

export function setOutput(name: string, value: string | number): void {
  const end = randomUUID();
  appendFileSync(variable("GITHUB_OUTPUT"), `${name}<<${end}\n${value}\n${end}\n`);
}

/** From here on the runner shows *** in place of it. */
export function mask(secret: string): void {
  command("add-mask", secret);
}

export function warn(text: string): void {
  command("warning", text);
}

/** Ends the step: one line, and no stack. Anything but a Failure is a bug, whose message may quote what was being handled. */
export function fail(error: unknown): void {
  command("error", error instanceof Failure ? error.message : `internal error (${(error as Error).name})`);
  process.exitCode = 1;
}

/** Prints a text that others may have written, in a group, without obeying the commands in it. */
export function printGroup(title: string, text: string): void {
  const token = randomUUID();
  console.log(`::group::${title}`);
  console.log(`::stop-commands::${token}`);
  console.log(text.trimEnd());
  console.log(`::${token}::`);
  console.log("::endgroup::");
}

function command(name: string, value: string): void {
  const escaped = value.replaceAll("%", "%25").replaceAll("\r", "%0D").replaceAll("\n", "%0A");
  console.log(`::${name}::${escaped}`);
}
