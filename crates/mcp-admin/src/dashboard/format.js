// Formatting of numbers and times.

const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const one = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const time = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

export const NONE = "–";
/** Keeps a number and its unit on one line. */
const SPACE = "\u00a0";

export function count(number) {
  return number < 1e6 ? plain.format(number) : short.format(number);
}

/** A rate per second. */
export function rate(number) {
  return number === 0 || number >= 99.95 ? count(number) : one.format(number);
}

/** A share, from 0 to 1. */
export function percent(share) {
  const percent = share * 100;
  if (percent > 0 && percent < 0.1) return "<0.1%";
  return `${percent === 0 || percent >= 9.95 ? plain.format(percent) : one.format(percent)}%`;
}

/** The duration of a call. */
export function latency(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  const ms = seconds * 1000;
  if (ms < 0.1) return `<0.1${SPACE}ms`;
  if (ms < 9.95) return `${one.format(ms)}${SPACE}ms`;
  if (ms < 999.5) return `${plain.format(ms)}${SPACE}ms`;
  return seconds < 59.95 ? `${one.format(seconds)}${SPACE}s` : span(seconds);
}

/** A long duration, in two units. */
export function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  const min = Math.floor(s / 60);
  const h = Math.floor(min / 60);
  const d = Math.floor(h / 24);
  if (d > 0) return units([d, "d"], [h % 24, "h"]);
  if (h > 0) return units([h, "h"], [min % 60, "min"]);
  if (min > 9) return units([min, "min"]);
  return min > 0 ? units([min, "min"], [s % 60, "s"]) : units([s, "s"]);
}

/** The first part, and others that are not zero. */
function units(...parts) {
  const shown = parts.filter(([number], at) => at === 0 || number > 0);
  return shown.map(([number, unit]) => `${number}${SPACE}${unit}`).join(SPACE);
}

/** The time of day. */
export function clock(date) {
  return time.format(date);
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** `circuit_breaker_open` as words. */
export function words(name) {
  return sentence(String(name ?? "").replaceAll("_", " "));
}

/** The text of an alert without its server. */
export function withoutServer(message) {
  return message.replace(/^server `.*?`: /, "");
}

/** Capitalizes the first letter. */
export function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
