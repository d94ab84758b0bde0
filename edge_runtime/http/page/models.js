// One card for each model: drift, latency, the last recalibration.
import {arrange, facts, figure, make, number} from "./dom.js";
import {push, sparkline} from "./sparkline.js";

const element = make("div", {class: "grid", id: "models"});
const scores = new Map();   // model -> drift scores

function remember(name) {
  if (!scores.has(name)) scores.set(name, []);
  return scores.get(name);
}

const firstSentence = reasons => (reasons && reasons[0] || "").split(/(?<=\.) /)[0];

function driftText(recalibration, drift, generation) {
  const reason = recalibration.not_possible && (recalibration.not_possible.commission || recalibration.not_possible.recalibrate);
  if (reason) return [`cannot be recalibrated: ${reason}`, "warn"];
  if (!recalibration.commissioned) return ["no baseline yet", "warn"];
  if (!drift || drift.score === null || drift.score === undefined) return ["measuring", "quiet"];
  const patch = (generation || "").split("+")[1];
  if (recalibration.corrected_by) return [`corrected by ${recalibration.corrected_by}`, "good"];
  if (drift.drifted && patch) return [`drifted; patch ${patch} is active`, "warn"];
  const lasting = drift.cusum > drift.cusum_threshold ? `, lasting excess ${figure(drift.cusum, 2)}` : "";
  if (drift.drifted) return [`drifted: ${drift.verdict || "alarm"}${lasting}`, "bad"];
  return drift.score > drift.threshold ? ["above the threshold", "warn"] : ["as in the baseline", "good"];
}

export const progressText = progress => progress ? `, ${progress.phase} ${Math.round(100 * progress.share)} %` : "";
const trialText = rollout => rollout && rollout.candidate
  ? `${rollout.candidate}: ${rollout.stage}${rollout.paused ? ", paused until a person decides" : ""}` : null;

function modelCard(name, model) {
  const recalibration = model.recalibration, past = remember(name);
  const card = make("article", {class: "card", key: name},
    make("div", {class: "top"}, make("b", {}, name), make("span", {class: "quiet small right"}, model.generation || "")));
  if (recalibration) {
    const drift = recalibration.drift, [words, tone] = driftText(recalibration, drift, model.generation);
    if (drift && drift.score !== null && drift.score !== undefined) push(past, drift.score);
    card.append(make("div", {class: "big"}, drift ? figure(drift.score, 2) : "–",
      make("small", {}, ` drift score, threshold ${drift ? figure(drift.threshold, 2) : "–"}`)),
      make("span", {class: `small ${tone}`}, words), sparkline(past, drift ? drift.threshold : null));
  }
  card.append(facts([
    ["inference p50 / p99", model.infer_ms ? `${figure(model.infer_ms.p50)} / ${figure(model.infer_ms.p99)} ms` : null],
    ["end to end p50 / p99", model.total_ms ? `${figure(model.total_ms.p50)} / ${figure(model.total_ms.p99)} ms` : null],
    ["dropped: queue full / too old", model.dropped_oldest === undefined ? null : `${number(model.dropped_oldest)} / ${number(model.dropped_stale)}`],
    ["engine errors", number(model.engine_errors)],
    ["recalibrations", recalibration ? `${number(recalibration.accepted)} accepted · ${number(recalibration.refused)} refused · ${number(recalibration.failed)} failed` : "off"],
    ["now", recalibration && recalibration.task ? `${recalibration.phase}: ${recalibration.task}${progressText(recalibration.progress)}` : null],
    ["patch", recalibration && recalibration.shadow ? `${recalibration.shadow.patch} ${recalibration.shadow.text}` : null],
    ["new version", trialText(model.rollout)]]));
  const last = recalibration && recalibration.last_report;
  if (last) {
    const words = last.accepted ? `accepted ${last.candidate || ""}` : "refused, nothing changed";
    card.append(make("p", {class: "verdict"}, make("b", {class: last.accepted ? "good" : "warn"}, `Last recalibration: ${words}. `),
      make("span", {class: "quiet"}, firstSentence(last.reasons)),
      last.report ? make("span", {}, " ", make("a", {href: `reports/${last.report}`}, "Full report")) : null));
  }
  if (model.runs_on) card.append(make("p", {class: "quiet small"}, model.runs_on));
  for (const note of model.notes || []) card.append(make("p", {class: "small warn"}, note));
  return card;
}

const show = ({status}) => arrange(element, Object.entries(status.models || {}).map(([name, model]) => modelCard(name, model)));

export const models = {id: "models", title: "Models and drift", element, show};
