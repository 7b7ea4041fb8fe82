// Alerts that are active.

import { KeyedList, attribute, byId, fromTemplate, say, show } from "./dom.js";
import { clock, plural, sentence, span, words } from "./format.js";

const RANKS = { critical: 0, warning: 1 };

export class Alerts {
  #active = new Map();
  #list;
  #known = null;

  /** `open(server)`: somebody wants to see it. */
  constructor(open) {
    this.#list = new KeyedList(byId("alerts"), () => new Item(open));
  }

  get size() {
    return this.#active.size;
  }

  /** All that are active, as a snapshot has them. */
  replace(alerts) {
    this.#active = new Map(alerts.map((alert) => [key(alert), alert]));
    this.#tell();
  }

  /** What became of one. */
  change({ change, alert }) {
    if (change === "resolved") this.#active.delete(key(alert));
    else this.#active.set(key(alert), alert);
    this.#tell();
  }

  render() {
    const alerts = [...this.#active.values()].sort(
      (a, b) =>
        RANKS[a.severity] - RANKS[b.severity] ||
        Date.parse(b.raised_at) - Date.parse(a.raised_at) ||
        a.server.localeCompare(b.server),
    );
    this.#list.update(alerts.map((alert) => [key(alert), alert]));
    say(byId("alerts-count"), alerts.length > 0 ? alerts.length : "");
    show(byId("alerts-empty"), alerts.length === 0);
    attribute(byId("alerts-count"), "data-level", alerts[0]?.severity ?? null);
  }

  tick() {
    for (const item of this.#list.values()) item.tick();
  }

  /** New ones are read out, once. What was there when the page was opened is read with it. */
  #tell() {
    const now = new Map([...this.#active].map(([key, alert]) => [key, alert.severity]));
    if (this.#known !== null) {
      const fresh = [...this.#active].filter(([key, alert]) => this.#known.get(key) !== alert.severity);
      if (fresh.length > 0) {
        const texts = fresh.slice(0, 3).map(([, alert]) => `${words(alert.severity)}: ${alert.server}, ${alert.message}`);
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

  constructor(open) {
    const { element, parts } = fromTemplate("alert");
    this.element = element;
    this.#parts = parts;
    parts.server.addEventListener("click", () => open(this.#alert.server));
  }

  update(alert) {
    this.#alert = alert;
    attribute(this.element, "data-level", alert.severity);
    say(this.#parts.severity, words(alert.severity));
    say(this.#parts.server, alert.server);
    say(this.#parts.message, sentence(alert.message));
    say(this.#parts.kind, words(alert.kind));
    this.tick();
  }

  tick() {
    const raised = new Date(this.#alert.raised_at);
    const seconds = (Date.now() - raised.getTime()) / 1000;
    say(this.#parts.since, `since ${clock(raised)} (${span(seconds)})`);
  }
}

function key(alert) {
  return `${alert.kind} ${alert.server}`;
}
