// One server.

import { About } from "./about.js";
import { Actions } from "./actions.js";
import { Breaker } from "./breaker.js";
import { History, Spark } from "./charts.js";
import { attribute, fromTemplate, say, sayOrHide, show } from "./dom.js";
import { NONE, count, latency, percent, rate, sentence, words } from "./format.js";
import { Sessions } from "./sessions.js";

/** The critical error rate of the default health rules. */
const FULL = 0.95;
const FAILING = 0.2;

const RANKS = { critical: 3, warning: 2, healthy: 1, disabled: 0 };

let cards = 0;

export class Card {
  pool = null;
  breaker = new Breaker();
  #parts;
  #history = new History();
  #charts;
  #sessions;

  constructor(name, access) {
    const { element, parts } = fromTemplate("server");
    this.name = name;
    this.element = element;
    this.#parts = parts;
    this.#sessions = new Sessions(parts);
    this.#charts = {
      brief: new Spark(parts.briefSpark, ["rate"]),
      rate: new Spark(parts.rateSpark, ["rate"]),
      latency: new Spark(parts.latencySpark, ["p99", "p50"]),
      load: new Spark(parts.loadSpark, ["load"]),
    };
    new Actions(name, access, parts);
    new About(name, access, parts);
    say(parts.name, name);
    parts.name.title = name;
    const id = `server-${++cards}`;
    parts.name.id = `${id}-name`;
    parts.body.id = `${id}-body`;
    for (const button of [parts.check, parts.reset, parts.drain, parts.more]) {
      button.setAttribute("aria-describedby", parts.name.id);
    }
    element.setAttribute("aria-labelledby", parts.name.id);
    parts.loadBar.setAttribute("aria-label", "Places taken of those at the maximum size");
    parts.more.setAttribute("aria-controls", parts.body.id);
    parts.more.addEventListener("click", () => this.#unfold(!this.element.classList.contains("open")));
  }

  /** Scrolls to it and unfolds it. */
  reveal() {
    this.#unfold(true);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.element.scrollIntoView({ block: "start", behavior: still ? "instant" : "smooth" });
    this.element.focus({ preventScroll: true });
  }

  /** A row shows its details only when it is unfolded. */
  #unfold(open) {
    this.element.classList.toggle("open", open);
    this.#parts.more.setAttribute("aria-expanded", String(open));
  }

  get status() {
    return this.pool.disabled === null ? this.pool.health.status : "disabled";
  }

  /** Greater is worse. */
  get rank() {
    return RANKS[this.status] * 2 + (this.breaker.refuses ? 1 : 0);
  }

  /** Takes the state of a snapshot, without showing it. */
  update({ pool, uptime }) {
    this.pool = pool;
    this.breaker.update(pool);
    this.#history.push(uptime, pool);
  }

  /** Drops the history, after a restart of the program. */
  forget() {
    this.#history = new History();
  }

  /** Shows the last state. `unfold`: also shows sessions. */
  render(unfold) {
    const { pool } = this;
    const parts = this.#parts;
    attribute(this.element, "data-status", this.status);
    say(parts.status, words(this.status));
    say(parts.transport, pool.transport);
    sayOrHide(parts.disabled, pool.disabled ?? "");
    sayOrHide(parts.error, pool.last_error === null ? "" : `Last failure to open: ${pool.last_error}`);
    show(parts.running, pool.disabled === null);
    show(parts.brief, pool.disabled === null);
    this.tick();
    this.#reasons(pool.health.reasons);
    if (pool.disabled !== null) return;
    this.#numbers(pool);
    this.#draw(pool);
    this.#sessions.update(pool.pools, unfold);
  }

  /** Shows what changes with time, or by an event. */
  tick() {
    const { breaker } = this.#parts;
    show(breaker, this.pool.disabled === null);
    attribute(breaker, "data-level", this.breaker.level);
    attribute(breaker, "data-state", this.breaker.state);
    say(breaker, this.breaker.text());
  }

  #reasons(reasons) {
    const list = this.#parts.reasons;
    show(list, reasons.length > 0);
    while (list.children.length > reasons.length) list.lastElementChild.remove();
    while (list.children.length < reasons.length) list.append(document.createElement("li"));
    for (const [at, reason] of reasons.entries()) {
      attribute(list.children[at], "data-level", reason.status);
      say(list.children[at], sentence(reason.message));
    }
  }

  #numbers(pool) {
    const parts = this.#parts;
    const { window: recent } = pool;
    const idle = pool.available_connections;
    const active = Math.max(0, pool.total_connections - idle - pool.connecting);
    const opening = pool.connecting > 0 ? `, ${count(pool.connecting)} connecting` : "";
    say(parts.connections, `${count(active)} active, ${count(idle)} idle${opening} of ${count(pool.max_connections)}`);
    const waiting = pool.waiters > 0;
    say(parts.waiters, waiting ? `${count(pool.waiters)}, longest ${latency(pool.longest_wait_seconds)}` : "0");
    const full = pool.utilization >= FULL ? "critical" : "warning";
    attribute(parts.waiters, "data-level", waiting ? full : null);
    const refused = recent.refused > 0 ? `, ${count(recent.refused)} refused` : "";
    say(parts.errorRate, `${recent.judged > 0 ? percent(recent.error_rate) : NONE}${refused}`);
    const failing = recent.error_rate >= FAILING ? "critical" : "warning";
    attribute(parts.errorRate, "data-level", recent.faults > 0 ? failing : null);
    const failed = pool.errors - pool.refused;
    const bad = [[failed, "failed"], [pool.refused, "refused"]].filter(([number]) => number > 0);
    say(parts.calls, [count(pool.requests), ...bad.map(([number, what]) => `${count(number)} ${what}`)].join(", "));
    say(parts.hits, `${count(pool.pool_hits)}, ${count(pool.pool_misses)}`);

    const perSecond = rate(recent.requests_per_second);
    say(parts.rate, perSecond);
    say(parts.p50, latency(recent.call_seconds.p50));
    say(parts.p99, latency(recent.call_seconds.p99));
    const load = `${count(pool.in_flight)} of ${count(pool.capacity)}`;
    say(parts.inFlight, load);
    say(parts.briefRate, `${perSecond}/s`);
    say(parts.briefLatency, `p99 ${latency(recent.call_seconds.p99)}`);
    say(parts.briefLoad, `${percent(pool.utilization)} full`);

    const share = Math.min(100, pool.utilization * 100);
    parts.loadFill.style.width = `${share.toFixed(1)}%`;
    attribute(parts.loadBar, "aria-valuenow", Math.round(share));
    attribute(parts.loadBar, "aria-valuetext", `${load}, ${percent(pool.utilization)}`);
    attribute(parts.loadBar, "data-level", waiting && share > 90 ? "warning" : "none");
  }

  #draw(pool) {
    const { samples } = this.#history;
    const { brief, rate: calls, latency: latencies, load } = this.#charts;
    brief.draw(samples);
    const most = rate(calls.draw(samples));
    calls.describe(`Calls per second over five minutes: up to ${most}`);
    const slowest = latency(latencies.draw(samples));
    latencies.describe(`p50 and p99 over five minutes: up to ${slowest}`);
    const fullest = percent(load.draw(samples, 1));
    load.describe(`Places taken over five minutes: up to ${fullest} of ${count(pool.capacity)}`);
  }
}
