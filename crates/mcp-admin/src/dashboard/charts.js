// The last minutes of a server, and small charts of them.

/** Seconds that a chart shows, and the minimum at the start. */
const SPAN = 300;
const FIRST = 60;
/** Samples kept: one every two seconds, and a reserve. */
const MOST = 180;
/** A longer time between samples is a gap. */
const GAP = 8;

const WIDTH = 240;
const HEIGHT = 36;

/** The samples of one server. Times are the program's uptime, independent of the browser's clock. */
export class History {
  #samples = [];
  #requests = null;

  get samples() {
    return this.#samples;
  }

  push(now, pool) {
    const last = this.#samples.at(-1);
    if (last && now <= last.at) return;
    const elapsed = last ? now - last.at : Infinity;
    const more = pool.requests - this.#requests;
    const known = this.#requests !== null && elapsed <= GAP && more >= 0;
    this.#requests = pool.requests;
    this.#samples.push({
      at: now,
      rate: known ? more / elapsed : null,
      p50: pool.window.call_seconds.p50,
      p99: pool.window.call_seconds.p99,
      load: pool.utilization,
    });
    while (this.#samples.length > MOST || this.#samples[0].at < now - SPAN) this.#samples.shift();
  }
}

/** A chart of lines over the last minutes. */
export class Spark {
  #svg;
  #area = path("area");
  #lines;

  /** `lines`: the names of samples' values. The first gets an area below it. */
  constructor(svg, lines) {
    this.#svg = svg;
    this.#lines = lines.map((name) => ({ name, path: path(`line ${name}`) }));
    this.#area.classList.add(lines[0]);
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.append(this.#area, ...this.#lines.map((line) => line.path));
  }

  /** `top`: the value of the upper edge, by default that of the highest point. Returns the highest. */
  draw(samples, top) {
    const now = samples.at(-1)?.at ?? 0;
    const values = this.#lines.flatMap(({ name }) => samples.map((sample) => sample[name] ?? 0));
    const highest = Math.max(0, ...values);
    const scale = top ?? highest * 1.1;
    const width = Math.max(FIRST, now - (samples[0]?.at ?? now));
    const x = (at) => WIDTH - ((now - at) / width) * WIDTH;
    const y = (value) => HEIGHT - 1 - (scale > 0 ? Math.min(value / scale, 1) : 0) * (HEIGHT - 3);
    for (const [index, { name, path }] of this.#lines.entries()) {
      const runs = connected(samples, name);
      const points = runs.map((run) => run.map((s) => `${fixed(x(s.at))} ${fixed(y(s[name]))}`));
      path.setAttribute("d", points.map((run) => `M${run.join("L")}`).join(""));
      if (index > 0) continue;
      const below = points.map((run) => {
        const [from, to] = [run[0], run.at(-1)].map((point) => point.split(" ")[0]);
        return `M${from} ${HEIGHT}L${run.join("L")}L${to} ${HEIGHT}Z`;
      });
      this.#area.setAttribute("d", below.join(""));
    }
    return highest;
  }

  /** The text for screen readers. */
  describe(text) {
    this.#svg.setAttribute("role", "img");
    this.#svg.setAttribute("aria-label", text);
  }
}

/** Runs of samples that have the value, without gaps. */
function connected(samples, name) {
  const runs = [];
  let last = null;
  for (const sample of samples) {
    if (sample[name] === null || sample[name] === undefined) {
      last = null;
      continue;
    }
    if (last && sample.at - last.at <= GAP) runs.at(-1).push(sample);
    else runs.push([sample]);
    last = sample;
  }
  return runs;
}

function path(classes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "path");
  made.setAttribute("class", classes);
  return made;
}

function fixed(number) {
  return number.toFixed(1);
}
