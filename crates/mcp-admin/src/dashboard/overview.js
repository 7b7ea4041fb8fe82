// Totals of all servers.

import { attribute, byId, say, sayOrHide } from "./dom.js";
import { count, plural, rate, span, words } from "./format.js";

/** `pools`: those of a snapshot. */
export function showOverview(status, pools) {
  attribute(byId("overall"), "data-status", status.status);
  say(byId("overall-status"), words(status.status));
  say(byId("overall-text"), summary(status.servers));
  say(byId("version"), `v${status.version}`);
  const sum = (value) => pools.reduce((total, pool) => total + value(pool), 0);
  const waiting = sum((pool) => pool.waiters);
  say(byId("total-rate"), rate(sum((pool) => pool.window.requests_per_second)));
  say(byId("total-in-flight"), `${count(sum((pool) => pool.in_flight))} of ${count(sum((pool) => pool.capacity))}`);
  say(byId("total-waiters"), count(waiting));
  say(byId("total-sessions"), `${count(status.connections)} of ${count(status.max_connections)}`);
  say(byId("total-calls"), count(status.total_requests));
  const refused = sum((pool) => pool.refused);
  say(byId("total-errors"), `${count(Math.max(0, status.total_errors - refused))}, ${count(refused)}`);
  say(byId("uptime"), span(status.uptime_seconds));
  const reload = status.last_reload_error;
  sayOrHide(byId("reload-error"), reload === null ? "" : `The last change of the configuration was not taken: ${reload}`);
  document.title = status.status === "healthy" ? "mcp-pool" : `${words(status.status)} – mcp-pool`;
}

function summary(servers) {
  if (servers.length === 0) return "No server is configured.";
  const number = (is) => servers.filter(is).length;
  const disabled = number((server) => server.disabled !== null);
  const critical = number((server) => server.status === "critical");
  const warning = number((server) => server.status === "warning");
  const others = servers.length - disabled - critical - warning;
  const parts = [
    [critical, "critical"],
    [warning, "with warnings"],
    [others, "healthy"],
    [disabled, "disabled"],
  ];
  const shown = parts.filter(([number]) => number > 0).map(([number, what]) => `${count(number)} ${what}`);
  return `${plural(servers.length, "server")}: ${shown.join(", ")}.`;
}
