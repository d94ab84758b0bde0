// The configurations that were in force, and the way back to one of them.
import {send} from "./command.js";
import {tellChanges, tellOutcome, tellWarnings} from "./config_words.js";
import {button, openDialog} from "./dialog.js";
import {make} from "./dom.js";

const WAIT_S = 300;
export const history = make("div");

function putBack(entry, changed) {
  const dialog = openDialog(`Put configuration ${entry.number} back`);
  dialog.show(make("p", {}, `It came into force on ${new Date(entry.at).toLocaleString()} by ${entry.by}.`));
  dialog.run(async () => {
    const data = await send("undo-config", {number: entry.number, dry_run: true});
    dialog.say("It is good. What it changes:", "good", ...tellChanges(data));
    dialog.actions(button("Put it back", () => dialog.run(async () => {
      const done = await send("undo-config", {number: entry.number, timeout_s: WAIT_S}, dialog.progress);
      dialog.say(tellOutcome(done), "good", ...tellWarnings(done));
      dialog.actions();
      await changed();
    }), "main"));
  });
}

function way(entry, isOwner, changed) {
  if (!entry.has_text) return make("span", {class: "quiet small"}, "not kept: a secret was in it");
  return isOwner ? button("Put back", () => putBack(entry, changed)) : null;
}

export async function showHistory(isOwner, changed) {
  const {entries} = await send("config-history", {});
  const rows = entries.slice().reverse().map((entry, at) => make("tr", {},
    make("td", {}, String(entry.number)), make("td", {}, new Date(entry.at).toLocaleString()), make("td", {}, entry.by),
    make("td", {}, Object.keys(entry.changed).join(", ") || "–"),
    make("td", {}, at ? way(entry, isOwner, changed) : null)));
  const head = make("tr", {}, ...["No.", "In force since", "By", "Changed"].map(words => make("th", {scope: "col"}, words)), make("th", {scope: "col"}, make("span", {class: "unseen"}, "Way back")));
  history.replaceChildren(make("h2", {}, "Earlier configurations"), make("div", {class: "card scroll", tabindex: "0", role: "region", "aria-label": "Earlier configurations"}, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows))));
}
