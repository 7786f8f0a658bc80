// Makes the symbol field a combobox: the matches that htmx puts below it are chosen by key or click.
(() => {
  const field = document.querySelector("[data-search]");
  const matches = document.getElementById("matches");
  const state = document.getElementById("matches-state");
  let active = -1;

  field.setAttribute("role", "combobox");
  field.setAttribute("aria-autocomplete", "list");
  field.setAttribute("aria-controls", "matches");
  field.setAttribute("aria-expanded", "false");

  function choices() {
    return [...matches.querySelectorAll("[role=option]")];
  }

  function mark(place) {
    active = place;
    choices().forEach((choice, at) => choice.setAttribute("aria-selected", String(at === place)));
    const marked = choices()[place];
    if (marked) {
      field.setAttribute("aria-activedescendant", marked.id);
      marked.scrollIntoView({ block: "nearest" });
    } else {
      field.removeAttribute("aria-activedescendant");
    }
  }

  function close() {
    htmx.trigger(field, "htmx:abort");
    matches.replaceChildren(); // ends the questions for this text, too
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
    active = -1;
  }

  function choose(choice) {
    field.value = choice.dataset.symbol;
    close();
    state.textContent = `${field.value} chosen.`;
    field.focus();
  }

  field.addEventListener("keydown", (event) => {
    const count = choices().length;
    if (event.key === "Escape" && matches.childElementCount) {
      close();
      event.preventDefault();
    } else if (count && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      const step = event.key === "ArrowDown" ? 1 : -1;
      mark(active < 0 ? (step > 0 ? 0 : count - 1) : (active + step + count) % count);
      event.preventDefault();
    } else if (event.key === "Enter" && active >= 0) {
      choose(choices()[active]);
      event.preventDefault();
    }
  });

  matches.addEventListener("click", (event) => {
    const choice = event.target.closest("[role=option]");
    if (choice) choose(choice);
  });

  // The source's matches come behind the known ones, so a marked one stays where it is.
  document.body.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target !== matches) return;
    const count = choices().length;
    field.setAttribute("aria-controls", count ? "choices" : "matches");
    field.setAttribute("aria-expanded", String(count > 0));
    mark(active < count && event.detail.requestConfig.elt !== field ? active : -1);
    state.textContent = matches.querySelector("[data-summary]")?.textContent ?? "";
  });
})();
