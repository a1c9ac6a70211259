/* Line charts and small marks as SVG. */

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 340, HEIGHT = 170;
const LEFT = 46, RIGHT = 10, TOP = 10, BOTTOM = 24;
export const COLOURS = 8; // classes series-0 to series-7 in charts.css

function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Round numbers that divide a range into about `count` parts. */
export function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough * 0.999);
  const found = [];
  for (let tick = Math.ceil(low / step - 1e-9); tick * step <= high + step * 1e-9; tick++) found.push(tick * step);
  return found;
}

function label(value, step) {
  if (Math.abs(value) >= 1e5) return value.toExponential(0).replace("+", "").replace("-", "−");
  const places = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return value.toFixed(Math.min(places, 6)).replace("-", "−");
}

/** The range of all values, a little wider; around a single value, one. */
function range(values) {
  const low = Math.min(...values), high = Math.max(...values);
  const margin = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  return [low - margin, high + margin];
}

const measured = (points) => points.filter(([, y]) => y !== null && y !== undefined);

/**
 * Lines over epochs.
 * @param {string} title What the heights are.
 * @param {{name: string, colour: number, points: [number, number | null][]}[]} series
 * @returns A figure; its caption tells the values under the pointer.
 */
export function lineChart(title, series, { unit = "" } = {}) {
  const shown = series.map((each) => ({ ...each, points: measured(each.points) })).filter((each) => each.points.length);
  const figure = document.createElement("figure");
  figure.className = "chart";
  const caption = document.createElement("figcaption");
  const heading = document.createElement("span");
  heading.className = "chart-title";
  heading.textContent = unit ? `${title} (${unit})` : title;
  const reading = document.createElement("span");
  reading.className = "reading";
  caption.append(heading, reading);
  figure.append(caption);
  if (!shown.length) {
    reading.textContent = "not measured yet";
    return figure;
  }
  const all = shown.flatMap((each) => each.points);
  const xs = all.map(([x]) => x);
  const [xLow, xHigh] = [Math.min(...xs), Math.max(...xs, Math.min(...xs) + 1)];
  const [yLow, yHigh] = range(all.map(([, y]) => y));
  const across = (x) => LEFT + ((x - xLow) / (xHigh - xLow)) * (WIDTH - LEFT - RIGHT);
  const down = (y) => HEIGHT - BOTTOM - ((y - yLow) / (yHigh - yLow)) * (HEIGHT - TOP - BOTTOM);
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": spoken(title, shown) });
  drawing.append(...axes(xLow, xHigh, yLow, yHigh, across, down), ...shown.flatMap((each) => line(each, across, down)));
  figure.append(drawing);
  follow(drawing, reading, shown, across, xLow, xHigh);
  reading.textContent = shown.length === 1 ? latest(shown[0]) : "";
  return figure;
}

function axes(xLow, xHigh, yLow, yHigh, across, down) {
  const marks = [];
  const heights = ticks(yLow, yHigh, 6);
  const step = heights.length > 1 ? heights[1] - heights[0] : Math.abs(heights[0] || 1);
  for (const y of heights) {
    marks.push(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: down(y), y2: down(y) }));
    marks.push(svg("text", { class: "tick end", x: LEFT - 6, y: down(y) + 3.5 }, label(y, step)));
  }
  for (const x of ticks(xLow, xHigh, 5).filter(Number.isInteger))
    marks.push(svg("text", { class: "tick middle", x: across(x), y: HEIGHT - 7 }, String(x)));
  return marks;
}

function line({ points, colour, faint }, across, down) {
  const path = points.map(([x, y], place) => `${place ? "L" : "M"}${across(x).toFixed(1)} ${down(y).toFixed(1)}`).join("");
  const [x, y] = points.at(-1);
  const look = `series-${colour % COLOURS}${faint ? " faint" : ""}`;
  return [
    svg("path", { class: `line ${look}`, d: path }),
    svg("circle", { class: `dot ${look}`, cx: across(x), cy: down(y), r: 2.6 }),
  ];
}

/** Let the caption tell the values at the epoch under the pointer. */
function follow(drawing, reading, series, across, xLow, xHigh) {
  const rule = svg("line", { class: "rule", y1: TOP, y2: HEIGHT - BOTTOM, x1: -9, x2: -9 });
  drawing.append(rule);
  const resting = series.length === 1 ? latest(series[0]) : "";
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * WIDTH;
    const wanted = xLow + ((at - LEFT) / (WIDTH - LEFT - RIGHT)) * (xHigh - xLow);
    const epochs = [...new Set(series.flatMap(({ points }) => points.map(([x]) => x)))];
    const nearest = epochs.reduce((best, x) => (Math.abs(x - wanted) < Math.abs(best - wanted) ? x : best));
    rule.setAttribute("x1", across(nearest));
    rule.setAttribute("x2", across(nearest));
    const told = series.flatMap(({ name, points }) => {
      const point = points.find(([x]) => x === nearest);
      return point ? [series.length > 1 ? `${name} ${short(point[1])}` : short(point[1])] : [];
    });
    reading.textContent = `epoch ${nearest}: ${told.slice(0, 4).join(", ")}${told.length > 4 ? " …" : ""}`;
  });
  drawing.addEventListener("pointerleave", () => {
    rule.setAttribute("x1", -9);
    rule.setAttribute("x2", -9);
    reading.textContent = resting;
  });
}

const short = (value) => Number(value.toPrecision(4)).toString().replace("-", "−");
const latest = ({ points }) => short(points.at(-1)[1]);

function spoken(title, series) {
  const [first, ...others] = series;
  const [from, to] = [first.points[0], first.points.at(-1)];
  const more = others.length ? `, and ${others.length} more lines` : "";
  return `${title}: ${first.name} from ${short(from[1])} in epoch ${from[0]} to ${short(to[1])} in epoch ${to[0]}${more}`;
}

/** A curve without axes, for a line of text; nothing where it has fewer than two points. */
export function sparkline(points, colour = 0) {
  const shown = measured(points);
  if (shown.length < 2) return document.createElement("span");
  const [low, high] = range(shown.map(([, y]) => y));
  const [first, last] = [shown[0][0], shown.at(-1)[0]];
  const path = shown.map(([x, y], place) => {
    const across = 1 + (88 * (x - first)) / (last - first), down = 19 - (18 * (y - low)) / (high - low);
    return `${place ? "L" : "M"}${across.toFixed(1)} ${down.toFixed(1)}`;
  });
  const look = `line series-${colour % COLOURS}`;
  return svg("svg", { class: "sparkline", viewBox: "0 0 90 20", "aria-hidden": "true" }, svg("path", { class: look, d: path.join("") }));
}

/** An interval with its estimate on the scale from `least` to `most`. */
export function intervalBar({ value, low, high }, least, most, best) {
  const across = (x) => 4 + (82 * (x - least)) / (most - least || 1);
  const bar = svg("svg", { class: `interval-bar${best ? " best" : ""}`, viewBox: "0 0 90 12", "aria-hidden": "true" });
  if (low !== null) bar.append(svg("line", { x1: across(low), x2: across(high), y1: 6, y2: 6 }));
  bar.append(svg("circle", { cx: across(value), cy: 6, r: 3.2 }));
  return bar;
}
