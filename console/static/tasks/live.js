// Asks for the changing parts of a page again every now and then, and at once for those that came without content: not
// while that is paused, nobody can see them, or someone reads them, and not any more once a part says that it is over.
(() => {
  const pause = document.querySelector("[data-live-pause]");
  const state = document.querySelector("[data-live-state]");
  const summary = document.querySelector("[data-live-summary]");
  const parts = [...document.querySelectorAll("[data-live]")];
  const usual = state.textContent;
  const timers = new Map();
  const asking = new Set();
  let isPaused = false;

  // That the database is away comes with 503, and is shown.
  htmx.config.responseHandling = [
    { code: "[23]..", swap: true },
    { code: "503", swap: true, error: true },
    { code: "...", swap: false, error: true },
  ];
  htmx.config.timeout = 15000;

  function say(words) {
    if (state.textContent !== words) state.textContent = words;
  }

  function tell() {
    const words = document.querySelector("[data-live] [data-summary]")?.dataset.summary ?? "";
    if (summary.textContent !== words) summary.textContent = words;
  }

  function stopWhereOver(part) {
    const last = part.querySelector("[data-over]");
    if (last === null) return;
    clearInterval(timers.get(part));
    timers.delete(part);
    if (timers.size > 0) return;
    pause.hidden = true;
    say(last.dataset.over);
  }

  // New content would take the focus away, or close a table that has no id to be opened again by.
  function isRead(part) {
    if (part.querySelector("details[open]:not([id])") !== null) return true;
    const found = part.querySelector(":focus-visible") !== null;
    if (found) say("Not refreshed while an element below has the keyboard focus.");
    return found;
  }

  // What somebody opened or closed stays as it is.
  function keepOpen(part) {
    const before = new Map([...part.querySelectorAll("details[id]")].map((one) => [one.id, one.open]));
    return () => {
      for (const one of part.querySelectorAll("details[id]")) one.open = before.get(one.id) ?? one.open;
    };
  }

  async function refresh(part) {
    if (isPaused || !timers.has(part) || asking.has(part) || document.hidden || isRead(part)) return;
    asking.add(part);
    try {
      await htmx.ajax("GET", part.dataset.address, { target: part, swap: "innerHTML" });
    } catch {
      // The event below has told.
    } finally {
      asking.delete(part);
    }
  }

  function refreshAll() {
    parts.forEach(refresh);
  }

  for (const part of parts) {
    let restore = () => {};
    part.addEventListener("htmx:beforeSwap", (event) => {
      if (isRead(part)) event.detail.shouldSwap = false;
      restore = keepOpen(part);
    });
    part.addEventListener("htmx:afterSwap", () => {
      restore();
      if (!isPaused) say(usual);
      tell();
      stopWhereOver(part);
    });
    timers.set(part, setInterval(() => refresh(part), Number(part.dataset.every) * 1000));
  }
  for (const failure of ["htmx:sendError", "htmx:timeout"]) {
    document.body.addEventListener(failure, () => {
      say("The web server does not answer. The page shows the last data and tries again.");
    });
  }
  document.body.addEventListener("htmx:responseError", (event) => {
    const code = event.detail.xhr.status;
    if (code !== 503) say(`The web server answered ${code}. The page shows the last data and tries again.`);
  });

  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", String(isPaused));
    pause.textContent = isPaused ? "Resume" : "Pause";
    say(isPaused ? "Paused." : usual);
    refreshAll();
  });
  document.addEventListener("visibilitychange", refreshAll);
  tell();
  parts.forEach(stopWhereOver);
  parts.filter((part) => "atOnce" in part.dataset).forEach(refresh);
})();
