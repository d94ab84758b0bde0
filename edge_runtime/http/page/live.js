// The live view: each camera's next picture as often as LIVE_MS allows, and the results of it drawn on it.
// Only what is in sight, in a tab that is looked at, and not paused asks for anything.
import {ask, load} from "./api.js";
import {answer, clock, figure, make} from "./dom.js";

const LIVE_MS = 200, SIDE_PX = 640, HOLD_MS = 1000, MOST_APART_MS = 2000;
const AGAIN_MS = {403: 10000, 404: 10000}, SOON_MS = 1000;
const views = new Map();   // camera -> {name, card, picture, svg, label, note, isSeen, isPaused, isWatching, waiting[], url, rest, pause}
const element = make("div", {class: "grid", id: "live"});
let isFollowing = false;

const isWanted = view => view.isSeen && !view.isPaused && !document.hidden && views.get(view.name) === view;
const rest = (ms, holder = {}) => new Promise(resolve => { holder.rest = resolve; setTimeout(resolve, Math.max(0, ms)); });

function wake(view) {
  if (view.rest) view.rest();
  watch(view);
  follow();
}

const sight = new IntersectionObserver(entries => {
  for (const entry of entries) for (const view of views.values()) if (view.card === entry.target) {
    view.isSeen = entry.isIntersecting;
    wake(view);
  }
});
document.addEventListener("visibilitychange", () => { for (const view of views.values()) wake(view); });

function openView(name) {
  const view = {name, isSeen: false, isPaused: false, isWatching: false, waiting: [], url: null};
  const pause = view.pause = make("button", {type: "button", class: "right", "aria-pressed": "false", "aria-label": `Pause the picture of ${name}`, hidden: ""}, "Pause");
  pause.addEventListener("click", () => {
    view.isPaused = !view.isPaused;
    pause.setAttribute("aria-pressed", String(view.isPaused));
    wake(view);
  });
  view.picture = make("img", {alt: `Camera ${name}, now`, hidden: ""});
  view.svg = make("svg", {"aria-hidden": "true", preserveAspectRatio: "none"});
  view.label = make("p", {class: "small"});
  view.note = make("p", {class: "quiet small"}, "waiting for a picture");
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

async function watch(view) {
  if (view.isWatching) return;
  view.isWatching = true;
  while (isWanted(view)) {
    const began = performance.now(), pause = await takePicture(view);
    await rest(Math.max(began + LIVE_MS - performance.now(), pause), view);
  }
  view.isWatching = false;
}

async function takePicture(view) {   // gives how long to wait before the next try, ms
  try {
    const given = await ask(`cameras/${encodeURIComponent(view.name)}/picture.jpg?max_side=${SIDE_PX}`, {signal: AbortSignal.timeout(15000)});
    if (!given.ok) return refuse(view, given.status, (await given.json()).error);
    const header = name => given.headers.get(name), at = Date.parse(header("Captured-At"));
    view.waiting.push({seq: Number(header("Frame-Seq")), at, width: Number(header("Frame-Width")),
      height: Number(header("Frame-Height")), blob: await given.blob(), came: performance.now()});
    return 0;
  } catch (error) {   // the daemon is away, or says what is no picture
    tell(view, "No answer. The picture is old.");
    return SOON_MS;
  }
}

function refuse(view, code, reason) {
  if (AGAIN_MS[code]) clear(view);   // it may have been forbidden meanwhile
  tell(view, reason);
  return AGAIN_MS[code] || SOON_MS;
}

function tell(view, words) {
  view.note.textContent = words;
  view.card.classList.add("old");
}

function clear(view) {
  view.waiting = [];
  view.pause.hidden = true;   // where there is no picture
  view.picture.hidden = true;
  view.svg.replaceChildren();
  view.label.textContent = "";
  if (view.url) URL.revokeObjectURL(view.url);
  view.url = null;
}

async function follow() {   // one request for the results of all pictures that wait
  if (isFollowing) return;
  isFollowing = true;
  while ([...views.values()].some(isWanted)) {
    const began = performance.now(), waiting = [...views.values()].filter(view => view.waiting.length);
    if (waiting.length) {
      const found = await load(`results?most=${Math.min(256, 8 * views.size)}`).catch(() => ({}));
      for (const view of waiting) present(view, (found.results || []).filter(result => result.stream === view.name));
    }
    await rest(began + LIVE_MS - performance.now());
  }
  isFollowing = false;
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
  const before = view.url;
  view.picture.onload = () => { if (before) URL.revokeObjectURL(before); };
  view.picture.src = view.url = URL.createObjectURL(picture.blob);
  view.picture.width = picture.width;
  view.picture.height = picture.height;   // with the style: the place that it takes before it is decoded
  view.picture.hidden = view.pause.hidden = false;
  view.card.classList.remove("old");
  view.svg.setAttribute("viewBox", `0 0 ${picture.width} ${picture.height}`);
  const unit = picture.width / (view.picture.clientWidth || picture.width);   // pixels of the frame in one of the page
  view.svg.replaceChildren(...(result && result.detections || []).flatMap(found => box(found, unit)));
  const words = result && answer(result);
  view.label.textContent = words ? `${words[0]} ${words[1]}` : "no result";
  const ms = result ? picture.at - Date.parse(result.captured_at) : 0;
  const apart = !result || result.seq === picture.seq ? "" : ` · the result is of a frame ${Math.abs(ms)} ms ${ms < 0 ? "later" : "earlier"}`;
  view.note.textContent = `${clock(picture.at)} · frame ${picture.seq}${apart}`;
}

function box(found, unit) {
  const [left, top, right, bottom] = found.box, colour = `hsl(${found.index * 67 % 360} 95% 65%)`;
  const size = 13 * unit, below = top < size * 1.4;   // the words stand in the box where there is no room above it
  return [make("rect", {x: left, y: top, width: Math.max(0, right - left), height: Math.max(0, bottom - top), stroke: colour}),
    make("text", {x: left + 2 * unit, y: below ? top + size * 1.1 : top - size * 0.35, "font-size": size, fill: colour},
      `${found.label} ${figure(found.score, 2)}`)];
}

export const live = {id: "live", title: "Live", element, show: ({status}) => showViews(Object.keys(status.cameras || {}))};
