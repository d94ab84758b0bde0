// What an edit of the configuration changes, and what became of it, in words.
import {list} from "./dialog.js";
import {make} from "./dom.js";

const EFFECTS = {
  live: "at once", reopen_camera: "the camera is opened again", reopen_sensor: "the sensor is opened again", reconnect: "the broker is connected to again",
  rebuild_model: "the model is opened again while the old one answers", restart: "after a restart of the daemon",
};
const OUTCOMES = {in_force: "It is in force.", written: "It is in the file; the daemon starts anew with it.", waits: "It is in force soon: its parts are still being opened."};

export function tellChanges(data) {
  const changed = Object.entries(data.changed || {}).map(([key, effect]) => `${key}: ${EFFECTS[effect] || effect}`);
  return [changed.length ? list(changed, "lines") : make("p", {class: "small"}, "No value changes, only the text."), ...tellWarnings(data)];
}

export const tellWarnings = data => data.warnings && data.warnings.length ? [make("h3", {}, "Mind"), list(data.warnings, "warn")] : [];

export function tellOutcome(data) {
  const words = OUTCOMES[data.outcome] || data.outcome;
  return data.after_restart && data.after_restart.length ? `${words} After a restart also: ${data.after_restart.join(", ")}.` : words;
}
