// The circuit breaker of a server; of several, the worst.

import { count, words } from "./format.js";

/** The worst first. */
const STATES = ["forced_open", "open", "half_open", "metrics_only", "forced_closed", "closed", "disabled"];

function rank(state) {
  const at = STATES.indexOf(state);
  return at < 0 ? STATES.length : at;
}

export class Breaker {
  state = "closed";
  #pools = 0;
  #within = 0;
  #tryAt = null;

  /** Takes the state of a snapshot. */
  update(pool) {
    const breakers = pool.pools.map((identity) => identity.circuit_breaker);
    const states = breakers.map((breaker) => breaker.state);
    this.state = states.sort((a, b) => rank(a) - rank(b))[0] ?? pool.circuit_breaker_state;
    this.#pools = states.length;
    this.#within = states.filter((state) => state === this.state).length;
    const waits = breakers.map((breaker) => breaker.retry_after_seconds).filter((wait) => wait !== null);
    this.#tryAt = waits.length > 0 ? Date.now() + Math.min(...waits) * 1000 : null;
  }

  /** Takes an event. It does not name the identity, so a better state of one of several changes nothing. */
  change(to) {
    if (this.#pools > 1 && rank(to) > rank(this.state)) return;
    this.state = to;
    this.#within = 1;
    this.#tryAt = null;
  }

  get refuses() {
    return this.state === "open" || this.state === "forced_open";
  }

  get level() {
    if (this.refuses) return "critical";
    return this.state === "half_open" ? "warning" : "none";
  }

  /** The present state in words. */
  text() {
    const state = this.state === "half_open" ? "half-open" : words(this.state).toLowerCase();
    const where = this.#pools > 1 && this.level !== "none" ? ` for ${count(this.#within)} of ${count(this.#pools)}` : "";
    return `Breaker ${state}${where}${this.#next()}`;
  }

  #next() {
    if (this.state !== "open" || this.#tryAt === null) return "";
    const seconds = Math.ceil((this.#tryAt - Date.now()) / 1000);
    return seconds > 0 ? `, next try in ${count(seconds)} s` : ", the next call tries";
  }
}
