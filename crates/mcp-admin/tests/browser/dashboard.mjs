// Looks at the dashboard in a real browser: `node dashboard.mjs <scenario> <url>`.
//
// What the program behind the page is to do is written to stdout, a line each, and answered on stdin when it is done.
// Nothing here waits for a time: only for what must come to be.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

import { fits, readable } from "./checks.mjs";
import { heldAfter, makeHours } from "./hours.mjs";

const { chromium } = createRequire(`${process.env.POOL_TEST_PLAYWRIGHT}/`)("playwright-core");
const [scenario, url, extra] = process.argv.slice(2);

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function order(what) {
  console.log(what);
  const { value } = await answers.next();
  assert.equal(value, "done", what);
}

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: [
    ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
    ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
  ],
});

/** Opens the page. Whatever goes wrong in it fails the test at the end, unless it is `expected`. */
async function open({ expected = /^$/, before, at = url, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  const wrong = [];
  const note = (text) => expected.test(text) || wrong.push(text);
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && note(message.text()));
  page.on("pageerror", (error) => note(String(error.stack)));
  page.on("requestfailed", (request) => note(`${request.url()} ${request.failure().errorText}`));
  page.on("response", (response) => response.status() >= 400 && note(`${response.url()} ${response.status()}`));
  page.on("dialog", (dialog) => note(`a dialog of the browser: ${dialog.message()}`));
  await before?.(page);
  await page.goto(at);
  page.card = (name) => page.locator(".server", { has: page.getByRole("heading", { name, exact: true }) });
  page.end = async () => {
    await context.close();
    assert.deepEqual(wrong, []);
  };
  return page;
}

const text = (locator, wanted) => locator.filter({ hasText: wanted }).waitFor();
const breaker = (page, name, state) => page.card(name).locator(`.breaker[data-state="${state}"]`).waitFor();

/** Waits for so many snapshots more: each changes the uptime. */
async function snapshots(page, number) {
  for (let left = number; left > 0; left -= 1) {
    const before = await page.textContent("#uptime");
    await page.waitForFunction((before) => document.getElementById("uptime").textContent !== before, before);
  }
}

