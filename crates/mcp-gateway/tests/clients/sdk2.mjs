// The TypeScript SDK in its second line: `sdk2.mjs FOLDER URL ERA`, ERA being `legacy` or `2026-07-28`.

import { note, observe, print, until } from "./expect.mjs";

const [folder, url, era] = process.argv.slice(2);
const sdk = await import(`${folder}/node_modules/@modelcontextprotocol/client/dist/index.mjs`);
const modern = era !== "legacy";

const client = new sdk.Client(
  { name: "sdk2", version: "1" },
  {
    capabilities: { sampling: {}, roots: { listChanged: true }, elicitation: { form: {}, url: {} } },
    versionNegotiation: { mode: modern ? { pin: era } : "legacy" },
  },
);
const received = { urls: [], updates: [], logs: [], changes: 0 };
client.setRequestHandler("sampling/createMessage", () => ({
  role: "assistant",
  model: "sdk2 model",
  content: { type: "text", text: "hello" },
}));
client.setRequestHandler("roots/list", () => ({ roots: [{ uri: "file:///sdk2" }] }));
client.setRequestHandler("elicitation/create", ({ params }) => {
  if (params.url) received.urls.push(params.url);
  return params.url ? { action: "accept" } : { action: "accept", content: { name: "Ada" } };
});
client.setNotificationHandler("notifications/resources/updated", ({ params }) => {
  received.updates.push(params.uri);
});
client.setNotificationHandler("notifications/message", ({ params }) => {
  received.logs.push(params);
});
client.setNotificationHandler("notifications/tools/list_changed", () => {
  received.changes += 1;
});

const transport = new sdk.StreamableHTTPClientTransport(new URL(url));
await client.connect(transport);

const api = {
  answers: ["sampling", "roots", "elicitation"],
  callTool: (name, args, options) => client.callTool({ name, arguments: args }, options),
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
await note("version", () => client.getNegotiatedProtocolVersion());
if (!modern) await note("ping", () => client.ping());
await observe(api, received);

await note("logging", async () => {
  const meta = modern ? { _meta: { "io.modelcontextprotocol/logLevel": "info" } } : {};
  if (!modern) await client.setLoggingLevel("info");
  await client.callTool({ name: "test__log", arguments: { message: "logged" }, ...meta });
  await until(() => received.logs.some((log) => JSON.stringify(log.data).includes("logged")));
  return true;
});
await note("subscribe", async () => {
  const uri = "demo://resource/static/document/features.md";
  let listening;
  if (modern) listening = await client.listen({ resourceSubscriptions: [uri] });
  else await client.subscribeResource({ uri });
  await client.callTool({ name: "everything__toggle-subscriber-updates", arguments: {} });
  await until(() => received.updates.length > 0);
  await client.callTool({ name: "everything__toggle-subscriber-updates", arguments: {} });
  if (modern) await listening.close();
  else await client.unsubscribeResource({ uri });
  return received.updates[0] === uri;
});
await note("list changed", async () => {
  const listening = modern ? await client.listen({ toolsListChanged: true }) : undefined;
  const before = received.changes;
  await client.callTool({ name: "test__set_tools", arguments: { names: ["set_tools", "fresh"] } });
  await until(() => received.changes > before);
  const names = (await client.listTools(undefined, { cacheMode: "bypass" })).tools.map((tool) => tool.name);
  await client.callTool({ name: "test__set_tools", arguments: {} });
  await listening?.close();
  return names.includes("test__fresh");
});
await client.close();
print();
