// Which programs the action installs, from where and to where. Tests replace this file, and nothing else of the action.

import { version } from "../../package.json";
import digests from "../digests.json";

/** Version → target → SHA-256 of the program: what is installed is known by its content, wherever it came from. */
export const RELEASES: Readonly<Record<string, Readonly<Record<string, string>>>> = { [version]: digests };

export const LATEST = version;

/** The npm registry's address of a target's package: no package manager, and so no configuration of one. */
export const addressOf = (target: string, release: string): string =>
  `https://registry.npmjs.org/responses-api-proxy-${target}/-/responses-api-proxy-${target}-${release}.tgz`;

/** Where root installs the program. */
export const INSTALLED = "/usr/local/bin/responses-api-proxy";

export const SUDO = "/usr/bin/sudo";
