// Requests to the daemon. The cookie of the browser, which no script can read, goes with each of them.
export async function ask(path, options = {}) {
  const answer = await fetch(path, {cache: "no-store", ...options});
  if (answer.status === 401) location.reload();   // the session is over; what is answered to the page asks for the token
  return answer;
}

// The answer as JSON, also of a verdict that is 503; a refusal, or a view that failed, is an error with its words.
export async function load(path) {
  const answer = await ask(path), found = await answer.json();
  if (!answer.ok && found.error) throw new Error(found.error);
  return found;
}
