// Who looks at the page, where callers have tokens, and the way out.
import {ask, load} from "./api.js";
import {by, make} from "./dom.js";

async function leave() {
  await ask("session", {method: "DELETE"}).catch(() => null);
  location.reload();
}

export async function showCaller() {
  const caller = await load("session").catch(() => ({}));
  if (!caller.name) return;
  const out = make("button", {type: "button"}, "Log out");
  out.addEventListener("click", leave);
  by("caller").replaceChildren(`${caller.name} (${caller.role})`, " ", out);
}
