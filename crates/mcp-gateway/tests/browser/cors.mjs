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
    const initialize = {
      jsonrpc: "2.0",
      id: 1,
      method: "initialize",
      params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "page", version: "1" } },
    };
    const post = async (token) => {
      try {
        const response = await fetch(gateway, {
          method: "POST",
          headers: {
            Authorization: `Bearer ${token}`,
            "Content-Type": "application/json",
            Accept: "application/json, text/event-stream",
            "Mcp-Protocol-Version": "2025-11-25",
          },
          body: JSON.stringify(initialize),
        });
        return {
          status: response.status,
          session: response.headers.get("mcp-session-id") !== null,
          challenge: response.headers.get("www-authenticate"),
        };
      } catch (error) {
        return { error: error.name };
      }
    };
    return { right: await post(token), wrong: await post("of-nobody-at-all-1") };
  },
  [gateway, token],
);
console.log(JSON.stringify(seen));
await browser.close();
