// The actions on a server, with their outcome in its card.

import { Access, Denied } from "./access.js";
import { say, show } from "./dom.js";
import { clock, latency, plural, words } from "./format.js";

export class Actions {
  #server;
  #access;
  #parts;

  constructor(server, access, parts) {
    this.#server = server;
    this.#access = access;
    this.#parts = parts;
    parts.check.addEventListener("click", () => this.#run(parts.check, "health-check", "Asking for a sign of life", found));
    parts.reset.addEventListener("click", () => this.#run(parts.reset, "reset", "Resetting", reset));
    parts.drain.addEventListener("click", () => this.#confirm(true));
    parts.no.addEventListener("click", () => this.#confirm(false));
    parts.confirm.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#confirm(false);
    });
    parts.yes.addEventListener("click", () => {
      this.#confirm(false);
      this.#run(parts.drain, "drain", "Replacing sessions", drained);
    });
    say(parts.question, "Replace all sessions? No call fails: each closes when its calls have ended.");
  }

  #confirm(asking) {
    const { actions, confirm, drain, no } = this.#parts;
    show(confirm, asking);
    show(actions, !asking);
    (asking ? no : drain).focus();
  }

  async #run(button, action, meanwhile, describe) {
    // Not `disabled`, which would remove the focus.
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    this.#say("busy", `${meanwhile} …`);
    try {
      // A name of dots only would be taken for a folder.
      const name = /^\.{1,2}$/.test(this.#server) ? `mcp.${this.#server}` : this.#server;
      const url = `api/v1/mcp/pools/${encodeURIComponent(name)}/${action}`;
      const why = "Changing something here needs a bearer token.";
      const response = await this.#access.fetch(url, { method: "POST" }, why);
      if (!response.ok) throw new Error(await Access.problem(response));
      const [level, text] = describe(await response.json());
      this.#say(level, `${clock(new Date())} ${text}`);
    } catch (error) {
      if (error instanceof Denied) this.#say("none", `Not done: ${error.message}.`);
      else if (error instanceof TypeError) this.#say("critical", "Not done: nothing answers at this address.");
      else this.#say("critical", `Not done: ${error.message}`);
    } finally {
      button.removeAttribute("aria-disabled");
    }
  }

  #say(level, text) {
    this.#parts.result.dataset.level = level;
    say(this.#parts.result, text);
  }
}

function found({ status, reasons, probe }) {
  let answer = "No session was there to ask";
  if (probe?.alive) answer = `Session ${probe.session} answered in ${latency(probe.took_seconds)}`;
  else if (probe) answer = `Session ${probe.session} gave no answer in ${latency(probe.took_seconds)} and is retired`;
  const why = reasons.map((reason) => reason.message).join("; ");
  const level = probe?.alive ? status : "critical";
  return [level, `${answer}. ${words(status)}${why ? `: ${why}` : ""}.`];
}

function reset({ breakers_closed: breakers, sessions_retired: sessions }) {
  if (breakers === 0 && sessions === 0) return ["healthy", "Nothing was to be reset."];
  return ["healthy", `${plural(breakers, "breaker")} closed, ${plural(sessions, "suspect session")} retired.`];
}

function drained({ done }) {
  if (done) return ["healthy", "All sessions have been replaced or closed."];
  return ["warning", "Some sessions still have calls, and close after them."];
}
