// Requests to the daemon. The cookie of the browser, which no script can read, goes with each of them.
export async function ask(path, options = {}) {
  const answer = await fetch(path, {cache: "no-store", ...options});
  if (answer.status === 401) location.reload();   // the session is over; what is answered to the page asks for the token
  return answer;
}

export const load = async path => (await ask(path)).json();
