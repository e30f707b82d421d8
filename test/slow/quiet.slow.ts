// Ten minutes without a byte.

import { test } from "bun:test";

import { expectQuietIsFine } from "../harness/quiet.ts";

test("10 minutes before the head and in the middle of a stream are fine", () => expectQuietIsFine(600));
