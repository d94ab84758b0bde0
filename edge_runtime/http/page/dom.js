// Elements and words that several panels use. Text stays text: nothing is parsed as HTML.
const DRAWN = ["svg", "path", "line", "rect", "text"];

export const by = id => document.getElementById(id);
export const number = value => value === null || value === undefined || Number.isNaN(Number(value)) ? "–" : Number(value).toLocaleString("en");
export const figure = (value, digits = 1) => value === null || value === undefined ? "–" : Number(value).toFixed(digits);

const isThere = child => child !== null && child !== undefined;

// `key` is no attribute: it names the element among its neighbours, see `arrange`.
export function make(tag, {key, ...attributes} = {}, ...children) {
  const node = DRAWN.includes(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  if (key !== undefined) node.key = key;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.filter(isThere));
  return node;
}

// Makes the children of a node be those that are wanted, nodes or texts. One that is there already, by its tag and its
// key, stays and is renewed: the keyboard keeps its place, and selected text stays selected.
export function arrange(place, wanted) {
  const nodes = wanted.filter(isThere).map(child => child instanceof Node ? child : document.createTextNode(child));
  const rest = [...place.childNodes].filter(old => !nodes.includes(old));
  const kept = nodes.map(node => {
    const at = node.parentNode === place ? -1 : rest.findIndex(old => old.nodeName === node.nodeName && old.key === node.key);
    return at < 0 ? node : renew(rest.splice(at, 1)[0], node);
  });
  for (const old of rest) old.remove();
  kept.forEach((node, at) => { if (place.childNodes[at] !== node) place.insertBefore(node, place.childNodes[at] || null); });
}

function renew(old, node) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== node.data) old.data = node.data;
    return old;
  }
  for (const name of old.getAttributeNames()) if (!node.hasAttribute(name)) old.removeAttribute(name);
  for (const {name, value} of node.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  old.onclick = node.onclick;
  arrange(old, [...node.childNodes]);
  return old;
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

// What a model answered to one frame: the words, and a figure or more words next to them.
export function answer(result) {
  if (!result) return null;
  if (result.top && result.top.length) return [result.top[0].label, figure(result.top[0].score, 2)];
  if (result.detections) return [`${result.detections.length} found${result.detections.length ? ":" : ""}`, result.detections.map(d => d.label).slice(0, 3).join(", ")];
  if (result.values) return values(result.values);
  if (result.anomaly) return anomaly(result.anomaly);
  return result.outputs ? [Object.keys(result.outputs).join(", "), ""] : null;
}

const brief = value => Number(value.toPrecision(4)).toLocaleString("en", {maximumSignificantDigits: 4});

function values(found) {
  const outside = found.filter(one => one.limits === "above" || one.limits === "below");
  const words = found.slice(0, 3).map(one => `${one.name} ${brief(one.value)} ${one.unit}`.trim()).join(", ");
  return [words + (found.length > 3 ? ` and ${found.length - 3} more` : ""), outside.length ? `(${outside.map(one => `${one.name} ${one.limits} limits`).slice(0, 3).join(", ")})` : ""];
}

const anomaly = found => [{true: "anomalous", false: "normal", null: "no threshold yet"}[found.is_anomalous],
  found.threshold === null ? `score ${brief(found.score)}` : `${brief(found.score)} of ${brief(found.threshold)}`];
