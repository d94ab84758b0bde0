// Puts the page together: views, each of some panels, of which one view is shown at a time.
//
// A panel is {id, title, element, show(state)?, open()?, close()?}. `show` is called every second while its view is
// shown, with what `read` gives. `open` and `close` are called when its view is shown and left: what a panel loads
// in addition to the state, it loads only between the two.
import {load} from "./api.js";
import {trends} from "./charts.js";
import {actions} from "./actions.js";
import {addresses} from "./addresses.js";
import {arrange, by, make} from "./dom.js";
import {delivery} from "./delivery.js";
import {editor} from "./editor.js";
import {events} from "./events.js";
import {generations} from "./generations.js";
import {live} from "./live.js";
import {log} from "./log.js";
import {models} from "./models.js";
import {now} from "./now.js";
import {poll} from "./poll.js";
import {reports} from "./reports.js";
import {showCaller} from "./session.js";
import {streams} from "./streams.js";
import {showSummary} from "./summary.js";

const VIEWS = [
  {id: "overview", title: "Overview", panels: [now, live, streams, models, delivery, events]},
  {id: "charts", title: "Charts", panels: [trends]},
  {id: "history", title: "History", panels: [generations, reports]},
  {id: "log", title: "Log", panels: [log]},
  {id: "actions", title: "Actions", panels: [actions]},
  {id: "configuration", title: "Configuration", panels: [editor]},
  {id: "api", title: "API", panels: [addresses]},
];
const PERIOD_MS = 1000, HIDDEN_PERIOD_MS = 10000;
let shown = null;

function place(view) {
  view.element = make("div", {class: "view", id: `view-${view.id}`, hidden: ""});
  // Its id is not the one in the address, to which a browser would scroll past the head of the page.
  view.link = make("a", {href: `#${view.id}`}, view.title);
  for (const panel of view.panels) view.element.append(frame(panel));
  by("main").append(view.element);
  by("views").append(view.link);
}

function frame(panel) {
  const heading = panel.title ? make("h2", {id: `${panel.id}-title`}, panel.title) : null;
  return make("section", {class: "panel", ...(heading ? {"aria-labelledby": heading.id} : {})}, heading, panel.element);
}

function choose() {
  const wanted = VIEWS.find(view => `#${view.id}` === location.hash) || VIEWS[0];
  if (wanted === shown) return;
  if (shown) leave(shown);
  shown = wanted;
  wanted.element.hidden = false;
  wanted.link.setAttribute("aria-current", "page");
  wanted.link.scrollIntoView({block: "nearest", inline: "center"});   // on a phone the row is wider than the screen
  for (const panel of wanted.panels) if (panel.open) panel.open();
}

function leave(view) {
  for (const panel of view.panels) if (panel.close) panel.close();
  view.element.hidden = true;
  view.link.removeAttribute("aria-current");
}

async function read() {
  const [status, health, results, events] = await Promise.all(["status", "readyz", "results?most=50", "events?most=12"].map(load));
  return {status, health, results: results.results, events: events.events, now: performance.now()};
}

async function round() {
  try {
    const state = await read();
    showSummary(state);
    for (const panel of shown.panels) if (panel.show) panel.show(state);
    by("lost").hidden = true;
  } catch (error) {
    const why = error instanceof TypeError ? "The daemon does not answer." : `The daemon says: ${error.message}.`;
    arrange(by("lost"), [`${why} The figures below are old.`]);
    by("lost").hidden = false;
  }
}

VIEWS.forEach(place);
by("views").hidden = VIEWS.length < 2;
window.addEventListener("hashchange", choose);
choose();
showCaller();
poll(round, () => PERIOD_MS, HIDDEN_PERIOD_MS).open();
