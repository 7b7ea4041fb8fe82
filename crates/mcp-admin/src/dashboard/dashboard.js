// The page. It takes what the stream brings at once, and shows it while the page is visible.

import { Access } from "./access.js";
import { Alerts } from "./alerts.js";
import { Card } from "./card.js";
import { Clients } from "./clients.js";
import { KeyedList, byId, say, show } from "./dom.js";
import { EventLog } from "./events.js";
import { clock, count, plural, sentence, span } from "./format.js";
import { showOverview } from "./overview.js";
import { browser } from "./storage.js";
import { Stream } from "./stream.js";

/** With more servers than this each is a row, unless the user chooses cards. */
const MANY = 12;
/** Sessions are unfolded with no more servers than this. */
const FEW = 8;

const names = new Intl.Collator("en", { numeric: true });
const filter = byId("filter");
const sort = byId("sort");
const layout = byId("layout");

const access = new Access();
const cards = new KeyedList(byId("servers"), (name) => new Card(name, access), compare);
const alerts = new Alerts(open, access);
const clients = new Clients(access);
const log = new EventLog();
const stream = new Stream("api/v1/mcp/events?snapshots=true", access, { event, state });

let snapshot = null;
let seen = null;
let lost = null;

function event(name, data) {
  switch (name) {
    case "snapshot":
      note(data);
      break;
    case "breaker":
      cards.get(data.server)?.breaker.change(data.to);
      cards.get(data.server)?.tick();
      break;
    case "alert":
      alerts.change(data);
      if (!document.hidden) alerts.render();
      break;
  }
  if (name !== "snapshot") log.add(data);
}

function note(data) {
  const restarted = snapshot !== null && data.status.uptime_seconds < snapshot.status.uptime_seconds;
  snapshot = data;
  seen = new Date();
  if (restarted) for (const card of cards.values()) card.forget();
  alerts.replace(data.alerts);
  const uptime = data.status.uptime_seconds;
  const entries = data.pools.map((pool) => [pool.server, { pool, uptime }]);
  cards.update(entries);
  render();
}

function render() {
  if (snapshot === null || document.hidden) return;
  showOverview(snapshot.status, snapshot.pools);
  clients.refresh();
  alerts.render();
  const unfold = snapshot.pools.length <= FEW;
  for (const card of cards.values()) card.render(unfold);
  arrange();
  tick();
}

/** Selection, order and layout of servers. */
function arrange() {
  const all = [...cards.values()];
  const wanted = filter.value.trim().toLowerCase();
  for (const card of all) show(card.element, card.name.toLowerCase().includes(wanted));
  const shown = all.filter((card) => !card.element.hidden).length;
  say(byId("servers-count"), shown === all.length ? count(all.length) : `${count(shown)} of ${count(all.length)}`);
  const empty = all.length === 0 ? "No server is configured." : `No server's name contains “${filter.value.trim()}”.`;
  say(byId("servers-empty"), empty);
  show(byId("servers-empty"), snapshot !== null && shown === 0);
  if (!browser.get("layout")) layout.value = all.length > MANY ? "rows" : "cards";
  byId("servers").dataset.layout = layout.value;
}

function compare(a, b) {
  const worse = sort.value === "worst" ? b.rank - a.rank : 0;
  return worse || names.compare(a.name, b.name) || (a.name < b.name ? -1 : 1);
}

/** Shows a server that is named elsewhere. */
function open(server) {
  const card = cards.get(server);
  if (!card) return;
  if (card.element.hidden) {
    filter.value = "";
    arrange();
  }
  card.reveal();
}

function state(now, detail) {
  if (now === "live" && document.body.dataset.connection === "live") return;
  document.body.dataset.connection = now;
  lost = now === "lost" ? detail : null;
  const old = seen ? `The numbers below are from ${clock(seen)}.` : "";
  if (now === "lost") {
    say(byId("banner-title"), seen ? "Connection lost." : "No connection.");
    say(byId("banner-text"), `${old} ${sentence(detail.why)}.`.trim());
  }
  if (now === "denied") {
    say(byId("banner-title"), "Token needed.");
    say(byId("banner-text"), old || "Without it there is nothing to be seen.");
  }
  say(byId("banner-button"), now === "denied" ? "Enter token" : "Try now");
  show(byId("banner"), now !== "live");
  tick();
}

/** Updates what changes with time. */
function tick() {
  const { connection } = document.body.dataset;
  const texts = { live: "Live", lost: "Connection lost", denied: "Token needed", connecting: "Connecting" };
  say(byId("connection"), texts[connection]);
  const wait = lost ? Math.ceil((lost.next - Date.now()) / 1000) : 0;
  const age = seen && lost ? `${span((Date.now() - seen) / 1000)} old. ` : "";
  say(byId("banner-next"), lost ? `${age}${wait > 0 ? `Next try in ${plural(wait, "second")}` : "Trying again"}` : "");
  if (document.hidden) return;
  alerts.tick();
  for (const card of cards.values()) card.tick();
}

for (const select of [sort, layout]) {
  const value = browser.get(select.id);
  if ([...select.options].some((option) => option.value === value)) select.value = value;
  select.addEventListener("change", () => {
    browser.set(select.id, select.value);
    cards.sort();
    arrange();
  });
}
filter.addEventListener("input", arrange);
byId("banner-button").addEventListener("click", () => stream.retry());
document.addEventListener("visibilitychange", render);
setInterval(tick, 1000);
stream.run();
