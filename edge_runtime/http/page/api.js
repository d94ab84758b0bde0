// Requests to the daemon. The one place that knows the token, which is forgotten when the tab is closed.
const waiting = new Set();   // called when a token was given

export const token = () => sessionStorage.getItem("token");

export function giveToken(text) {
  sessionStorage.setItem("token", text);
  for (const call of waiting) call();
}

export const onToken = call => waiting.add(call);

export function ask(path, options = {}) {
  const headers = {...options.headers, ...(token() ? {Authorization: `Bearer ${token()}`} : {})};
  return fetch(path, {cache: "no-store", ...options, headers});
}

export const load = async path => (await ask(path)).json();
