// Clients of the TypeScript SDK that stay: `stay.mjs FOLDER LINE URL ERA COUNT`, LINE being `sdk1` or `sdk2`.
//
// It connects COUNT clients and prints a line. For each line on stdin every client calls a tool, and the answers are printed.

import { createInterface } from "node:readline";

const [folder, line, url, era, count] = process.argv.slice(2);
const modules = `${folder}/node_modules/@modelcontextprotocol`;
let Client, StreamableHTTPClientTransport;
if (line === "sdk1") {
  ({ Client } = await import(`${modules}/sdk/dist/esm/client/index.js`));
  ({ StreamableHTTPClientTransport } = await import(`${modules}/sdk/dist/esm/client/streamableHttp.js`));
} else {
  ({ Client, StreamableHTTPClientTransport } = await import(`${modules}/client/dist/index.mjs`));
}

const clients = [];
for (let number = 0; number < Number(count); number++) {
  const mode = era === "legacy" ? "legacy" : { pin: era };
  const client = new Client({ name: "stay", version: "1" }, { versionNegotiation: { mode } });
  // A stream that breaks is no reason to stop.
  client.onerror = () => {};
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  clients.push(client);
}
console.log(JSON.stringify({ connected: clients.length }));

for await (const message of createInterface({ input: process.stdin })) {
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
  console.log(JSON.stringify({ answers }));
}
process.exit(0);
