// Requests, with the token where one is asked for. It is kept in sessionStorage alone: it goes with the tab.

import { byId, say } from "./dom.js";
import { tab } from "./storage.js";

const KEY = "token";

/** The token was asked for and not given. */
export class Denied extends Error {}

export class Access {
  #token = tab.get(KEY);
  #asking = null;
  #dialog = byId("token");
  #input = byId("token-value");

  constructor() {
    byId("token-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#given(this.#input.value.trim());
    });
    byId("token-cancel").addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => this.#closed());
  }

  /** Somebody is being asked for the token. */
  get asking() {
    return this.#asking !== null;
  }

  /** `fetch`, asking for the token until it is taken. Throws `Denied` if none is given. */
  async fetch(url, options = {}, why = "") {
    for (;;) {
      const token = this.#token;
      const headers = token ? { Authorization: `Bearer ${token}` } : {};
      const response = await fetch(url, { ...options, headers, cache: "no-store" });
      if (response.status !== 401) {
        if (token === this.#token) this.#taken();
        return response;
      }
      await response.text();
      // Somebody else may have been given another one meanwhile.
      if (token === this.#token) await this.#ask(token !== null, why);
    }
  }

  /** What the API says of a request that failed. */
  static async problem(response) {
    try {
      const problem = await response.json();
      return String(problem.detail ?? problem.title);
    } catch {
      return `HTTP ${response.status} ${response.statusText}`.trim();
    }
  }

  #ask(wrong, why) {
    if (wrong) {
      this.#token = null;
      tab.remove(KEY);
    }
    // Two requests may have been refused at once, and one of them tells that the token was wrong.
    if (this.#asking && !wrong) return this.#asking.promise;
    if (!this.#asking) {
      this.#asking = resolvers();
      say(byId("token-why"), why || "This status API asks for a bearer token.");
      if (!this.#dialog.open) this.#dialog.showModal();
    }
    say(byId("token-wrong"), wrong ? "This is not the token." : "");
    this.#input.setAttribute("aria-invalid", String(wrong));
    this.#input.focus();
    this.#input.select();
    return this.#asking.promise;
  }

  /** The dialog stays until it is known whether the token is the right one. */
  #given(token) {
    if (!this.#asking) return;
    // A header holds nothing else; a token that is not empty is never of other characters.
    if (!/^[\x21-\x7e]+$/.test(token)) {
      this.#ask(true);
      return;
    }
    this.#token = token;
    const { resolve } = this.#asking;
    this.#asking = null;
    resolve();
  }

  #taken() {
    if (this.#token) tab.set(KEY, this.#token);
    if (this.#dialog.open && !this.#asking) this.#dialog.close();
  }

  #closed() {
    this.#input.value = "";
    this.#asking?.reject(new Denied("this needs the token"));
    this.#asking = null;
  }
}

function resolvers() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}
