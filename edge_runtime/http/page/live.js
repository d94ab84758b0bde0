// The live view: the next pictures of all cameras and charts of all sensors in sight, as often as LIVE_MS allows, and their results drawn on them.
// One request brings all of it. Only what is in sight, in a tab that is looked at, and not paused is asked for.
import {ask} from "./api.js";
import {answer, arrange, clock, figure, make} from "./dom.js";

const LIVE_MS = 200, MOST_PX = 640, HOLD_MS = 1000, MOST_APART_MS = 2000, SILENT_MS = 5000;
const AGAIN_MS = {403: 10000, 404: 10000}, SOON_MS = 1000;
const views = new Map();   // camera -> {name, card, picture, svg, label, note, isSeen, isPaused, waiting[], came, againAt, pause}
const element = make("div", {class: "grid", id: "live"});
let isWatching = false, hurry = () => {};   // `hurry` ends the request or the pause under way

const isWanted = view => view.isSeen && !view.isPaused && !document.hidden;
const rest = ms => new Promise(resolve => { hurry = resolve; setTimeout(resolve, Math.max(0, ms)); });

function wake() {
  hurry();
  watch();
}

const sight = new IntersectionObserver(entries => {
  for (const entry of entries) for (const view of views.values()) if (view.card === entry.target) view.isSeen = entry.isIntersecting;
  wake();
});
document.addEventListener("visibilitychange", wake);

function openView(name) {
  const view = {name, isSeen: false, isPaused: false, waiting: [], came: performance.now(), againAt: 0};
  const pause = view.pause = make("button", {type: "button", class: "right", "aria-pressed": "false", "aria-label": `Pause the picture of ${name}`, hidden: ""}, "Pause");
  pause.addEventListener("click", () => {
    view.isPaused = !view.isPaused;
    pause.setAttribute("aria-pressed", String(view.isPaused));
    wake();
  });
  view.picture = make("img", {alt: `${name}, now`, hidden: ""});
  view.svg = make("svg", {"aria-hidden": "true", preserveAspectRatio: "none"});
  view.label = make("p", {class: "small"});
  view.note = make("p", {class: "quiet small"}, "nothing new yet");
  view.card = make("article", {class: "card camera"}, make("div", {class: "top"}, make("b", {}, name), pause),
    make("div", {class: "frame"}, view.picture, view.svg), view.label, view.note);
  views.set(name, view);
  element.append(view.card);
  sight.observe(view.card);
}

function showViews(names) {
  for (const name of names) if (!views.has(name)) openView(name);
  for (const [name, view] of views) if (!names.includes(name)) {
    views.delete(name);
    sight.unobserve(view.card);
    clear(view);
    view.card.remove();
  }
}

async function watch() {
  if (isWatching) return;
  isWatching = true;
  for (let wanted; (wanted = [...views.values()].filter(isWanted)).length;) {
    const began = performance.now(), due = wanted.filter(view => view.againAt <= began);
    const isGood = due.length ? await look(due) : false;
    await rest(isGood ? began + LIVE_MS - performance.now() : SOON_MS);
  }
  isWatching = false;
}

// Asks once; says whether it was answered.
async function look(due) {
  const width = Math.max(...due.map(view => view.card.clientWidth)) * devicePixelRatio, stop = new AbortController();
  const query = new URLSearchParams({max_side: String(Math.min(MOST_PX, Math.max(160, Math.ceil(width / 32) * 32)))});
  if (due.some(view => view.waiting.length)) query.set("longest_ms", String(LIVE_MS));   // its result is still to come
  for (const view of due) query.append("camera", view.name);
  hurry = () => { if (![...views.values()].filter(isWanted).every(view => due.includes(view) || view.againAt > performance.now())) stop.abort(); };
  try {
    const given = await ask(`live?${query}`, {signal: AbortSignal.any([stop.signal, AbortSignal.timeout(15000)])});
    const found = await given.json();
    if (!given.ok) throw new Error(found.error);
    for (const view of due) if (views.get(view.name) === view) take(view, found);
    return true;
  } catch (error) {   // the daemon is away, or refuses
    if (!stop.signal.aborted) for (const view of due) tell(view, error instanceof TypeError ? "No answer. The picture is old." : error.message);
    return stop.signal.aborted;
  }
}