const scenarios = {
  /** Servers, their numbers and what can be done to them. */
  async live() {
    const page = await open();
    await text(page.locator("#connection"), /^Live$/);
    await text(page.locator("#overall"), "Healthy 2 servers: 2 healthy.");
    const steady = page.card("steady");
    await order("call steady");
    await text(steady.locator(".facts"), /Calls\s*[1-9]/);
    await text(steady.locator(".facts"), "0 active, 1 idle of 2");
    await text(steady.locator(".sessions tbody"), /#\d+ready/);
    await page.waitForFunction(() => document.querySelector(".line.rate").getAttribute("d").includes("L"));

    // What is open or has the focus stays so, whatever comes in.
    const before = await steady.locator(".sessions").elementHandle();
    await steady.getByRole("button", { name: "Health check" }).focus();
    await snapshots(page, 2);
    assert.ok(await before.evaluate((details) => details.isConnected && details.open));
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Health check");

    await page.keyboard.press("Enter");
    await text(steady.getByRole("status"), /Session \d+ answered in .*\sms\. Healthy\.$/);

    const about = steady.locator(".about");
    await about.locator("summary").click();
    await text(about, /Command or URL.*mcp-testkit/s);
    await text(about.locator("tr", { hasText: "max_connections" }), /2\s*code, for all servers/);
    await text(about.locator("pre"), "Nothing was written.");

    const session = await steady.locator(".sessions td").first().textContent();
    await steady.getByRole("button", { name: "Drain" }).click();
    await page.keyboard.press("Escape");
    await steady.getByRole("button", { name: "Drain" }).click();
    await steady.getByRole("button", { name: "Replace sessions" }).click();
    await text(steady.getByRole("status"), "All sessions have been replaced or closed.");
    await text(page.locator("#events"), /steady session \d+ closed after .*: drained/);
    await steady.locator(".sessions td", { hasText: new RegExp(`^${session}$`) }).waitFor({ state: "detached" });

    await order("fail flaky");
    await text(page.card("flaky").locator(".breaker"), /Breaker open, next try in \d+ s/);
    await text(page.locator("#overall"), "Critical 2 servers: 1 critical, 1 healthy.");
    const alert = page.locator(".alert", { hasText: "flaky" });
    await text(alert, "Critical");
    await text(page.locator("#announce"), "Critical: server `flaky`: ");
    await page.selectOption("#sort", "worst");
    assert.equal(await page.locator(".server h3").first().textContent(), "flaky");
    await alert.getByRole("button", { name: "Silence 1 h" }).click();
    await text(page.locator("#alerts-count"), "0, 1 silenced");
    await text(alert, "silenced until");
    await alert.getByRole("button", { name: "End silence" }).click();
    await text(page.locator("#alerts-count"), /^1$/);
    await alert.getByRole("button", { name: "flaky" }).click();
    assert.equal(await page.evaluate(() => document.activeElement.querySelector("h3").textContent), "flaky");

    await page.card("flaky").getByRole("button", { name: "Reset" }).click();
    await text(page.card("flaky").getByRole("status"), "1 breaker closed");
    await breaker(page, "flaky", "closed");
    await alert.waitFor({ state: "detached" });
    await text(page.locator("#alerts-empty"), "None is active.");
    await page.end();
  },

  /** A breaker is seen by its event: after the first snapshot none comes here. */
  async events() {
    const page = await open({
      before: (page) =>
        page.addInitScript(() => {
          const { fetch } = window;
          window.fetch = async (...request) => {
            const response = await fetch(...request);
            if (!String(request[0]).includes("events")) return response;
            let first = true;
            let rest = "";
            const filter = new TransformStream({
              transform(piece, to) {
                const blocks = (rest + piece).split("\n\n");
                rest = blocks.pop();
                for (const block of blocks) {
                  const snapshot = block.includes("event: snapshot");
                  // Silence would be taken for the end of the connection.
                  to.enqueue(snapshot && !first ? ": left out\n\n" : `${block}\n\n`);
                  first &&= !snapshot;
                }
              },
            });
            const body = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(filter);
            return new Response(body.pipeThrough(new TextEncoderStream()), { status: response.status });
          };
        }),
    });
    await breaker(page, "flaky", "closed");
    const uptime = await page.textContent("#uptime");
    await order("fail flaky");
    await breaker(page, "flaky", "open");
    await text(page.locator("#events"), "flaky breaker open: 3 faults in a row");
    await page.card("flaky").getByRole("button", { name: "Reset" }).click();
    await breaker(page, "flaky", "closed");
    await text(page.locator("#events"), "flaky breaker closed: reset");
    assert.equal(await page.textContent("#uptime"), uptime, "no other snapshot was shown");
    await page.end();
  },

  /** A page that is left open holds no more after three quarters of an hour than after ten minutes. */
  async hours() {
    const page = await open({ before: (page) => page.addInitScript(makeHours), expected: /ERR_ABORTED/ });
    const cdp = await page.context().newCDPSession(page);
    await cdp.send("Performance.enable");
    const early = await heldAfter(page, cdp, 300);
    const late = await heldAfter(page, cdp, 1400);
    assert.equal(await page.locator("#events li").count(), 100);
    const told = JSON.stringify({ early, late });
    assert.ok(late.nodes < early.nodes * 1.1, told);
    assert.ok(late.listeners < early.listeners * 1.5, told);
    assert.ok(late.megabytes < early.megabytes + 2, told);
    await page.end();
  },

  /** Many servers, hostile names, every size and both schemes. */
  async looks() {
    const hostile = '<img src=x onerror="window.hacked=1">';
    for (const colorScheme of ["light", "dark"]) {
      const page = await open({ colorScheme, viewport: { width: 390, height: 844 } });
      await text(page.locator("#servers-count"), /^43$/);
      assert.equal(await page.inputValue("#layout"), "rows");
      await text(page.locator(".alert"), "broken");
      for (const layout of ["rows", "cards"]) {
        await page.selectOption("#layout", layout);
        for (const width of [320, 390, 800, 1280]) {
          await page.setViewportSize({ width, height: 844 });
          await fits(page);
        }
        await readable(page);
      }
      await text(page.card("off"), "Disabled");
      await text(page.card("broken").locator(".problem"), "Last failure to open");
      for (const name of ["..", "a/b?c#d%20e"]) {
        await page.card(name).getByRole("button", { name: "Reset" }).click();
        await text(page.card(name).getByRole("status"), "Nothing was to be reset.");
      }
      await page.card(hostile).waitFor();
      await page.fill("#filter", "IMG");
      await text(page.locator("#servers-count"), /^1 of 43$/);
      assert.equal(await page.locator(".server:visible").count(), 1);
      await page.card(hostile).getByRole("button", { name: "Health check" }).click();
      await text(page.card(hostile).getByRole("status"), /Session \d+ answered/);
      await page.card(hostile).getByRole("button", { name: "Drain" }).click();
      await page.card(hostile).getByRole("button", { name: "Replace sessions" }).click();
      await text(page.locator("#events"), `${hostile} session`);
      await page.fill("#filter", "nothing like that");
      await text(page.locator("#servers-empty"), "No server's name contains");
      assert.equal(await page.evaluate(() => window.hacked), undefined);
      assert.equal(await page.locator("img, main script").count(), 0);
      await page.end();
    }
  },

  /** Nothing is shown without the token. */
  async token() {
    const page = await open({ expected: / 401|status of 401|ERR_ABORTED/ });
    const dialog = page.getByRole("dialog", { name: "Token needed" });
    await dialog.waitFor();
    await readable(page);
    await dialog.getByRole("button", { name: "Cancel" }).click();
    await text(page.locator("#banner"), "Token needed.");
    assert.equal(await page.locator(".server").count(), 0);
    await page.getByRole("button", { name: "Enter token" }).click();
    for (const wrong of ["not-the-token-at-all", "nicht der Schlüssel"]) {
      await dialog.getByLabel("Token").fill(wrong);
      await dialog.getByRole("button", { name: "Use token" }).click();
      await text(dialog.getByRole("alert"), "This is not the token.");
      await page.waitForFunction(() => document.activeElement.id === "token-value");
    }
    await dialog.getByLabel("Token").fill(extra);
    await page.keyboard.press("Enter");
    await page.card("steady").waitFor();
    await dialog.waitFor({ state: "hidden" });
    await page.card("steady").getByRole("button", { name: "Reset" }).click();
    await text(page.card("steady").getByRole("status"), "Nothing was to be reset.");
    // It is kept for this tab alone.
    await page.reload();
    await page.card("steady").waitFor();
    assert.ok(!(await page.evaluate(() => JSON.stringify({ ...localStorage }))).includes(extra));
    const other = await page.context().newPage();
    await other.goto(url);
    await other.getByRole("dialog", { name: "Token needed" }).waitFor();
    await page.end();
  },

  /** In another application, which has no token. */
  async nested() {
    for (const at of [`${url}x`, `${url}x/`, `${url}y`]) {
      const page = await open({ at, expected: /reset 403|status of 403/ });
      await text(page.locator("#connection"), /^Live$/);
      await page.card("steady").getByRole("button", { name: "Reset" }).click();
      await text(page.card("steady").getByRole("status"), "needs a token, and none is configured");
      const links = await page.locator("footer a").evaluateAll((links) => links.map((link) => link.href));
      for (const link of links) assert.equal((await page.request.get(link)).status(), 200, link);
      assert.equal(links.length, 3);
      await page.end();
    }
  },

  /** The program ends, and comes back as another. */
  async lost() {
    const page = await open({ expected: /ERR_|Failed to load resource/ });
    await page.card("steady").waitFor();
    await order("stop");
    await text(page.locator("#banner"), /Connection lost\. The numbers below are from \d\d:\d\d:\d\d\./);
    await text(page.locator("#banner"), "Next try in");
    await text(page.locator("#connection"), "Connection lost");
    await readable(page);
    await page.card("steady").getByRole("button", { name: "Health check" }).click();
    await text(page.card("steady").getByRole("status"), "Not done: nothing answers at this address.");
    await order("start");
    // It may have come back by itself meanwhile.
    await page.evaluate(() => document.getElementById("banner").hidden || document.getElementById("banner-button").click());
    await text(page.locator("#connection"), /^Live$/);
    await page.card("new").waitFor();
    await page.card("steady").waitFor({ state: "detached" });
    assert.ok(await page.locator("#banner").isHidden());
    await page.end();
  },

  /** Pictures for the documentation. */
  async pictures() {
    const pages = [];
    for (const [name, colorScheme, width, height] of [
      ["light", "light", 1280, 1080],
      ["dark", "dark", 1280, 1080],
      ["phone", "dark", 390, 844],
    ]) {
      pages.push([name, await open({ colorScheme, viewport: { width, height } })]);
    }
    await order("show");
    for (const [name, page] of pages) {
      await text(page.card("browser").locator(".breaker"), "Breaker open, next try in");
      await text(page.locator(".alert"), "browser");
      await page.screenshot({ path: `${extra}/dashboard-${name}.png` });
      await page.end();
    }
  },
};

try {
  await scenarios[scenario]();
} finally {
  await browser.close();
}
process.exit();
