// Connects to a Unix socket and asks for nothing that passes. Prints the status of the answer, or why there is none. Usage: bun dial.ts PATH

import { connect } from "node:net";

const socket = connect({ path: process.argv[2]! }, () =>
  socket.write("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
);
let received = "";
socket.on("data", (bytes) => (received += bytes.toString("latin1")));
socket.on("error", (error) => console.log((error as NodeJS.ErrnoException).code));
socket.on("end", () => console.log(/^HTTP\/1\.1 (\d+)/.exec(received)?.[1] ?? "nothing"));