function take(view, found) {
  const refused = found.refused[view.name], now = performance.now();
  if (refused) return refuse(view, refused.code, refused.error);
  for (const {camera, captured_at, ...picture} of found.pictures) if (camera === view.name) {
    view.waiting.push({...picture, at: Date.parse(captured_at), came: now});
    view.came = now;
  }
  if (now - view.came > SILENT_MS) tell(view, found.waiting[view.name] || "");
  present(view, found.results.filter(result => result.stream === view.name));
}

function refuse(view, code, reason) {
  if (AGAIN_MS[code]) clear(view);   // it may have been forbidden meanwhile
  view.againAt = performance.now() + (AGAIN_MS[code] || SOON_MS);
  tell(view, reason);
}

function tell(view, words) {
  arrange(view.note, [words]);
  view.card.classList.add("old");
}

function clear(view) {
  view.waiting = [];
  view.pause.hidden = true;   // where there is no picture
  view.picture.hidden = true;
  view.svg.replaceChildren();
  view.label.textContent = "";
  view.picture.removeAttribute("src");
}

// The newest picture that has its result, or never will because a later frame was answered; after HOLD_MS any.
function present(view, results) {
  const last = results.reduce((most, result) => Math.max(most, result.seq), -1);
  const settled = view.waiting.filter(picture => picture.seq <= last);
  const isLate = view.waiting.length && performance.now() - view.waiting[0].came > HOLD_MS;
  const picture = settled.pop() || (isLate ? view.waiting[view.waiting.length - 1] : null);
  if (!picture) return;
  view.waiting = view.waiting.filter(other => other.seq > picture.seq);
  const apart = result => Math.abs(Date.parse(result.captured_at) - picture.at);
  const nearest = results.reduce((best, result) => !best || apart(result) < apart(best) ? result : best, null);
  draw(view, picture, nearest && apart(nearest) <= MOST_APART_MS ? nearest : null);
}

function draw(view, picture, result) {
  view.picture.src = picture.svg ? `data:image/svg+xml,${encodeURIComponent(picture.svg)}` : `data:image/jpeg;base64,${picture.jpeg}`;
  view.picture.alt = picture.svg ? `Sensor ${view.name}, its newest window` : `Camera ${view.name}, now`;
  view.picture.width = picture.width;
  view.picture.height = picture.height;   // with the style: the place that it takes before it is decoded
  view.picture.hidden = view.pause.hidden = false;
  view.card.classList.remove("old");
  view.svg.setAttribute("viewBox", `0 0 ${picture.width} ${picture.height}`);
  const unit = picture.width / (view.picture.clientWidth || picture.width);   // pixels of the frame in one of the page
  view.svg.replaceChildren(...(result && result.detections || []).flatMap(found => box(found, unit)));
  const words = result && answer(result);
  arrange(view.label, [words ? `${words[0]} ${words[1]}` : "no result"]);
  const ms = result ? picture.at - Date.parse(result.captured_at) : 0;
  const apart = !result || result.seq === picture.seq ? "" : ` · the result is of a frame ${Math.abs(ms)} ms ${ms < 0 ? "later" : "earlier"}`;
  arrange(view.note, [`${clock(picture.at)} · frame ${picture.seq}${apart}`]);
}

function box(found, unit) {
  const [left, top, right, bottom] = found.box, colour = `hsl(${found.index * 67 % 360} 95% 65%)`;
  const size = 13 * unit, below = top < size * 1.4;   // the words stand in the box where there is no room above it
  return [make("rect", {x: left, y: top, width: Math.max(0, right - left), height: Math.max(0, bottom - top), stroke: colour}),
    make("text", {x: left + 2 * unit, y: below ? top + size * 1.1 : top - size * 0.35, "font-size": size, fill: colour},
      `${found.label} ${figure(found.score, 2)}`)];
}

const nothing = make("p", {class: "quiet"});

function show({status}) {
  const names = Object.keys(status.cameras || {});
  showViews(names);
  element.classList.toggle("many", names.length > 6);
  arrange(nothing, [status.safe_mode ? "No camera and no sensor runs in safe mode." : "No camera and no sensor runs. The configuration (sections cameras and sensors) says which there are."]);
  if (names.length) nothing.remove();
  else if (!nothing.isConnected) element.append(nothing);
}

export const live = {id: "live", title: "Live", element, show};
