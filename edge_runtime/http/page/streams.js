// One card for each stream: what it gives, and how fast.
import {answer, arrange, facts, figure, make, number} from "./dom.js";
import {push, sparkline} from "./sparkline.js";

const element = make("div", {class: "grid", id: "streams"});
const MOST_CARDS = 6;
const seen = new Map();   // model/stream -> {at, results, fps[]}

function remember(name) {
  if (!seen.has(name)) seen.set(name, {at: null, results: 0, fps: []});
  return seen.get(name);
}

function streamCard(name, model, stream, camera, result, now) {
  const fps = rate(`${model}/${name}`, stream, now), past = remember(`${model}/${name}`);
  const rejected = count(stream.rejected), shown = answer(result);
  return make("article", {class: "card", key: `${model}/${name}`},
    make("div", {class: "top"}, make("b", {}, name), make("span", {class: "quiet small right"}, `model ${model}`)),
    make("div", {class: "big"}, figure(fps), make("small", {}, " results/s")),
    sparkline(past.fps),
    shown && make("div", {class: "label"}, make("span", {}, shown[0]), make("span", {class: "quiet right"}, shown[1])),
    facts([["frames", number(stream.frames)], ["results", number(stream.results)],
      ["dropped at the source", camera.dropped === undefined ? null : number(camera.dropped)],
      ["frames decoded", camera.decoding || null], ["rejected", number(rejected)], ["restarts", camera.restarts === undefined ? null : number(camera.restarts)],
      ["end to end", result && result.timings_ms ? `${figure(result.timings_ms.total)} ms` : null]]),
    camera.path ? make("p", {class: "quiet small path", title: camera.path}, shortPath(camera.path), camera.finished ? " (played to its end)" : "") : null,
    camera.problem ? make("p", {class: "small warn"}, camera.problem) : null);
}

const shortPath = path => path.startsWith("/") && !path.startsWith("/dev/") ? path.split("/").slice(-1)[0] || path : path;

// Many streams: one line for each.
function streamLine(name, model, stream, camera, result, now) {
  const fps = rate(`${model}/${name}`, stream, now), shown = answer(result), rejected = count(stream.rejected);
  return make("article", {class: "card line", key: `${model}/${name}`}, make("b", {}, name), make("span", {class: "quiet"}, `${figure(fps)} results/s`),
    make("span", {}, shown ? shown.join(" ") : ""), make("span", {class: "quiet"}, `${number(camera.dropped ?? 0)} dropped, ${number(rejected)} rejected`),
    make("span", {class: "warn"}, camera.problem || ""));
}

const count = rejected => Object.values(rejected || {}).reduce((a, b) => a + b, 0);

// Results a second over the last looks.
function rate(key, stream, now) {
  const past = remember(key);
  if (past.at !== null && now > past.at) push(past.fps, Math.max(0, stream.results - past.results) / (now - past.at) * 1000);
  past.at = now; past.results = stream.results;
  const recent = past.fps.slice(-5);
  return recent.length ? recent.reduce((a, b) => a + b, 0) / recent.length : null;
}

function show({status, results, now}) {
  const newest = new Map();
  for (const result of results) if (!newest.has(result.stream)) newest.set(result.stream, result);
  const found = Object.entries(status.models || {}).flatMap(([name, model]) => Object.entries(model.streams || {}).map(([stream, figures]) => [stream, name, figures]));
  const card = found.length > MOST_CARDS ? streamLine : streamCard;
  element.classList.toggle("grid", found.length <= MOST_CARDS);
  arrange(element, found.map(([stream, name, figures]) => card(stream, name, figures, (status.cameras || {})[stream] || {}, newest.get(stream), now)));
}

export const streams = {id: "streams", title: "Streams", element, show};
