// Commands to the daemon: sent once, followed until they are answered.
import {ask} from "./api.js";

const POLL_MS = 500, AGAIN_MS = 2000, PATIENCE_MS = 60000;
const AWAY = [502, 503, 504];   // of a daemon that stops, or of a proxy before it

const rest = ms => new Promise(resolve => setTimeout(resolve, ms));

// Without crypto.randomUUID, which there is over HTTPS only.
const makeId = () => [...crypto.getRandomValues(new Uint8Array(12))].map(byte => byte.toString(16).padStart(2, "0")).join("");

export class Refused extends Error {}

const post = (verb, body) => ask(`commands/${verb}`, {method: "POST", body, headers: {"Content-Type": "application/json", Prefer: "wait=1"}});

// The data of the answer. `hear` gets the progress of a command that takes long.
// The same bytes are sent again when the connection is lost: the daemon obeys a transaction once.
export async function send(verb, values, hear = () => {}) {
  const body = JSON.stringify({...values, transaction: makeId()});
  let reach = () => post(verb, body), lost = null;
  for (;;) {
    let answer, content;
    try {
      answer = await reach();
      if (answer.status === 404 && reach.isAddress) answer = await post(verb, body);   // the daemon was started anew
      if (AWAY.includes(answer.status)) throw new Error(`status ${answer.status}`);
      content = await answer.json();
    } catch (error) {
      lost = lost || performance.now();
      if (performance.now() - lost > PATIENCE_MS) throw new Refused("The daemon does not answer. It may or may not have done this.");
      await rest(AGAIN_MS);
      continue;
    }
    lost = null;
    if (answer.status === 202) {
      hear(content.data);
      const address = answer.headers.get("Location").replace(/^\//, "");   // behind a proxy the page may be below a path
      reach = () => ask(address);
      reach.isAddress = true;
      await rest(POLL_MS);
    } else if (answer.ok) {
      return content.data;
    } else {
      throw new Refused(content.error);
    }
  }
}

// Who asks and what may be commanded: {role, verbs}; or {why} where nothing may be.
export async function findRights() {
  const answer = await ask("commands"), content = await answer.json();
  return answer.ok ? content : {why: content.error};
}
