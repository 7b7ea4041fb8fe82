// The TypeScript SDK in its first line (legacy era): `sdk1.mjs FOLDER URL`, where FOLDER holds its `node_modules`.

import { callsOf, note, observe, person, print } from "./expect.mjs";

const [folder, url] = process.argv.slice(2);
const sdk = `${folder}/node_modules/@modelcontextprotocol/sdk/dist/esm`;
const { Client } = await import(`${sdk}/client/index.js`);
const { StreamableHTTPClientTransport } = await import(`${sdk}/client/streamableHttp.js`);
const types = await import(`${sdk}/types.js`);

const knowsElicitation = types.ElicitRequestSchema !== undefined;
const capabilities = { sampling: {}, roots: { listChanged: true } };
if (knowsElicitation) capabilities.elicitation = { form: {}, url: {} };
const client = new Client({ name: "sdk1", version: "1" }, { capabilities });
const ann = person("sdk1");
client.setRequestHandler(types.CreateMessageRequestSchema, ann.sample);
client.setRequestHandler(types.ListRootsRequestSchema, ann.roots);
if (knowsElicitation) client.setRequestHandler(types.ElicitRequestSchema, ann.elicit);
client.setNotificationHandler(types.ResourceUpdatedNotificationSchema, ann.updated);
client.setNotificationHandler(types.LoggingMessageNotificationSchema, ann.logged);
client.setNotificationHandler(types.ToolListChangedNotificationSchema, ann.changed);

const transport = new StreamableHTTPClientTransport(new URL(url));
await client.connect(transport);
await note("server", () => client.getServerVersion().name);
await note("ping", () => client.ping());
const api = {
  ...callsOf(client),
  answers: ["sampling", "roots", ...(knowsElicitation ? ["elicitation"] : [])],
  callTool: (name, args, options) => client.callTool({ name, arguments: args }, undefined, options),
};
await observe(api, ann.received);
await transport.terminateSession?.();
await client.close();
print();
