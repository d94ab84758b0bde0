// The configuration file: its text with the help of the schema, a check and a difference before it is saved, and the
// way back.
import {load} from "./api.js";
import {findRights, send} from "./command.js";
import {history, showHistory} from "./config_history.js";
import {explain} from "./config_help.js";
import {tellChanges, tellOutcome, tellWarnings} from "./config_words.js";
import {button, openDialog} from "./dialog.js";
import {make} from "./dom.js";
import {showDiff} from "./line_diff.js";
import {keysAt} from "./yaml_place.js";

const WAIT_S = 300;
const text = make("textarea", {id: "config-text", spellcheck: "false", autocapitalize: "off", autocomplete: "off", wrap: "off", rows: "24", "aria-describedby": "config-state"});
const numbers = make("div", {class: "numbers", "aria-hidden": "true"}), help = make("aside", {class: "card help", tabindex: "0", "aria-label": "Help for the key at the cursor"});
const state = make("p", {class: "small quiet", id: "config-state"}), outcome = make("div", {"aria-live": "polite", class: "outcome"});
const check = button("Check", () => run(checkText)), save = button("Review and save", () => review(), "main"), again = button("Load again", () => loadAgain());
const element = make("div", {},
  state, make("div", {class: "editor"}, make("div", {class: "card"}, make("label", {for: text.id, class: "unseen"}, "Text of the configuration"),
    make("div", {class: "text"}, numbers, text), make("div", {class: "actions"}, check, save, again), outcome), help), history);
let schema = null, kept = null, problems = new Map(), isOwner = false;

const isEdited = () => kept !== null && text.value !== kept.text;

function number() {
  const count = text.value.split("\n").length;
  numbers.replaceChildren(...Array.from({length: count}, (_, at) => make("span", problems.has(at + 1) ? {class: "bad", title: problems.get(at + 1)} : {}, String(at + 1))));
  numbers.scrollTop = text.scrollTop;
  save.disabled = !isOwner || !isEdited();
  check.disabled = !isOwner;
}

function showHelp() {
  if (schema) help.replaceChildren(...explain(schema, keysAt(text.value, text.selectionStart)));
}

// `key` is the one that a problem on this line is about.
function goTo(line, key) {
  const start = text.value.split("\n").slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0), end = text.value.indexOf("\n", start);
  text.focus();
  text.setSelectionRange(start, end < 0 ? text.value.length : end);
  text.scrollTop = Math.max(0, (line - 4) * text.scrollHeight / text.value.split("\n").length);
  numbers.scrollTop = text.scrollTop;
  numbers.children[line - 1]?.scrollIntoView({block: "center"});   // the field may be higher than the window
  if (key && schema) help.replaceChildren(...explain(schema, key.split("."))); else showHelp();
}

function say(words, tone, ...more) { outcome.replaceChildren(make("p", {class: tone}, words), ...more.filter(Boolean)); }

// What the daemon says of the text, line by line; those with a number lead there.
function sayRefused(error) {
  const lines = error.message.split("\n").map(line => line.trim()).filter(Boolean);
  problems = new Map(lines.map(line => [Number((line.match(/\bline (\d+)/) || [])[1]), line]).filter(([line]) => line));
  number();
  say("Not good yet; nothing was changed.", "bad", make("ul", {class: "lines"}, ...lines.map(line => {
    const found = line.match(/\bline (\d+)(?:: ([\w.-]+):)?/);
    return make("li", {}, ...(found ? [button(`Line ${found[1]}`, () => goTo(Number(found[1]), found[2]), "link"), " "] : []), found ? line.replace(/^line \d+: /, "") : line);
  })));
}

async function run(work) {
  check.disabled = true;
  say("checking …", "quiet");
  try { await work(); } catch (error) { sayRefused(error); }
  number();
}

const edit = (values, hear) => send("set-config", {text: text.value.replaceAll("\n", kept.lineEnd), before_sha256: kept.sha256, ...values}, hear);

async function checkText() {
  const data = await edit({dry_run: true});
  problems = new Map();
  say("Good. Nothing was changed yet; saving it would change:", "good", ...tellChanges(data));
}

function review() {
  const dialog = openDialog("Save the configuration", true);
  dialog.show(showDiff(kept.text, text.value));
  dialog.run(async () => {
    const data = await edit({dry_run: true});
    dialog.say("It is good. What it changes:", "good", ...tellChanges(data));
    dialog.actions(button("Save", () => dialog.run(async () => {
      const done = await edit({timeout_s: WAIT_S}, dialog.progress);
      dialog.say(tellOutcome(done), "good", ...tellWarnings(done));
      dialog.actions();
      await refresh();
    }), "main"));
  });
}

function describe(found) {
  const late = found.after_restart.length ? `, but for what waits for a restart of the daemon: ${found.after_restart.join(", ")}` : "";
  const parts = [found.file, found.in_force ? `this text is in force${late}` : "this text is not in force", isOwner ? null : "only an owner may change it"];
  const trial = found.trial;
  if (trial) parts.push(trial.waits_for_restart ? `on trial after the next start (${trial.changed.join(", ")})`
    : `on trial: it is put back${trial.ends_in_s === null ? "" : ` in ${Math.ceil(trial.ends_in_s)} s`} unless the broker is reached (${trial.changed.join(", ")})`);
  state.textContent = parts.filter(Boolean).join(" · ");
}

async function read() {
  const found = await send("get-config", {});
  // A field has only \n at the ends of its lines; the file keeps those that it has.
  kept = {...found, text: found.text.replace(/\r\n?/g, "\n"), lineEnd: found.text.includes("\r\n") ? "\r\n" : "\n"};
  text.value = kept.text;
  text.rows = Math.min(28, Math.max(14, kept.text.split("\n").length + 1));
  problems = new Map();
  describe(found);
  if (found.problem) sayRefused({message: found.problem}); else outcome.replaceChildren();
  number();
  showHelp();
  await showHistory(isOwner, afterUndo);
}

const refresh = () => read().catch(error => say(error.message, "bad"));
// What is being edited stays; to save it is refused, since the file is another one now.
const afterUndo = () => isEdited() ? showHistory(isOwner, afterUndo) : refresh();

function loadAgain() {
  if (!isEdited()) { refresh(); return; }
  const dialog = openDialog("Load the file again", true);
  dialog.show(make("p", {}, "These changes were not saved and would be lost."), showDiff(kept.text, text.value));
  dialog.actions(button("Load again", () => { dialog.element.close(); refresh(); }, "main"));
}

async function open() {
  try {
    const rights = await findRights();
    if (rights.why || isEdited()) { if (rights.why) say(rights.why, "warn"); text.readOnly = Boolean(rights.why); return; }
    isOwner = rights.role === "owner";
    text.readOnly = !isOwner;
    schema = schema || await load("config-schema.json");
    await read();
  } catch (error) {
    say(error.message, "bad");
  }
}

text.addEventListener("input", () => { problems = new Map(); number(); });
text.addEventListener("scroll", () => { numbers.scrollTop = text.scrollTop; });
for (const name of ["keyup", "click", "focus"]) text.addEventListener(name, showHelp);
number();
window.addEventListener("beforeunload", event => { if (isEdited()) event.preventDefault(); });

export const editor = {id: "editor", title: "Configuration file", element, open};
