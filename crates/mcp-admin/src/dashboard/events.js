// Recent events.

import { byId, fromTemplate, say, show } from "./dom.js";
import { clock, latency, percent, plural, span, withoutServer, words } from "./format.js";

const MOST = 100;

export class EventLog {
  #list = byId("events");

  add(event) {
    const described = describe(event);
    if (!described) return;
    const [level, text] = described;
    const { element, parts } = fromTemplate("event");
    const now = new Date();
    element.dataset.level = level;
    element.dataset.event = event.event;
    parts.time.dateTime = now.toISOString();
    say(parts.time, clock(now));
    say(parts.server, event.server ?? event.alert?.server ?? "");
    say(parts.text, text);
    this.#list.prepend(element);
    while (this.#list.children.length > MOST) this.#list.lastElementChild.remove();
    show(byId("events-empty"), false);
  }
}

/** Level and text of an event; `null` for routine ones. */
function describe(event) {
  switch (event.event) {
    case "session_opening":
    case "session_suspect":
      return null;
    case "session_opened":
      return ["none", `session ${event.session} opened in ${latency(event.took_seconds)}`];
    case "open_failed":
      return ["critical", `no session opened: ${event.error}; next try in ${latency(event.retry_after_seconds)}`];
    case "session_probed":
      if (event.alive) return null;
      return ["warning", `health check of session ${event.session} timed out`];
    case "session_reinitialized":
      return ["none", `the server dropped session ${event.session}, which was reinitialized`];
    case "session_closed":
      return [FAULTS.has(event.reason) ? "warning" : "none", closed(event)];
    case "breaker":
      return [LEVELS[event.to] ?? "none", `breaker ${state(event.to)}: ${cause(event.reason)}`];
    case "alert":
      return alert(event);
    case "missed":
      return ["warning", `${plural(event.count, "event")} lost, because they came faster than they were read`];
    default:
      return ["none", words(event.event)];
  }
}

function closed({ session, reason, age_seconds: age }) {
  return `session ${session} closed after ${span(age)}: ${CLOSED[reason] ?? words(reason).toLowerCase()}`;
}

function alert({ change, alert: { severity, message } }) {
  const what = withoutServer(message);
  if (change === "resolved") return ["healthy", `alert resolved: ${what}`];
  return [severity, `${severity} alert: ${what}`];
}

function state(name) {
  return name === "half_open" ? "half-open" : words(name).toLowerCase();
}

function cause(reason) {
  switch (reason?.kind) {
    case "consecutive_faults":
      return `${plural(reason.count, "fault")} in a row`;
    case "fault_rate":
      return `${percent(reason.rate)} of ${plural(reason.calls, "call")} failed`;
    case "slow_rate":
      return `${percent(reason.rate)} of ${plural(reason.calls, "call")} were slow`;
    case "probes_succeeded":
      return `${plural(reason.count, "probe")} succeeded`;
    default:
      return CAUSES[reason?.kind] ?? words(reason?.kind).toLowerCase();
  }
}

const LEVELS = { open: "critical", forced_open: "critical", half_open: "warning", closed: "healthy" };

const FAULTS = new Set(["broken", "probe_failed"]);

const CLOSED = {
  idle: "unused",
  age: "maximum age",
  broken: "its process or connection ended",
  probe_failed: "health check timed out",
  abandoned: "an abandoned call did not end",
  drained: "drained",
  evicted: "evicted",
  credentials: "its credentials were refused",
  shrunk: "its place was needed",
  scope_ended: "its scope has ended",
  shutdown: "the pool was shut down",
};

const CAUSES = {
  recovery_over: "the recovery time is over",
  probe_fault: "a probe failed",
  probe_slow: "a probe was too slow",
  manual: "set manually",
  reset: "reset",
};
