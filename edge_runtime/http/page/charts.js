// Latency, throughput, drift and losses over time. Nothing is asked for while this view is not looked at.
import {load} from "./api.js";
import {Chart} from "./chart.js";
import {arrange, clock, make} from "./dom.js";
import {poll} from "./poll.js";
import {TrendStore} from "./trend-store.js";

const SPANS = [["1 h", 3600], ["6 h", 21600], ["24 h", 86400]];
const PERIOD_MS = {3600: 5000, 21600: 20000, 86400: 20000};
const MOST_MARKS = 8;
const MARKS = {alarm: "--bad", recalibrated: "--good", promoted: "--good", proposed: "--warn", refused: "--warn", rollback: "--tint"};

const note = make("p", {class: "quiet small", role: "status"}, "loading");
const shown = make("div", {class: "charts"});
const spans = make("div", {class: "choice", role: "group", "aria-label": "Time shown"},
  ...SPANS.map(([words, seconds]) => {
    const button = make("button", {type: "button", "aria-pressed": String(seconds === 3600)}, words);
    button.addEventListener("click", () => choose(seconds, button));
    return button;
  }));
const element = make("div", {}, make("div", {class: "bar"}, spans, note), shown);
const moments = new Map();   // model -> its list
let store = new TrendStore(3600), charts = new Map();   // key -> Chart

function choose(seconds, button) {
  for (const other of spans.children) other.setAttribute("aria-pressed", String(other === button));
  store = new TrendStore(seconds);
  refresh();
}

const {open, close, refresh} = poll(read, () => PERIOD_MS[store.span]);

async function read() {
  const asked = store;
  try {
    const answer = await load(asked.path);
    if (asked !== store) return;   // another span was chosen meanwhile
    asked.take(answer);
    paint(asked);
  } catch (error) {
    arrange(note, ["No answer: what is shown is old."]);
  }
}

function paint(known) {
  const wanted = describeCharts(known);
  for (const [key, chart] of charts) if (!wanted.some(one => one.key === key)) {
    chart.remove();
    charts.delete(key);
  }
  for (const one of wanted) if (!charts.has(one.key)) charts.set(one.key, new Chart(one));
  arrange(shown, wanted.map(one => charts.get(one.key).element));   // before they are drawn: they take their width from the page
  for (const one of wanted) charts.get(one.key).update([known.times, ...one.figures.map(figure => figure.values)], one.marks || []);
  arrange(note, [wanted.length ? "" : "Nothing was measured yet. A restart of the daemon begins anew."]);
}

// The charts that there are figures for; a key names the chart with its lines, so that another line makes a new one.
function describeCharts(known) {
  const found = [], models = [...new Set([...known.figures.values()].map(figure => figure.model).filter(Boolean))].sort();
  const add = (title, figures, options = {}) => {
    if (figures.length) found.push({title, figures, unit: "", ...options, lines: figures.map((figure, i) => options.lines ? options.lines[i] : {label: figure.part}),
      key: [title, ...figures.map(figure => `${figure.name} ${figure.part}`)].join("/")});
  };
  const hasOne = models.length < 2, of = name => known.named(name).sort((a, b) => `${a.part}` < `${b.part}` ? -1 : 1);
  for (const model of models) {
    const mine = name => of(name).filter(figure => figure.model === model), marks = marksOf(known, model), behind = hasOne ? "" : ` of ${model}`;
    add(`Results a second${behind}`, mine("results_per_s"), {marks});
    add(`Latency${behind} in ms, capture to result`, [...mine("latency_p50_ms"), ...mine("latency_p99_ms")], {unit: " ms", marks, lines: [{label: "p50"}, {label: "p99"}]});
    const list = momentsOf(model);
    add(`Drift score${behind}`, [...mine("drift_score"), ...mine("drift_threshold")], {digits: 2, marks, lines: [{label: "score"}, {label: "alarm above", colour: "--bad", dash: [5, 4]}], below: list});
    arrange(list, marks.slice(-MOST_MARKS).reverse().map(line));
  }
  add("Lost, by reason", of("lost"), {digits: 0, isStacked: true, lines: of("lost").map(figure => ({label: hasOne || !figure.model ? figure.part : `${figure.model}: ${figure.part}`}))});
  return found;
}

const line = mark => make("li", {}, make("span", {class: "swatch", "data-kind": mark.kind, "aria-hidden": "true"}),
  make("time", {datetime: new Date(mark.at * 1000).toISOString()}, clock(mark.at * 1000)), make("span", {}, mark.text));

function momentsOf(model) {
  if (!moments.has(model)) moments.set(model, make("ol", {class: "moments", "aria-label": `Moments of ${model}`}));
  return moments.get(model);
}

const marksOf = (known, model) => known.marks.filter(mark => mark.model === model)
  .map(mark => ({...mark, at: Date.parse(mark.at) / 1000, colour: MARKS[mark.kind]}));

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { for (const chart of charts.values()) chart.redraw(); });

export const trends = {id: "trends", title: null, element, open, close};
