// Asks for the figures again every few seconds, unless that is paused, nobody can see them, or the keyboard is among them.
(() => {
  const figures = document.getElementById("sd-figures");
  const pause = document.getElementById("sd-pause");
  const state = document.getElementById("sd-state");
  const summary = document.getElementById("sd-summary");
  const seconds = Number(figures.dataset.every);
  let isPaused = false;
  let isAsking = false;

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

  // New figures would take the focus away.
  function hasFocus() {
    const found = figures.querySelector("a:focus-visible") !== null;
    if (found) say("Waits while a link below has the keyboard's focus.");
    return found;
  }

  async function refresh() {
    if (isPaused || isAsking || document.hidden) return;
    if (hasFocus()) return;
    isAsking = true;
    try {
      await htmx.ajax("GET", figures.dataset.address, { target: figures, swap: "innerHTML" });
    } catch {
      // The event below has told.
    } finally {
      isAsking = false;
    }
  }

  figures.addEventListener("htmx:beforeSwap", (event) => {
    if (hasFocus()) event.detail.shouldSwap = false;
  });
  figures.addEventListener("htmx:afterSwap", () => {
    if (!isPaused) say(`Refreshed every ${seconds} seconds.`);
    tell();
  });
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
    say(isPaused ? "Paused." : `Refreshed every ${seconds} seconds.`);
    refresh();
  });
  document.addEventListener("visibilitychange", refresh);
  setInterval(refresh, seconds * 1000);
  tell();
})();
