// A dialog of steps: one thing is shown, a person decides, an outcome is read out. The browser keeps the focus in it,
// closes it by Escape and gives the focus back to where it was.
import {make} from "./dom.js";

let number = 0;

export const button = (words, press, kind = "") => {
  const node = make("button", {type: "button", class: kind}, words);
  node.onclick = press;   // a property, which `arrange` renews
  return node;
};

export const field = (words, input, hint = null) => make("label", {class: "field"}, make("span", {}, words), input, hint ? make("span", {class: "quiet small"}, hint) : null);

export function choice(options, chosen = null) {
  const node = make("select");
  for (const [value, words] of options) node.append(make("option", {value, ...(value === chosen ? {selected: ""} : {})}, words));
  return node;
}

export const list = (items, tone = "") => items && items.length ? make("ul", {class: tone}, ...items.map(item => make("li", {}, item))) : null;

// {element, show(...nodes), actions(...buttons), say(words, tone), progress(data), close()}
export function openDialog(title, isWide = false) {
  const id = `dialog-${number += 1}`;
  const body = make("div"), outcome = make("div", {"aria-live": "polite", class: "outcome"}), bar = make("progress", {hidden: "", "aria-label": "Progress"});
  const state = make("p", {class: "quiet small"}), row = make("div", {class: "actions"});   // not live: it changes all the time
  const element = make("dialog", {"aria-labelledby": id, ...(isWide ? {class: "wide"} : {})},
    make("h2", {id}, title), body, bar, state, outcome, row);
  element.addEventListener("close", () => element.remove());
  document.body.append(element);
  element.showModal();
  const dialog = {
    element,
    isOpen: () => element.open,
    show: (...nodes) => body.replaceChildren(...nodes.filter(Boolean)),
    actions: (...buttons) => row.replaceChildren(...buttons, button("Close", () => element.close())),
    say(words, tone = "", ...more) {
      bar.hidden = true;
      state.textContent = "";
      outcome.replaceChildren(make("p", {class: tone}, words), ...more.filter(Boolean));
    },
    progress(data) {
      bar.hidden = false;
      const share = data.share ?? (data.frames_wanted ? data.frames / data.frames_wanted : null);
      if (share === null) bar.removeAttribute("value"); else bar.value = share;
      state.textContent = `${data.phase}${data.frames_wanted ? `: ${data.frames} of ${data.frames_wanted} frames` : share === null ? "" : `: ${Math.round(100 * share)} %`}`;
    },
    // Runs something that may be refused; the buttons wait meanwhile.
    async run(work) {
      const buttons = [...row.querySelectorAll("button")].slice(0, -1);
      for (const one of buttons) one.disabled = true;
      try {
        outcome.replaceChildren();
        dialog.progress({phase: "working"});
        await work();
      } catch (error) {
        dialog.say(error.message, "bad lines");
      } finally {
        bar.hidden = true;
        state.textContent = "";
        for (const one of buttons) one.disabled = false;
      }
    },
  };
  dialog.actions();
  return dialog;
}
