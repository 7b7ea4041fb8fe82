// Calls the gateway from a page in a real browser: `node cors.mjs <page> <gateway> <token>`.
// Prints what the page's script could do, as JSON.

import { createRequire } from "node:module";

const { chromium } = createRequire(`${process.env.POOL_TEST_PLAYWRIGHT}/`)("playwright-core");
const [at, gateway, token] = process.argv.slice(2);

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: [
    ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
    ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
  ],
});
const page = await browser.newPage();
await page.goto(at);
const seen = await page.evaluate(
  async ([gateway, token]) => {
    // The browser asks first whether the page may send these headers.
    const send = (token, method, params, headers, verb = "POST") =>
      fetch(gateway, {
        method: verb,
        headers: {
          Authorization: `Bearer ${token}`,
          "Content-Type": "application/json",
          Accept: "application/json, text/event-stream",
          ...headers,
        },
        body: verb === "POST" ? JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }) : undefined,
      });
    const client = async (token) => {
      try {
        const version = { "Mcp-Protocol-Version": "2025-11-25" };
        const clientInfo = { name: "page", version: "1" };
        const params = { protocolVersion: "2025-11-25", capabilities: {}, clientInfo };
        const response = await send(token, "initialize", params, version);
        const session = response.headers.get("mcp-session-id");
        const seen = {
          status: response.status,
          session: session !== null,
          challenge: response.headers.get("www-authenticate"),
        };
        if (!session) return seen;
        const headers = { ...version, "Mcp-Session-Id": session, "Last-Event-ID": "1" };
        seen.ping = (await send(token, "ping", {}, headers)).status;
        const prefix = "io.modelcontextprotocol";
        const _meta = { [`${prefix}/protocolVersion`]: "2026-07-28", [`${prefix}/clientCapabilities`]: {} };
        const modern = { "Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list" };
        seen.modern = (await send(token, "tools/list", { _meta }, modern)).status;
        seen.end = (await send(token, "", {}, headers, "DELETE")).status;
        return seen;
      } catch (error) {
        return { error: error.name };
      }
    };
    return { right: await client(token), wrong: await client("of-nobody-at-all-1") };
  },
  [gateway, token],
);
console.log(JSON.stringify(seen));
await browser.close();
