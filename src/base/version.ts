// The program's name and version.

import { name, version } from "../../package.json" with { type: "json" };

export { name, version };

/**
 * The Server field (RFC 9110 §10.2.4) of the proxy's own errors and of no answer that it passes on: by it, `status` and `wait` recognise the
 * proxy. Also their User-Agent.
 */
export const SERVER = `${name}/${version}`;
