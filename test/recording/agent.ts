// The agent of the recorded session: OpenAI's SDK, which knows nothing but its environment. It streams the answer to its first argument.

import OpenAI from "openai";

const events = await new OpenAI().responses.create({
  model: "gpt-5",
  input: process.argv[2] ?? "",
  stream: true,
});
for await (const event of events)
  if (event.type === "response.output_text.delta") process.stdout.write(event.delta);
process.stdout.write("\n");
