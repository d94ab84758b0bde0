// Elements and words that several panels use. Text stays text: nothing is parsed as HTML.
const DRAWN = ["svg", "path", "line", "rect", "text"];

export const by = id => document.getElementById(id);
export const number = value => value === null || value === undefined || Number.isNaN(Number(value)) ? "–" : Number(value).toLocaleString("en");
export const figure = (value, digits = 1) => value === null || value === undefined ? "–" : Number(value).toFixed(digits);

export function make(tag, attributes = {}, ...children) {
  const node = DRAWN.includes(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.filter(child => child !== null && child !== undefined));
  return node;
}

export function facts(pairs) {
  const list = make("dl");
  for (const [name, value] of pairs) if (value !== null && value !== undefined) list.append(make("dt", {}, name), make("dd", {}, String(value)));
  return list;
}

export function duration(seconds) {
  const days = Math.floor(seconds / 86400), hours = Math.floor(seconds / 3600) % 24, minutes = Math.floor(seconds / 60) % 60;
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${Math.floor(seconds) % 60} s` : `${Math.floor(seconds)} s`;
}

// The local time of day, of a number of milliseconds or of a text with an offset; with its date when it is not today.
export function clock(at, options = {second: "2-digit"}) {
  const when = new Date(at), time = when.toLocaleTimeString([], {hour: "2-digit", minute: "2-digit", ...options});
  return Date.now() - when < 86400000 && when.getDate() === new Date().getDate() ? time : `${when.toLocaleDateString()} ${time}`;
}

// What a model answered to one frame: the words, and a figure or more words beside them.
export function answer(result) {
  if (!result) return null;
  if (result.top && result.top.length) return [result.top[0].label, figure(result.top[0].score, 2)];
  if (result.detections) return [`${result.detections.length} found${result.detections.length ? ":" : ""}`, result.detections.map(d => d.label).slice(0, 3).join(", ")];
  return result.outputs ? [Object.keys(result.outputs).join(", "), ""] : null;
}
