// Asks for a token once one was needed; from then on another can be given.
import {giveToken, token} from "./api.js";
import {make} from "./dom.js";

const field = make("input", {name: "token", type: "password", autocomplete: "off", required: ""});
const form = make("form", {class: "small", id: "token"},
  make("label", {}, "Pictures need a token: ", field), " ", make("button", {}, "Show"));
form.hidden = !token();
form.addEventListener("submit", event => {
  event.preventDefault();
  giveToken(field.value);
});

export const askForToken = () => { form.hidden = false; };
export const tokenForm = {id: "token", title: null, element: form};
