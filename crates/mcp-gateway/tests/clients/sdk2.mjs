// The TypeScript SDK in its second line: `sdk2.mjs FOLDER URL ERA`, ERA being `legacy` or `2026-07-28`.

import { callsOf, note, observe, person, print } from "./expect.mjs";

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
const ann = person("sdk2");
client.setRequestHandler("sampling/createMessage", ann.sample);
client.setRequestHandler("roots/list", ann.roots);
client.setRequestHandler("elicitation/create", ann.elicit);
client.setNotificationHandler("notifications/resources/updated", ann.updated);
client.setNotificationHandler("notifications/message", ann.logged);
client.setNotificationHandler("notifications/tools/list_changed", ann.changed);

const transport = new sdk.StreamableHTTPClientTransport(new URL(url));
await client.connect(transport);
await note("server", () => client.getServerVersion().name);
await note("version", () => client.getNegotiatedProtocolVersion());
if (!modern) await note("ping", () => client.ping());

const listen = async (filter) => {
  const listening = await client.listen(filter);
  return () => listening.close();
};
const ofModern = {
  log: (args) => {
    const _meta = { "io.modelcontextprotocol/logLevel": "info" };
    return client.callTool({ name: "test__log", arguments: args, _meta });
  },
  subscribe: (uri) => listen({ resourceSubscriptions: [uri] }),
  listenToTools: () => listen({ toolsListChanged: true }),
};
const api = {
  ...callsOf(client),
  ...(modern ? ofModern : {}),
  answers: ["sampling", "roots", "elicitation"],
  callTool: (name, args, options) => client.callTool({ name, arguments: args }, options),
  // Not what it has kept from the last time.
  listTools: async () => (await client.listTools(undefined, { cacheMode: "bypass" })).tools,
};
await observe(api, ann.received);
await client.close();
print();
