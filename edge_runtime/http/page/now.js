// What a person should know before all figures: that pictures are being kept, and that a model's camera has drifted or
// is corrected. Empty while there is nothing to say.
import {arrange, clock, figure, make, number} from "./dom.js";
import {progressText} from "./models.js";

const element = make("ul", {class: "now", id: "now"});
const LINKS = [["#charts", "Drift over time"], ["#history", "Patches and reports"]];

function recording(found) {
  if (!found) return [];
  const cameras = found.cameras.join(", ") || "no camera any more, the configuration has forbidden it";
  const counts = `${number(found.frames)} so far${found.left_out ? `, ${number(found.left_out)} left out` : ""}`;
  return [{key: "recording", tone: "bad", word: "recording", text: `${found.by} keeps pictures of ${cameras} since ${clock(found.began_at)}: ${counts}`}];
}

// At most one line for a model: what is done about a drift comes before the drift.
function drift([name, model]) {
  const found = model.recalibration, line = (tone, word, text) => [{key: `model ${name}`, tone, word, text: `${name}: ${text}`, links: LINKS}];
  if (!found) return [];
  const measured = found.drift && found.drift.drifted ? `score ${figure(found.drift.score, 2)}, threshold ${figure(found.drift.threshold, 2)}` : "";
  const patch = found.corrected_by || (model.generation || "").split("+")[1];
  if (found.task) return line("warn", /dry run/.test(found.task) ? "dry run" : /^commission/.test(found.task) ? "commissioning" : "recalibrating",
    `${found.phase === "collecting" ? "collecting frames, " : ""}${found.task}${progressText(found.progress)}${measured && `; drifted, ${measured}`}`);
  if (found.corrected_by) return line("good", "corrected", `patch ${patch} corrects the drift${measured && ` (${measured})`}`);
  if (measured) return line("bad", "drifted", `${measured}${patch ? `; patch ${patch} is active` : ""}`);
  return patch ? line("good", "patched", `patch ${patch} is active`) : [];
}

const draw = ({key, tone, word, text, links = []}) => make("li", {class: "card", key}, make("b", {class: `pill ${tone}`}, word), make("span", {}, text),
  ...links.map(([href, name]) => make("a", {href, class: "small"}, name)));

function show({status}) {
  arrange(element, [...recording(status.recording), ...Object.entries(status.models || {}).flatMap(drift)].map(draw));
}

export const now = {id: "now", title: "Now", element, show};
