// What each name in the tables means, in a sentence.

export const MEANINGS: Record<string, string> = {
  "latency added p50":
    "what the proxy adds to the time until an answer is there; half of the requests wait less",
  "latency p50": "the time until the answer is there, if each connection sends the next request at once",
  "requests/s":
    "requests of 2 kB with an answer of 84 bytes; the load and the upstream use the same processors; the gateway is not measured above 256 connections",
  "CPU per request": "user and system time of all processes of the proxy, for one request",
  "CPU per request, to that at 32": "whether a request costs more because there are many connections",
  "RSS after the load": "resident memory after each round of all these loads",
  "copies of the key": "how often the key stands in memory that may be swapped out, after the load",
  "requests/s without TLS": "the same to an upstream on the same machine, without TLS",
  "CPU per request without TLS": "likewise; above 64 connections the program opens new ones to the upstream",
  "first byte p50": "the time until half of the streams have begun, all of them opened at the same moment",
  "first byte p99": "the time until 990 of the streams have begun",
  "new TLS handshakes": "connections that the proxy opens though 1,000 streams have just ended on others",
  "event delay p50":
    "how much later events come than without a proxy, each sent on all streams at the same moment",
  RSS: "resident memory while so many streams are open",
  "RSS, idle": "resident memory 2 s after the start, before the first request",
  "wake-ups, at first": "how often a thread of the proxy wakes up in the minute after its first request",
  "wake-ups, idle": "how often one does after that minute, though there is nothing to do",
  "100 MB answer": "a single large answer, without TLS",
  "100 MB upload": "a single large request, without TLS",
  start: "from the start of the process to its server-info file, as an ordinary user",
  "start from a readable file": "the same if that user can read the program, which then copies itself first",
};
