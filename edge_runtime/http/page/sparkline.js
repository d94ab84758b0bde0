// The last two minutes of a figure, as far as the page was open.
import {make} from "./dom.js";

const KEEP = 120;

export function push(list, value) {
  list.push(value);
  if (list.length > KEEP) list.shift();
}

export function sparkline(values, limit) {
  const svg = make("svg", {viewBox: "0 0 100 38", preserveAspectRatio: "none", "aria-hidden": "true"});
  if (values.length < 2) return svg;
  const most = Math.max(...values, limit ? limit * 1.25 : 0, 1e-9);
  const x = i => (i / (KEEP - 1) * 100 + (KEEP - values.length) / (KEEP - 1) * 100).toFixed(2);
  const y = value => (36 - value / most * 33).toFixed(2);
  svg.append(make("path", {d: values.map((value, i) => `${i ? "L" : "M"}${x(i)} ${y(value)}`).join("")}));
  if (limit) svg.append(make("line", {x1: 0, x2: 100, y1: y(limit), y2: y(limit)}));
  return svg;
}
