// Which version and patch of each model answers, and how far a newer one is on its way: figures of both, and what was found.
import {arrange, clock, duration, facts, figure, make, number} from "./dom.js";

const element = make("div", {class: "grid", id: "generations"});
const TONES = {pass: "good", fail: "bad", inconclusive: "warn"};
const percent = share => share === null || share === undefined ? "–" : `${figure(100 * share)} %`;
const ROWS = [["frames", arm => number(arm.frames)], ["failed", arm => number(arm.failures)], ["latency p50 / p99", arm => `${figure(arm.latency_p50_ms)} / ${figure(arm.latency_p99_ms)} ms`],
  ["mean confidence", arm => figure(arm.confidence, 3)], ["confident answers", arm => percent(arm.confident_share)]];

function arms(figures) {
  const {candidate, active} = figures || {};
  if (!candidate || !active) return null;
  return make("table", {class: "figures"}, make("thead", {}, make("tr", {}, make("td"), make("th", {scope: "col"}, "candidate"), make("th", {scope: "col"}, "active"))),
    make("tbody", {}, ...ROWS.map(([words, read]) => make("tr", {}, make("th", {scope: "row"}, words), make("td", {}, read(candidate)), make("td", {}, read(active))))));
}

const findings = found => found && found.length ? make("ul", {class: "findings"}, ...found.map(one => make("li", {class: TONES[one.kind] || "quiet"}, one.text))) : null;
const differences = found => found && found.length ? make("ul", {class: "findings"}, ...found.map(one => make("li", {class: "quiet"}, one.text))) : null;

function versions(rollout) {
  if (!rollout) return [make("p", {class: "quiet small"}, "No newer version is looked for: the configuration has no rollout for this model.")];
  const refused = Object.entries(rollout.refused || {});
  return [facts([["active version", rollout.active], ["version before", rollout.previous ?? "none"], ["on its way", rollout.candidate ?? "none"],
      ["stage", rollout.stage ? `${rollout.stage}, ${duration(rollout.stage_s || 0)}` : null], ["waiting", (rollout.waiting || []).join(", ") || null]]),
    rollout.paused ? make("p", {class: "warn"}, `Waits for a person: ${rollout.paused}`) : null,
    rollout.promotes_at ? make("p", {class: "small"}, `Answers everything from ${clock(rollout.promotes_at, {})} on, unless it fails or is aborted before.`) : null,
    rollout.verdict ? make("p", {class: "small"}, rollout.verdict) : null, arms(rollout.figures), findings(rollout.findings), differences(rollout.comparisons),
    rollout.problem ? make("p", {class: "warn"}, rollout.problem) : null,
    ...refused.map(([version, why]) => make("p", {class: "small quiet"}, `Version ${version} is not tried: ${why}`))];
}

function shadow(found) {
  if (!found) return [];
  return [make("h3", {}, `Patch ${found.patch} in the shadow`), make("p", {class: "small"}, `${found.text} · ${number(found.frames)} of ${number(found.wanted)} frames`),
    arms(found.figures), findings(found.findings)];
}

function card(name, model) {
  const recalibration = model.recalibration || {}, patch = (model.generation || "").split("+")[1];
  return make("article", {class: "card", key: name}, make("div", {class: "top"}, make("b", {}, name), make("span", {class: "quiet small right"}, model.generation || "")),
    facts([["patch", patch || "none"], ["generation before", recalibration.previous || null], ["autonomy", recalibration.autonomy || null],
      ["waits for approval", recalibration.proposal ? recalibration.proposal.patch || recalibration.proposal.id || "a patch" : null]]),
    ...versions(model.rollout), ...shadow(recalibration.shadow));
}

function show({status}) {
  const models = Object.entries(status.models || {});
  arrange(element, models.length ? models.map(([name, model]) => card(name, model)) : [make("p", {class: "quiet"}, "No model runs.")]);
}

export const generations = {id: "generations", title: "Generations", element, show};
