// The newest lines of the daemon's log. They are asked for while this view is looked at, and not paused.
import {load} from "./api.js";
import {arrange, clock, make} from "./dom.js";
import {poll} from "./poll.js";

const PERIOD_MS = 2000, MOST = 300;
const LEVELS = ["debug", "info", "warning", "error", "critical"];

const level = make("select", {id: "log-level"}, ...[["debug", "everything"], ["info", "info and above"], ["warning", "warnings and above"], ["error", "errors"]]
  .map(([value, words]) => make("option", {value, ...(value === "info" ? {selected: ""} : {})}, words)));
const words = make("input", {id: "log-words", type: "search", placeholder: "a camera, a model, a word"});
const pause = make("button", {type: "button", "aria-pressed": "false"}, "Pause");
const note = make("p", {class: "quiet small", role: "status"}, "loading");
const lines = make("ol", {class: "log", tabindex: "0", "aria-label": "Lines of the log, the newest at the end"});
const element = make("div", {}, make("div", {class: "bar"},
  make("label", {}, "Level ", level), make("label", {}, "With the words ", words), pause, note), lines);
let newest = [];

async function read() {
  try {
    newest = (await load(`log?most=${MOST}`)).log.reverse().map(line => ({...line, shown: show(line.text)}));
    paint();
  } catch (error) {
    arrange(note, ["No answer: what is shown is old."]);
  }
}

const isPaused = () => pause.getAttribute("aria-pressed") === "true";
const {open, close, refresh} = poll(read, () => isPaused() ? null : PERIOD_MS);

// A line of JSON as people read it: time, what happened, the rest.
function show(text) {
  if (!text.startsWith("{")) return text;
  try {
    const {time, level: _, monotonic_s, event, ...rest} = JSON.parse(text);
    return [clock(time), event, ...Object.entries(rest).map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`)].join("  ");
  } catch (error) {   // it was cut
    return text;
  }
}

function paint() {
  const wanted = words.value.trim().toLowerCase();
  const found = newest.filter(line => LEVELS.indexOf(line.level) >= LEVELS.indexOf(level.value) && line.shown.toLowerCase().includes(wanted));
  const isAtEnd = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 8;
  arrange(lines, found.map(line => make("li", {class: line.level, key: line.shown}, line.shown)));
  if (isAtEnd || !lines.scrollTop) lines.scrollTop = lines.scrollHeight;
  arrange(note, [found.length ? `${found.length} of the last ${newest.length} lines` : newest.length ? `None of the last ${newest.length} lines is like that.` : "Nothing was logged."]);
}

level.addEventListener("change", paint);
words.addEventListener("input", paint);
pause.addEventListener("click", () => {
  pause.setAttribute("aria-pressed", String(!isPaused()));
  if (!isPaused()) refresh();
});

export const log = {id: "log", title: null, element, open, close};
