// The TypeScript SDK in its first line (legacy era): `sdk1.mjs FOLDER URL`, where FOLDER holds its `node_modules`.

import { note, observe, print, until } from "./expect.mjs";

const [folder, url] = process.argv.slice(2);
const sdk = `${folder}/node_modules/@modelcontextprotocol/sdk/dist/esm`;
const { Client } = await import(`${sdk}/client/index.js`);
const { StreamableHTTPClientTransport } = await import(`${sdk}/client/streamableHttp.js`);
const types = await import(`${sdk}/types.js`);

const knowsElicitation = types.ElicitRequestSchema !== undefined;
const capabilities = { sampling: {}, roots: { listChanged: true } };
if (knowsElicitation) capabilities.elicitation = { form: {}, url: {} };
const client = new Client({ name: "sdk1", version: "1" }, { capabilities });
const received = { urls: [], updates: [], logs: [], changes: 0 };

client.setRequestHandler(types.CreateMessageRequestSchema, () => ({
  role: "assistant",
  model: "sdk1 model",
  content: { type: "text", text: "hello" },
}));
client.setRequestHandler(types.ListRootsRequestSchema, () => ({ roots: [{ uri: "file:///sdk1" }] }));
if (knowsElicitation) {
  client.setRequestHandler(types.ElicitRequestSchema, ({ params }) => {
    if (params.url) received.urls.push(params.url);
    return params.url ? { action: "accept" } : { action: "accept", content: { name: "Ada" } };
  });
}
client.setNotificationHandler(types.ResourceUpdatedNotificationSchema, ({ params }) => {
  received.updates.push(params.uri);
});
client.setNotificationHandler(types.LoggingMessageNotificationSchema, ({ params }) => {
  received.logs.push(params);
});
client.setNotificationHandler(types.ToolListChangedNotificationSchema, () => {
  received.changes += 1;
});

const transport = new StreamableHTTPClientTransport(new URL(url));
await client.connect(transport);

const api = {
  answers: ["sampling", "roots", ...(knowsElicitation ? ["elicitation"] : [])],
  callTool: (name, args, options) => client.callTool({ name, arguments: args }, undefined, options),
  listTools: async () => (await client.listTools()).tools,
  listPrompts: async () => (await client.listPrompts()).prompts,
  getPrompt: async (name, args) => (await client.getPrompt({ name, arguments: args })).messages,
  listResources: async () => (await client.listResources()).resources,
  listTemplates: async () => (await client.listResourceTemplates()).resourceTemplates,
  readResource: async (uri) => (await client.readResource({ uri })).contents,
  complete: async (name, argument, value) => {
    const ref = { type: "ref/prompt", name };
    return (await client.complete({ ref, argument: { name: argument, value } })).completion.values;
  },
};
await note("server", () => client.getServerVersion().name);
await note("ping", () => client.ping());
await observe(api, received);

await note("logging", async () => {
  await client.setLoggingLevel("info");
  await client.callTool({ name: "test__log", arguments: { message: "logged" } });
  await until(() => received.logs.some((log) => JSON.stringify(log.data).includes("logged")));
  return true;
});
await note("subscribe", async () => {
  const uri = "demo://resource/static/document/features.md";
  await client.subscribeResource({ uri });
  await client.callTool({ name: "everything__toggle-subscriber-updates", arguments: {} });
  await until(() => received.updates.length > 0);
  await client.callTool({ name: "everything__toggle-subscriber-updates", arguments: {} });
  await client.unsubscribeResource({ uri });
  return received.updates[0] === uri;
});
await note("list changed", async () => {
  const before = received.changes;
  await client.callTool({ name: "test__set_tools", arguments: { names: ["set_tools", "fresh"] } });
  await until(() => received.changes > before);
  const names = (await api.listTools()).map((tool) => tool.name);
  await client.callTool({ name: "test__set_tools", arguments: {} });
  return names.includes("test__fresh");
});
await transport.terminateSession?.();
await client.close();
print();
