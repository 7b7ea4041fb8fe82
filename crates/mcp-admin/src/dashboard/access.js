// Requests, with the token where it is needed. It is kept in sessionStorage, until the tab is closed.

import { byId, say } from "./dom.js";
import { tab } from "./storage.js";

const KEY = "token";

/** The token is needed and was not given. */
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

  /** The open prompt for the token. */
  get asking() {
    return this.#asking !== null;
  }

  /** `fetch`, prompting for the token until it is accepted. Throws `Denied` if none is given. */
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
      // Another request may have got another one meanwhile.
      if (token === this.#token) await this.#ask(token !== null, why);
    }
  }

  /** The API's message about a request that failed. */
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
    // Of two requests refused at once, one may say that the token was wrong.
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

  /** The dialog stays open until the token is accepted or refused. */
  #given(token) {
    if (!this.#asking) return;
    // A header cannot hold other characters, and no token has them.
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
