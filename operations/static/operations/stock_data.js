// Asks for figures and charts again every now and then, unless that is paused, nobody can see them, or someone reads them.
(() => {
  const pause = document.getElementById("sd-pause");
  const state = document.getElementById("sd-state");
  const summary = document.getElementById("sd-summary");
  const figures = document.getElementById("sd-figures");
  const parts = [figures, document.getElementById("sd-history")];
  const usual = state.textContent;
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
    const words = figures.querySelector("[data-summary]")?.dataset.summary ?? "";
    if (summary.textContent !== words) summary.textContent = words;
  }

  // New content would take the focus away, or close a table.
  function isRead(part) {
    if (part.querySelector("details[open]") !== null) return true;
    const found = part.querySelector(":focus-visible") !== null;
    if (found) say("Waits while something below has the keyboard's focus.");
    return found;
  }

  async function refresh(part) {
    if (isPaused || asking.has(part) || document.hidden || isRead(part)) return;
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
    part.addEventListener("htmx:beforeSwap", (event) => {
      if (isRead(part)) event.detail.shouldSwap = false;
    });
    part.addEventListener("htmx:afterSwap", () => {
      if (!isPaused) say(usual);
      tell();
    });
    setInterval(() => refresh(part), Number(part.dataset.every) * 1000);
  }
  for (const failure of ["htmx:sendError", "htmx:timeout"]) {
    document.body.addEventListener(failure, () => {
      say("The web server does not answer. These are the last figures; the page asks again.");
    });
  }
  document.body.addEventListener("htmx:responseError", (event) => {
    const code = event.detail.xhr.status;
    if (code !== 503) say(`The web server answered ${code}. These are the last figures; the page asks again.`);
  });

  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", String(isPaused));
    pause.textContent = isPaused ? "Go on" : "Pause";
    say(isPaused ? "Paused." : usual);
    refreshAll();
  });
  document.addEventListener("visibilitychange", refreshAll);
  tell();
})();
