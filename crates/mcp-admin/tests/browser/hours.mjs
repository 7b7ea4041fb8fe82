// A stream of hours, as fast as the page reads it: what really came first, over and over, with everything in it changing.

/** Put into the page before anything else. It sends as many snapshots as `window.wanted` says. */
export function makeHours() {
  const { fetch } = window;
  window.wanted = 0;
  window.sent = 0;
  window.fetch = async (...request) => {
    const response = await fetch(...request);
    if (!String(request[0]).includes("events")) return response;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    while (!/event: snapshot\ndata: .*\n\n/.test(text)) text += (await reader.read()).value;
    await reader.cancel();
    const { status, pools } = JSON.parse(/event: snapshot\ndata: (.*)\n\n/.exec(text)[1]);
    const changed = (pool, number) => ({
      ...pool,
      requests: number * 7,
      pools: pool.pools.map((identity) => ({
        ...identity,
        sessions: identity.sessions.map((session) => ({ ...session, id: session.id + number })),
      })),
    });
    const sendNext = (number) => {
      const alert = { server: "steady", kind: `kind_${number % 5}`, severity: "warning", message: "m" };
      const snapshot = {
        status: { ...status, uptime_seconds: status.uptime_seconds + number * 2 },
        // Now and then a server goes, and comes back.
        pools: pools.filter((_, at) => at !== number % 40).map((pool) => changed(pool, number)),
        alerts: number % 3 === 0 ? [] : [{ ...alert, raised_at: new Date().toISOString() }],
      };
      const opened = { event: "session_opened", server: "steady", session: number, took_seconds: 0.1 };
      const to = number % 2 === 0 ? "closed" : "open";
      const breaker = { event: "breaker", server: "flaky", to, reason: { kind: "reset" } };
      const events = [["snapshot", snapshot], ["session_opened", opened], ["breaker", breaker]];
      return events.map(([name, data]) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`).join("");
    };
    const stream = new ReadableStream({
      async pull(controller) {
        while (window.sent >= window.wanted) await new Promise(requestAnimationFrame);
        window.sent += 1;
        controller.enqueue(sendNext(window.sent));
      },
    });
    return new Response(stream.pipeThrough(new TextEncoderStream()), { status: response.status });
  };
}

/** What the browser holds for the page once so many snapshots have come. */
export async function heldAfter(page, cdp, snapshots) {
  await page.evaluate((wanted) => (window.wanted = wanted), snapshots);
  await page.waitForFunction((wanted) => window.sent >= wanted, snapshots);
  await cdp.send("HeapProfiler.collectGarbage");
  const { metrics } = await cdp.send("Performance.getMetrics");
  const held = Object.fromEntries(metrics.map(({ name, value }) => [name, value]));
  return { nodes: held.Nodes, listeners: held.JSEventListeners, megabytes: held.JSHeapUsedSize / 1e6 };
}
