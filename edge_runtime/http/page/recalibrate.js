// Recalibration by a person: a dry run with its verdict first, then the same for real.
import {button, choice, field, list, openDialog} from "./dialog.js";
import {facts, figure, make} from "./dom.js";
import {send} from "./command.js";

const WAIT_S = 7200;

const reportLink = report => report ? make("p", {class: "small"}, make("a", {href: `reports/${report}`, target: "_blank", rel: "noopener"}, "The whole report (opens in a new tab)")) : null;

function verdict(end, isDry) {
  if (end.outcome === "failed") return ["It failed, nothing was changed.", "bad"];
  if (end.outcome === "given_up") return ["Given up, nothing was changed.", "warn"];
  if (end.outcome === "goes_on") return ["It takes longer; the events tell the end.", "warn"];
  if (end.outcome === "proposed") return [`Patch ${end.patch} waits to be approved.`, "warn"];
  if (isDry) return end.accepted ? [`The gate would accept this correction: ${end.candidate}. Nothing was changed.`, "good"] : ["No correction would be used. Nothing was changed.", "warn"];
  return end.accepted ? [`Done: ${end.patch ? `patch ${end.patch} (${end.candidate})` : end.candidate}.`, "good"] : ["Refused: no correction clearly helps. Nothing was changed.", "warn"];
}

export function recalibrate(model, streams) {
  const dialog = openDialog(`Recalibrate ${model}`);
  const stream = choice([["", "all streams of this model"], ...streams.map(name => [name, name])]);
  const run = isDry => dialog.run(async () => {
    const end = await send("recalibrate", {model, timeout_s: WAIT_S, ...(stream.value ? {stream: stream.value} : {}), ...(isDry ? {dry_run: true} : {})}, dialog.progress);
    const [words, tone] = verdict(end, isDry);
    dialog.say(words, tone, list(end.reasons), list(end.notes, "quiet small"),
      facts([["took", end.seconds === undefined ? null : `${figure(end.seconds)} s`]]), reportLink(end.report));
    dialog.actions(...(isDry ? [button("Recalibrate now", () => run(false), end.accepted ? "main" : ""), button("Dry run again", () => run(true))] : []));
  });
  dialog.show(make("p", {}, "The model is corrected for what its streams show now, and the result is tested against the baseline before it is used. "
    + "A dry run does all of it and changes nothing. It takes from half a minute to a few minutes; results go on meanwhile."),
  streams.length > 1 ? field("Frames from", stream) : null);
  dialog.actions(button("Dry run", () => run(true), "main"));
}
