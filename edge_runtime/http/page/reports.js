// What became of recalibrations, dry runs and trials: each report one click away.
import {load} from "./api.js";
import {arrange, clock, make} from "./dom.js";
import {poll} from "./poll.js";

const PERIOD_MS = 10000, MOST = 100;
const KINDS = {p: "recalibration", r: "recalibration", d: "dry run", t: "trial"};

const list = make("ol", {class: "events"});
const note = make("p", {class: "quiet small", role: "status"}, "loading");
const element = make("div", {class: "card"}, list, note);

function outcomeOf(report, kind) {
  if (report.dry_run) return report.accepted ? "would be accepted" : "would be refused";
  return report.accepted ? "accepted" : kind === "trial" ? "not taken" : "refused, nothing changed";
}

function line(report) {
  const [model, id] = report.id.split("/"), kind = KINDS[id[0]] || "report";
  const link = report.page ? make("a", {href: report.page.replace(/^\//, ""), "aria-label": `Report ${id} of ${model}`}, "report") : null;
  return make("li", {key: report.id}, make("time", {datetime: report.at}, clock(report.at, {})),
    make("div", {}, make("b", {class: report.accepted ? "good" : "warn"}, outcomeOf(report, kind)),
      make("span", {}, ` · ${kind} ${id}${report.candidate && report.candidate !== "identity" ? `, ${report.candidate}` : ""}`), make("span", {class: "quiet"}, ` · model ${model} `), link,
      make("div", {class: "quiet small"}, (report.reasons || [])[0] || "")));
}

async function refresh() {
  try {
    const {reports} = await load(`reports?most=${MOST}`);
    arrange(list, reports.map(line));
    arrange(note, [reports.length ? "" : "No recalibration and no trial yet."]);
  } catch (error) {
    arrange(note, ["No answer: what is shown is old."]);
  }
}

const {open, close} = poll(refresh, () => PERIOD_MS);

export const reports = {id: "reports", title: "Recalibrations and trials", element, open, close};
