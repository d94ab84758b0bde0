// One card for each stream: what it gives, and how fast.
import {answer, facts, figure, make, number} from "./dom.js";
import {push, sparkline} from "./sparkline.js";

const element = make("div", {class: "grid", id: "streams"});
const seen = new Map();   // model/stream -> {at, results, fps[]}

function remember(name) {
  if (!seen.has(name)) seen.set(name, {at: null, results: 0, fps: []});
  return seen.get(name);
}

function streamCard(name, model, stream, camera, result, now) {
  const past = remember(`${model}/${name}`);
  if (past.at !== null && now > past.at) push(past.fps, Math.max(0, stream.results - past.results) / (now - past.at) * 1000);
  past.at = now; past.results = stream.results;
  const recent = past.fps.slice(-5), fps = recent.length ? recent.reduce((a, b) => a + b, 0) / recent.length : null;
  const rejected = Object.values(stream.rejected || {}).reduce((a, b) => a + b, 0);
  const shown = answer(result);
  return make("article", {class: "card"},
    make("div", {class: "top"}, make("b", {}, name), make("span", {class: "quiet small right"}, `model ${model}`)),
    make("div", {class: "big"}, figure(fps), make("small", {}, " results/s")),
    sparkline(past.fps),
    shown && make("div", {class: "label"}, make("span", {}, shown[0]), make("span", {class: "quiet right"}, shown[1])),
    facts([["frames", number(stream.frames)], ["results", number(stream.results)],
      ["dropped at the source", camera.dropped === undefined ? null : number(camera.dropped)],
      ["rejected", number(rejected)], ["restarts", camera.restarts === undefined ? null : number(camera.restarts)],
      ["end to end", result && result.timings_ms ? `${figure(result.timings_ms.total)} ms` : null]]),
    camera.path ? make("p", {class: "quiet small path", title: camera.path}, shortPath(camera.path), camera.finished ? " (played to its end)" : "") : null,
    camera.problem ? make("p", {class: "small warn"}, camera.problem) : null);
}

const shortPath = path => path.startsWith("/") && !path.startsWith("/dev/") ? path.split("/").slice(-1)[0] || path : path;

function show({status, results, now}) {
  const newest = new Map();
  for (const result of results) if (!newest.has(result.stream)) newest.set(result.stream, result);
  element.replaceChildren(...Object.entries(status.models || {}).flatMap(([name, model]) =>
    Object.entries(model.streams || {}).map(([stream, figures]) =>
      streamCard(stream, name, figures, (status.cameras || {})[stream] || {}, newest.get(stream), now))));
}

export const streams = {id: "streams", title: "Streams", element, show};
