// A TypeScript SDK over `mcp-pool connect`: `stdio.mjs SDK FOLDER ERA PROGRAM`.

const [sdk, folder, era, program] = process.argv.slice(2);
const server = { command: program, args: ["connect", "--client", sdk], env: process.env, stderr: "inherit" };
let client;
if (sdk === "sdk1") {
  const path = `${folder}/node_modules/@modelcontextprotocol/sdk/dist/esm/client`;
  const { Client } = await import(`${path}/index.js`);
  const { StdioClientTransport } = await import(`${path}/stdio.js`);
  client = new Client({ name: "sdk1", version: "1" });
  await client.connect(new StdioClientTransport(server));
} else {
  const path = `${folder}/node_modules/@modelcontextprotocol/client/dist`;
  const { Client } = await import(`${path}/index.mjs`);
  const { StdioClientTransport } = await import(`${path}/stdio.mjs`);
  const mode = era === "legacy" ? "legacy" : { pin: era };
  client = new Client({ name: "sdk2", version: "1" }, { versionNegotiation: { mode } });
  await client.connect(new StdioClientTransport(server));
}
const { tools } = await client.listTools();
const listed = tools.some((tool) => tool.name === "test__echo");
const called = await client.callTool({ name: "test__echo", arguments: { message: "héllo ☀" } });
let error = false;
try {
  const refused = await client.callTool({ name: "test__none", arguments: {} });
  error = refused.isError === true;
} catch {
  error = true;
}
await client.close();
console.log(JSON.stringify({ listed, echo: called.content[0].text, error }));
