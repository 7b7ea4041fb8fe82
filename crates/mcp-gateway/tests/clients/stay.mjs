// Clients of the TypeScript SDK that stay: `stay.mjs FOLDER LINE URL ERA COUNT`, LINE being `sdk1` or `sdk2`.
//
// It connects COUNT clients and prints a line. For each line on stdin every client calls a tool, and the answers are printed,
// with how often each client was told meanwhile that the state of a server is lost.

import { createInterface } from "node:readline";

const [folder, line, url, era, count] = process.argv.slice(2);
const modules = `${folder}/node_modules/@modelcontextprotocol`;
let Client, StreamableHTTPClientTransport;
let logging = "notifications/message";
if (line === "sdk1") {
  ({ Client } = await import(`${modules}/sdk/dist/esm/client/index.js`));
  ({ StreamableHTTPClientTransport } = await import(`${modules}/sdk/dist/esm/client/streamableHttp.js`));
  ({ LoggingMessageNotificationSchema: logging } = await import(`${modules}/sdk/dist/esm/types.js`));
} else {
  ({ Client, StreamableHTTPClientTransport } = await import(`${modules}/client/dist/index.mjs`));
}

const clients = [];
const lost = [];
for (let number = 0; number < Number(count); number++) {
  const mode = era === "legacy" ? "legacy" : { pin: era };
  const client = new Client({ name: "stay", version: "1" }, { versionNegotiation: { mode } });
  // A stream that breaks is no reason to stop.
  client.onerror = () => {};
  client.setNotificationHandler(logging, ({ params }) => {
    if (JSON.stringify(params.data).includes("is lost")) lost[number] += 1;
  });
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  clients.push(client);
}
console.log(JSON.stringify({ connected: clients.length }));

for await (const message of createInterface({ input: process.stdin })) {
  lost.length = 0;
  clients.forEach(() => lost.push(0));
  const answers = await Promise.all(
    clients.map(async (client) => {
      try {
        const result = await client.callTool({ name: "test__echo", arguments: { message } });
        return result.content[0].text;
      } catch (error) {
        return `${error.name}: ${error.message}`;
      }
    }),
  );
  // What came before an answer is passed on before it, but by callbacks of its own.
  await new Promise((resolve) => setTimeout(resolve, 100));
  console.log(JSON.stringify({ answers, lost }));
}
process.exit(0);
