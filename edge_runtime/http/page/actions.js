// What a person can have done: one card for each model, and the pictures of the cameras.
import {button, openDialog} from "./dialog.js";
import {commission} from "./commission.js";
import {arrange, facts, make} from "./dom.js";
import {findRights, send} from "./command.js";
import {recalibrate} from "./recalibrate.js";

const element = make("div", {class: "grid"});
let rights = null;

// A question with what will change; the answer of the daemon is the outcome.
function confirm(title, changes, words, verb, values, tell) {
  const dialog = openDialog(title);
  dialog.show(...changes.map(change => make("p", {}, change)));
  dialog.actions(button(words, () => dialog.run(async () => {
    const data = await send(verb, values, dialog.progress);
    dialog.say(tell(data), "good");
    dialog.actions();
  }), "main"));
}

const rollBack = (model, {generation, previous}) => confirm(`Roll back ${model}`,
  [`${generation} answers now. After this ${previous} answers, from the next batch on.`, "The patch stays on disk; while the drift lasts another one may be made."],
  "Roll back", "rollback", {model}, data => `${data.generation} answers now.`);

const ROLLOUT = {
  promote: ["Promote", rollout => rollout.stage === "watched" ? [`The watch over version ${rollout.candidate} ends: it is the active one for good.`] : [`Version ${rollout.candidate} answers all frames from now on, in place of version ${rollout.active}. The rest of its trial (stage: ${rollout.stage}) is left out.`,
    "The version of before stays installed: an abort leads back to it while the new one is still watched."]],
  abort: ["Abort", rollout => [`The trial of version ${rollout.candidate} ends (stage: ${rollout.stage}). Version ${rollout.active} goes on answering, and version ${rollout.candidate} is not tried again by itself.`]],
  pause: ["Pause", rollout => [`Version ${rollout.candidate} stays in the stage ${rollout.stage} until a person decides.`]],
  resume: ["Resume", rollout => [`The trial of version ${rollout.candidate} goes on in the stage ${rollout.stage}.`]],
};

function steer(model, rollout, action) {
  const [words, tell] = ROLLOUT[action];
  confirm(`${words}: ${model}`, tell(rollout), words, "rollout", {model, action}, data => `Stage now: ${data.stage}.`);
}

function decide(model, patch, isGood) {
  confirm(`${isGood ? "Approve" : "Reject"} patch ${patch}`,
    [isGood ? `Patch ${patch} of ${model} is used, after its shadow where the configuration wants one.` : `Patch ${patch} of ${model} is never used.`],
    isGood ? "Approve" : "Reject", isGood ? "approve-patch" : "reject-patch", {model, patch},
    data => data.generation ? `${data.generation} answers now.` : data.shadow ? `Patch ${data.shadow} is in the shadow.` : "Done.");
}

function snapshot(camera) {
  const dialog = openDialog(`Picture of ${camera}`, true);
  const take = () => dialog.run(async () => {
    const data = await send("snapshot", {camera, max_side: 1280}, dialog.progress);
    const url = `data:image/jpeg;base64,${data.jpeg}`;
    dialog.say(`${camera}, ${new Date(data.at).toLocaleString()}, ${data.width} x ${data.height}`, "quiet small",
      make("img", {src: url, alt: `${camera} now`, class: "whole"}), make("p", {}, make("a", {href: url, download: `${camera}.jpg`}, "Save the picture")));
  });
  dialog.actions(button("Take another", take, "main"));
  take();
}

const may = verb => Boolean(rights.verbs[verb]) && (verb === "rollout" ? rights.role !== "viewer" : true);

function modelCard(name, model, streams, sensors) {
  const {recalibration, rollout, generation} = model, row = make("div", {class: "actions"}), reasons = [];
  const add = (words, press, reason = null) => {
    const node = button(words, press);
    node.key = words;
    node.disabled = reason !== null;
    if (reason) reasons.push(`${words}: ${reason}.`);
    row.append(node);
  };
  const off = recalibration ? null : "recalibration is turned off in the configuration";
  if (may("recalibrate")) add("Recalibrate", () => recalibrate(name, streams), off || (recalibration.commissioned ? null : "there is no baseline yet: commission first"));
  if (may("commission")) add("Commission", () => commission(name, streams, sensors), off);
  if (may("rollback")) add("Roll back", () => rollBack(name, recalibration), off || (recalibration.previous ? null : "no patch is in force that could be taken back"));
  if (rollout && rollout.candidate && may("rollout")) for (const action of ["promote", "abort", rollout.paused ? "resume" : "pause"]) add(ROLLOUT[action][0], () => steer(name, rollout, action));
  const waiting = recalibration && recalibration.proposal;
  if (waiting && may("approve-patch")) for (const isGood of [true, false]) add(`${isGood ? "Approve" : "Reject"} patch ${waiting.patch}`, () => decide(name, waiting.patch, isGood));
  return make("article", {class: "card", key: name}, make("div", {class: "top"}, make("b", {}, name), make("span", {class: "quiet small right"}, generation || "")),
    facts([["new version", rollout && rollout.candidate ? `version ${rollout.candidate}: ${rollout.stage}` : null], ["streams", streams.join(", ") || "none"],
      ["now", recalibration && recalibration.task ? `${recalibration.phase}: ${recalibration.task}` : null]]),
    row, ...reasons.map(reason => make("p", {class: "quiet small why"}, reason)));
}

function cameraCard(cameras) {
  const row = make("div", {class: "actions"}, ...cameras.map(camera => {
    const node = button(camera, () => snapshot(camera));
    node.key = camera;
    return node;
  }));
  return make("article", {class: "card"}, make("div", {class: "top"}, make("b", {}, "Take a picture")), row);
}

async function open() {
  try {
    rights = await findRights();
  } catch (error) {
    rights = {why: "The daemon does not answer."};
  }
}

function cards({status}) {
  if (rights.why) return [make("p", {class: "card"}, rights.why)];
  const open = status.cameras || {}, sensors = Object.keys(open).filter(name => open[name].samples), cameras = Object.keys(open).filter(name => !open[name].samples);
  const found = Object.entries(status.models || {}).map(([name, model]) => modelCard(name, model, Object.keys(model.streams || {}).filter(stream => open[stream]), sensors));
  if (rights.role === "viewer") found.unshift(make("p", {class: "card"}, `${rights.caller} has the role viewer, which changes nothing; an operator or an owner may (http.tokens).`));
  return [...found, ...(may("snapshot") && cameras.length ? [cameraCard(cameras)] : [])];
}

function show(state) {
  if (rights) arrange(element, cards(state));
}

export const actions = {id: "actions", title: "Actions", element, show, open};
