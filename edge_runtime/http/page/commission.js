// Commissioning by a person, who looks at the streams first: what they show now becomes the picture of a healthy site.
import {ask} from "./api.js";
import {button, field, list, openDialog} from "./dialog.js";
import {facts, make} from "./dom.js";
import {send} from "./command.js";

const LOOKS = 4, APART_MS = 700, SIDE_PX = 320, WAIT_S = 7200;

const PICTURES = "What the cameras show from now on is taken for healthy, and later corrections lead back to it. Look at the pictures: are the lenses clean, the lamps on, and the usual goods there?";
const WINDOWS = "What the sensors measure from now on is taken for healthy, and later corrections lead back to it. Look at the windows: does each channel live, and does the machine run as usual?";

async function takePictures(stream, address, place, isOpen) {
  for (let look = 0; look < LOOKS && isOpen(); look += 1) {
    if (look) await new Promise(resolve => setTimeout(resolve, APART_MS));
    const answer = await ask(address);
    if (!answer.ok) {
      place.append(make("p", {class: "warn small"}, (await answer.json()).error));
      return;
    }
    const url = URL.createObjectURL(await answer.blob());
    const picture = make("img", {src: url, alt: `${stream}, picture ${look + 1} of ${LOOKS}`});
    picture.onload = () => URL.revokeObjectURL(url);
    place.append(picture);
  }
}

function look(streams, sensors, isOpen) {
  return streams.map(stream => {
    const place = make("div", {class: "pictures"}), name = encodeURIComponent(stream);
    const address = sensors.includes(stream) ? `sensors/${name}/window.svg` : `cameras/${name}/picture.jpg?max_side=${SIDE_PX}`;
    takePictures(stream, address, place, isOpen).catch(() => place.append(make("p", {class: "warn small"}, "No picture came.")));
    return make("section", {}, make("h3", {}, stream), place);
  });
}

export function commission(model, streams, sensors) {
  const dialog = openDialog(`Commission ${model}`, true);
  const name = make("input", {pattern: "[a-z0-9\\-]{1,32}", placeholder: "as configured", autocomplete: "off"});
  const days = make("input", {type: "number", min: "0.1", step: "any", placeholder: "as configured"});
  const frames = make("input", {type: "number", min: "8", max: "4096", placeholder: "as configured"});
  const seen = make("input", {type: "checkbox"});
  const begin = button("Commission", () => dialog.run(work), "main");
  begin.disabled = true;
  seen.addEventListener("change", () => { begin.disabled = !seen.checked; });

  async function work() {
    if (![name, days, frames].every(input => input.reportValidity())) throw new Error("One of the fields has a value that cannot be used.");
    const given = {...(name.value ? {name: name.value} : {}), ...(days.value ? {expires_days: Number(days.value)} : {}), ...(frames.value ? {frames: Number(frames.value)} : {})};
    const end = await send("commission", {model, timeout_s: WAIT_S, ...given}, dialog.progress);
    const isDone = end.outcome === "recorded";
    dialog.say(isDone ? "The baseline is recorded." : end.outcome === "goes_on" ? "It takes longer; the events tell the end." : "Nothing was recorded.",
      isDone ? "good" : "warn", list(end.reasons), facts([["name", end.name], ["frames", end.frames], ["layers", end.taps]]));
    dialog.actions();
  }

  dialog.show(make("p", {}, streams.some(stream => sensors.includes(stream)) ? WINDOWS : PICTURES),
  ...look(streams, sensors, dialog.isOpen),
  make("div", {class: "fields"}, field("Name", name, "such as day or night"), field("Expires after days", days, "later no patch is made from it"), field("Frames", frames, "8 to 4096")),
  make("label", {class: "check"}, seen, " I have looked: the site is healthy."));
  dialog.actions(begin);
}
