// Asks for something again and again, between `open` and `close`.

// `findPauseMs` tells the time until the next request; null: none until `refresh`. In a tab that is not looked at it is
// `hiddenMs`, with the same meaning of null.
export function poll(ask, findPauseMs, hiddenMs = null) {
  let timer = null, isOpen = false;
  const find = () => document.hidden ? hiddenMs : findPauseMs();

  async function refresh() {
    clearTimeout(timer);
    await ask();
    clearTimeout(timer);   // of a call that came meanwhile
    const ms = isOpen ? find() : null;
    if (ms !== null) timer = setTimeout(refresh, ms);
  }

  document.addEventListener("visibilitychange", () => { if (isOpen && !document.hidden && find() !== null) refresh(); });
  return {
    refresh,
    open() { isOpen = true; refresh(); },
    close() { isOpen = false; clearTimeout(timer); },
  };
}
