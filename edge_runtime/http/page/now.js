// What a person should know before all figures: that pictures are being kept. Empty while there is nothing to say.
import {clock, make, number} from "./dom.js";

const element = make("ul", {class: "now", id: "now"});
const drawn = new Map();   // key -> {content, line}: a line that stays the same keeps the focus of the keyboard

function recording(found) {
  if (!found) return [];
  const cameras = found.cameras.join(", ") || "no camera any more, the configuration has forbidden it";
  const counts = `${number(found.frames)} so far${found.left_out ? `, ${number(found.left_out)} left out` : ""}`;
  return [{key: "recording", tone: "bad", word: "recording", text: `${found.by} keeps pictures of ${cameras} since ${clock(found.began_at)}: ${counts}`}];
}

function line({key, tone, word, text}) {
  const content = [tone, word, text].join("\n"), before = drawn.get(key);
  if (before && before.content === content) return before.line;
  const made = make("li", {class: "card"}, make("b", {class: `pill ${tone}`}, word), make("span", {}, text));
  drawn.set(key, {content, line: made});
  return made;
}

function show({status}) {
  const lines = recording(status.recording).map(line);
  if (lines.length !== element.children.length || lines.some((one, index) => one !== element.children[index])) element.replaceChildren(...lines);
}

export const now = {id: "now", title: "Now", element, show};
