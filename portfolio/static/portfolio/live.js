// Keeps a page up to date. The server sends what has changed (portfolio/live/). Where it sends nothing, the page compares
// itself with the server's every 30 seconds. Changed elements keep their place, the focus and the selection.
(() => {
  const SECOND = 1000;
  const FIRST_BEAT = 10 * SECOND; // later, a proxy is gathering the stream
  const SILENCE = 40 * SECOND; // the server sends a beat every 15 seconds
  const HIDDEN = 60 * SECOND; // a hidden page gives its connection back: browsers have six for a site
  const STABLE = 10 * SECOND;
  const INTERRUPTED = "Live updates are interrupted; reconnecting…";

  const status = document.getElementById("live");
  const { stream, part, id, stock } = status.dataset;
  const serverAhead = Number(status.dataset.since) * SECOND - Date.now();
  let since = status.dataset.since; // the server's time until which nothing was missed

  // ---- The connection

  const timers = {};
  let source = null;
  let openedAt = 0;
  let heardAt = 0;
  let failures = 0;
  let resting = false;

  function after(name, delay, action) {
    clearTimeout(timers[name]);
    timers[name] = setTimeout(() => { timers[name] = undefined; action(); }, delay);
  }

  function stop(...names) {
    for (const name of names) {
      clearTimeout(timers[name]);
      timers[name] = undefined;
    }
  }

  function open() {
    close();
    const address = new URL(stream, location.href);
    address.searchParams.set("since", since);
    if (stock) address.searchParams.set("stock", stock);
    openedAt = Date.now();
    source = new EventSource(address);
    source.addEventListener("beat", (event) => { since = event.data; hear(); });
    source.addEventListener("element", (event) => { hear(); takeElement(event.data); });
    source.addEventListener("figures", () => { hear(); compare(); });
    source.addEventListener("gone", () => location.reload());
    source.addEventListener("error", fail);
    after("silence", FIRST_BEAT, fail);
  }

  function close() {
    source?.close();
    source = null;
    stop("silence", "opening");
  }

  function hear() {
    heardAt = Date.now();
    after("silence", SILENCE, fail);
    stop("polling");
    restore();
  }

  function fail() {
    failures = heardAt - openedAt > STABLE ? 1 : failures + 1;
    close();
    after("opening", Math.min(60, 2 ** (failures - 1)) * SECOND * (0.75 + Math.random() / 2), open);
    if (failures > 1 && timers.polling === undefined) poll();
  }

  async function poll() {
    after("polling", (document.querySelector(`#${id} .updating`) ? 5 : 30) * SECOND, poll);
    await compare();
  }

  function rest() {
    resting = true;
    close();
    stop("polling");
  }

  function wake() {
    stop("hiding");
    if (!resting) return;
    resting = false;
    failures = 0;
    open();
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? after("hiding", HIDDEN, rest) : wake()));
  addEventListener("pagehide", rest);
  addEventListener("pageshow", wake);

  // ---- What has changed

  function parse(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    showAges(template.content);
    return template.content;
  }

  function takeElement(html) {
    const fresh = parse(html).firstElementChild;
    const shown = document.getElementById(fresh.id);
    if (shown === null) {
      compare(); // a new holding
      return;
    }
    showAges(shown);
    if (!morph(shown, fresh)) return;
    if (shown.id === "news") compare(); // notices and notes: their forms need the session's token
    else announce(shown);
  }

  let comparing = false;
  let again = false;

  // Compares the page with the server's. Several calls during a comparison lead to one more.
  async function compare() {
    again = comparing;
    if (comparing) return;
    comparing = true;
    try {
      const answer = await fetch(part, { signal: AbortSignal.timeout(20 * SECOND) });
      if (answer.redirected) location.reload(); // to the login
      else if (answer.ok) takeAll(parse(await answer.text()).getElementById(id));
      else throw new Error(String(answer.status));
      restore();
    } catch {
      status.textContent = INTERRUPTED;
    } finally {
      comparing = false;
    }
    if (again) compare();
  }

  function takeAll(fresh) {
    const shown = document.getElementById(id);
    showAges(shown);
    if (stock) {
      if (morph(shown, fresh)) changed([stock]);
    } else if (ids(shown) !== ids(fresh)) {
      shown.replaceWith(fresh); // holdings were added or removed
      window.htmx?.process(fresh);
    } else {
      for (const element of [...fresh.querySelectorAll("[id]")]) {
        const old = document.getElementById(element.id);
        if (morph(old, element)) announce(old);
      }
    }
  }

  function ids(element) {
    return [...element.querySelectorAll("[id]")].map((one) => one.id).sort().join();
  }

  // Makes `shown` like `fresh`, and returns whether it was different. Equal parts stay the same objects, with the focus
  // and the selection in them. Elements with `data-keep` belong to other scripts.
  function morph(shown, fresh) {
    if (shown.nodeType === Node.TEXT_NODE) return morphText(shown, fresh);
    if (shown.nodeType !== Node.ELEMENT_NODE || "keep" in shown.dataset) return false;
    const differed = morphAttributes(shown, fresh);
    return morphChildren(shown, fresh) || differed;
  }

  function morphText(shown, fresh) {
    const [before, now] = [shown, fresh].map((node) => node.nodeValue.replace(/[ \t\r\n]+/g, " "));
    if (before !== now) shown.nodeValue = fresh.nodeValue;
    return before !== now;
  }

  function morphAttributes(shown, fresh) {
    let differed = false;
    for (const { name, value } of [...fresh.attributes]) {
      if (shown.getAttribute(name) === value) continue;
      shown.setAttribute(name, value);
      differed = true;
    }
    for (const { name } of [...shown.attributes]) {
      if (fresh.hasAttribute(name) || name === "open") continue; // opened by the reader
      shown.removeAttribute(name);
      differed = true;
    }
    return differed;
  }

  function morphChildren(shown, fresh) {
    let differed = false;
    let next = shown.firstChild;
    for (const node of [...fresh.childNodes]) {
      const match = counterpart(next, node);
      if (match === null) {
        shown.insertBefore(node, next);
        differed = true;
        continue;
      }
      differed = removeUntil(next, match) || differed;
      next = match.nextSibling;
      differed = morph(match, node) || differed;
    }
    return removeUntil(next, null) || differed;
  }

  // The next sibling that `node` can become: the first one if it is of the same kind, or one with the same id.
  function counterpart(first, node) {
    const fits = (one) => one.nodeName === node.nodeName && one.id === node.id;
    if (first === null || fits(first)) return first;
    for (let one = first; node.id && one !== null; one = one.nextSibling) if (fits(one)) return one;
    return null;
  }

  function removeUntil(first, last) {
    const removes = first !== last;
    while (first !== last) {
      const next = first.nextSibling;
      first.remove();
      first = next;
    }
    return removes;
  }

  // ---- What is said

  const updated = new Set();
  let saidAt = 0;

  function announce(element) {
    const symbol = element.querySelector(".symbol")?.textContent;
    changed(symbol && !element.querySelector(".updating") ? [symbol] : []);
  }

  function changed(symbols) {
    document.dispatchEvent(new Event("live:changed"));
    symbols.forEach((symbol) => updated.add(symbol));
    if (symbols.length > 0 && timers.saying === undefined) {
      after("saying", Math.max(SECOND, saidAt + 5 * SECOND - Date.now()), say);
    }
  }

  function say() {
    saidAt = Date.now();
    if (status.textContent !== INTERRUPTED) {
      status.textContent = updated.size > 3 ? `${updated.size} stocks updated` : `${[...updated].join(", ")} updated`;
    }
    updated.clear();
  }

  function restore() {
    if (status.textContent === INTERRUPTED) status.textContent = "";
  }

  // ---- Ages: "5 minutes ago"

  const UNITS = [["week", 10080], ["day", 1440], ["hour", 60], ["minute", 1]];

  function age(minutes) {
    const first = UNITS.findIndex(([, size]) => minutes >= size);
    if (first < 0) return "just now";
    const parts = [];
    for (const [name, size] of UNITS.slice(first, first + 2)) {
      const count = Math.floor(minutes / size);
      minutes -= count * size;
      if (count > 0) parts.push(`${count}\u00a0${name}${count === 1 ? "" : "s"}`);
    }
    return `${parts.join(", ")} ago`;
  }

  function showAges(within) {
    for (const element of within.querySelectorAll("time[data-ago]")) {
      const minutes = Math.floor((Date.now() + serverAhead - Date.parse(element.dateTime)) / (60 * SECOND));
      const text = age(minutes);
      if (minutes < 43200 && element.textContent !== text) element.textContent = text; // months are the server's
    }
  }

  setInterval(() => showAges(document), 10 * SECOND);
  open();
})();
