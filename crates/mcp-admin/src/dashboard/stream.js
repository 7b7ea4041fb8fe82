// The event stream. EventSource can neither send a token nor report why it was refused.

import { Access, Denied } from "./access.js";

/** A connection that is silent for longer is lost. Snapshots come every two seconds. */
const SILENCE = 10_000;
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15_000;

/** Parses an event stream, piece by piece. */
export class Parser {
  #buffer = "";
  #event = "";
  #data = [];

  /** The events that are complete with this piece of text, as `[name, data]`. */
  *push(text) {
    this.#buffer += text;
    let start = 0;
    for (let end; (end = this.#buffer.indexOf("\n", start)) >= 0; start = end + 1) {
      const line = this.#buffer.slice(start, end).replace(/\r$/, "");
      if (line === "") {
        if (this.#data.length > 0) yield [this.#event || "message", this.#data.join("\n")];
        this.#event = "";
        this.#data = [];
      }
      const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
      if (field === "event") this.#event = value;
      if (field === "data") this.#data.push(value);
    }
    this.#buffer = this.#buffer.slice(start);
  }
}

/**
 * Reads the event stream, as long as the page is open.
 *
 * `on.event(name, data)` for each; `on.state(state, detail)`: `live`, `lost` with `{ why, next }`, `denied`.
 */
export class Stream {
  #url;
  #access;
  #on;
  #wake = () => {};

  constructor(url, access, on) {
    this.#url = url;
    this.#access = access;
    this.#on = on;
    window.addEventListener("online", () => this.retry());
  }

  /** Reconnects now. */
  retry() {
    this.#wake();
  }

  async run() {
    let pause = FIRST_PAUSE;
    for (;;) {
      try {
        await this.#connect(() => (pause = FIRST_PAUSE));
      } catch (error) {
        if (error instanceof Denied) {
          this.#on.state("denied", {});
          await this.#sleep();
          continue;
        }
        // With jitter, so that not all pages reconnect at once.
        const wait = pause * (0.75 + Math.random() / 2);
        this.#on.state("lost", { why: reason(error), next: Date.now() + wait });
        await this.#sleep(wait);
        pause = Math.min(pause * 2, LONGEST_PAUSE);
      }
    }
  }

  /** Never returns: a stream that ends is lost. */
  async #connect(alive) {
    const aborter = new AbortController();
    let received = Date.now();
    const watch = setInterval(() => {
      if (this.#access.asking) received = Date.now();
      else if (Date.now() - received > SILENCE) aborter.abort(new Error("nothing came for ten seconds"));
    }, 1000);
    try {
      const options = { signal: aborter.signal };
      const why = "This status API needs its token.";
      const response = await this.#access.fetch(this.#url, options, why);
      if (!response.ok) throw new Error(await Access.problem(response));
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const parser = new Parser();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) throw new Error("the program has closed it");
        received = Date.now();
        for (const [name, data] of parser.push(value)) {
          alive();
          this.#on.state("live", {});
          this.#on.event(name, JSON.parse(data));
        }
      }
    } finally {
      clearInterval(watch);
      aborter.abort();
    }
  }

  #sleep(milliseconds) {
    return new Promise((resolve) => {
      const timer = milliseconds === undefined ? undefined : setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** Browsers report only a `TypeError`, each in its own words. */
function reason(error) {
  return error instanceof TypeError ? "nothing answers at this address" : error.message;
}
