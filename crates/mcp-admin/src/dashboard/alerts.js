// Active alerts.

import { Access, Denied } from "./access.js";
import { KeyedList, attribute, byId, fromTemplate, say, sayOrHide, show } from "./dom.js";
import { clock, plural, sentence, span, withoutServer, words } from "./format.js";

const RANKS = { critical: 0, warning: 1 };

export class Alerts {
  #active = new Map();
  #list;
  #known = null;

  /** `open(server)` shows a server. */
  constructor(open, access) {
    this.#list = new KeyedList(byId("alerts"), () => new Item(open, access));
  }

  get size() {
    return this.#active.size;
  }

  /** Takes the active alerts of a snapshot. */
  replace(alerts) {
    this.#active = new Map(alerts.map((alert) => [key(alert), alert]));
    this.#announce();
  }

  /** Takes a change of one. */
  change({ change, alert }) {
    if (change === "resolved") this.#active.delete(key(alert));
    else this.#active.set(key(alert), alert);
    this.#announce();
  }

  render() {
    const alerts = [...this.#active.values()].sort(
      (a, b) =>
        silenced(a) - silenced(b) ||
        RANKS[a.severity] - RANKS[b.severity] ||
        Date.parse(b.raised_at) - Date.parse(a.raised_at) ||
        a.server.localeCompare(b.server),
    );
    this.#list.update(alerts.map((alert) => [key(alert), alert]));
    const loud = alerts.filter((alert) => !silenced(alert));
    const quiet = alerts.length - loud.length;
    say(byId("alerts-count"), alerts.length > 0 ? `${loud.length}${quiet > 0 ? `, ${quiet} silenced` : ""}` : "");
    show(byId("alerts-empty"), alerts.length === 0);
    attribute(byId("alerts-count"), "data-level", loud[0]?.severity ?? null);
  }

  tick() {
    for (const item of this.#list.values()) item.tick();
  }

  /** Announces new ones to screen readers, once. Those from before are read with the page. */
  #announce() {
    const now = new Map([...this.#active].filter(([, alert]) => !silenced(alert)).map(([key, alert]) => [key, alert.severity]));
    if (this.#known !== null) {
      const fresh = [...this.#active].filter(([key]) => now.has(key) && this.#known.get(key) !== now.get(key));
      if (fresh.length > 0) {
        const texts = fresh.slice(0, 3).map(([, alert]) => `${words(alert.severity)}: ${alert.message}`);
        const more = fresh.length > 3 ? [`and ${plural(fresh.length - 3, "more alert")}`] : [];
        say(byId("announce"), [...texts, ...more].join(". "));
      }
    }
    this.#known = now;
  }
}

class Item {
  #parts;
  #alert = null;

  constructor(open, access) {
    const { element, parts } = fromTemplate("alert");
    this.element = element;
    this.#parts = parts;
    parts.server.addEventListener("click", () => open(this.#alert.server));
    parts.silence.addEventListener("click", () => this.#silence(access));
  }

  /** Silences for an hour, or ends the silence. The next snapshot shows it. */
  async #silence(access) {
    const { server, kind } = this.#alert;
    const seconds = silenced(this.#alert) ? 0 : 3600;
    const query = new URLSearchParams({ server, kind, seconds });
    try {
      const why = "Silencing an alert needs a bearer token.";
      const response = await access.fetch(`api/v1/mcp/alerts/silence?${query}`, { method: "POST" }, why);
      if (!response.ok) throw new Error(await Access.problem(response));
      sayOrHide(this.#parts.result, "");
    } catch (error) {
      const why = error instanceof TypeError ? "nothing answers at this address" : error.message;
      sayOrHide(this.#parts.result, `Not done: ${why}${error instanceof Denied ? "." : ""}`);
    }
  }

  update(alert) {
    this.#alert = alert;
    attribute(this.element, "data-level", alert.severity);
    say(this.#parts.severity, words(alert.severity));
    say(this.#parts.server, alert.server);
    // Its name is shown above.
    say(this.#parts.message, sentence(withoutServer(alert.message)));
    attribute(this.element, "data-silenced", silenced(alert) ? "" : null);
    say(this.#parts.silence, silenced(alert) ? "End silence" : "Silence 1 h");
    say(this.#parts.kind, words(alert.kind));
    this.tick();
  }

  tick() {
    const raised = new Date(this.#alert.raised_at);
    const seconds = (Date.now() - raised.getTime()) / 1000;
    const until = silenced(this.#alert) ? `, silenced until ${clock(new Date(this.#alert.silenced_until))}` : "";
    say(this.#parts.since, `since ${clock(raised)} (${span(seconds)})${until}`);
  }
}

function silenced(alert) {
  return Boolean(alert.silenced_until);
}

function key(alert) {
  return `${alert.kind} ${alert.server}`;
}
