// The sessions of a server, in groups where there are identities.

import { KeyedList, attribute, fromTemplate, say, show } from "./dom.js";
import { NONE, count, plural, span, words } from "./format.js";

/** Sessions beyond this number are counted and not shown. */
const MOST = 200;
/** This many are unfolded from the start. */
const FEW = 4;

export class Sessions {
  #details;
  #title;
  #groups;
  #pools = [];
  #touched = false;

  constructor(parts) {
    this.#details = parts.sessions;
    this.#title = parts.sessionsTitle;
    this.#groups = new KeyedList(parts.table, () => new Group());
    this.#title.addEventListener("click", () => (this.#touched = true));
    this.#details.addEventListener("toggle", () => this.#render());
  }

  /** `unfold`: shows a few sessions from the start. */
  update(pools, unfold) {
    this.#pools = pools;
    const number = pools.reduce((sum, pool) => sum + pool.sessions.length, 0);
    const suspended = pools.some((pool) => pool.suspended);
    const shown = number > MOST ? `, the first ${MOST} shown` : "";
    say(this.#title, `${plural(number, "session")}${shown}${suspended ? ", callers are made to wait" : ""}`);
    if (!this.#touched) {
      const open = unfold && number > 0 && number <= FEW;
      if (this.#details.open !== open) this.#details.open = open;
    }
    this.#render();
  }

  #render() {
    // Folded sessions are not rendered.
    if (!this.#details.open) {
      this.#groups.update([]);
      return;
    }
    const named = this.#pools.length > 1 || this.#pools.some((pool) => pool.identity !== null);
    let room = MOST;
    const entries = [];
    for (const pool of this.#pools) {
      const sessions = pool.sessions.slice(0, room);
      room -= sessions.length;
      if (sessions.length > 0) entries.push([pool.identity, { pool, sessions, named }]);
    }
    this.#groups.update(entries);
  }
}

/** The sessions of one identity. */
class Group {
  #parts;
  #heading;
  #rows;

  constructor() {
    const { element, parts } = fromTemplate("group");
    this.element = element;
    this.#parts = parts;
    this.#heading = element.firstElementChild;
    this.#rows = new KeyedList(element, () => new Row());
  }

  update({ pool, sessions, named }) {
    show(this.#heading, named);
    const whose = pool.identity === null ? "Without an identity" : `Identity ${pool.identity}`;
    const breaker = words(pool.circuit_breaker.state).toLowerCase();
    say(this.#parts.title, `${whose}: breaker ${breaker}, ${count(pool.total_connections)} of ${count(pool.max_connections)}`);
    this.#rows.update(sessions.map((session) => [session.id, session]));
  }
}

class Row {
  #parts;

  constructor() {
    const { element, parts } = fromTemplate("session");
    this.element = element;
    this.#parts = parts;
  }

  update(session) {
    const parts = this.#parts;
    attribute(this.element, "data-state", session.state);
    say(parts.id, `#${session.id}`);
    say(parts.state, session.state === "shutdown" ? "closing" : session.state);
    say(parts.era, session.era ?? NONE);
    say(parts.age, span(session.age_seconds));
    say(parts.inFlight, count(session.in_flight));
    say(parts.calls, count(session.calls));
    say(parts.used, session.in_flight > 0 ? "now" : `${span(session.idle_seconds)} ago`);
    say(parts.pid, session.pid ?? NONE);
  }
}
