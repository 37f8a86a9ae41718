// What pages do when a browser runs scripts. Without this file every page works all the same, and is reloaded by hand.
//
//   <main data-watch="overview">   what is watched; elements of it with an id and data-live are asked for again when it
//                                  has changed; data-live="queues" only when that part of it has
//   <time datetime="…">            is shown in the time zone of the reader; with the class "age" as how long ago it was
//   <form data-confirm="…">        asks before it is sent
//   <… data-copy="id">             copies the text of the element with that id
//   <table class="rows">           j and k go through its rows
"use strict";

(() => {
  const HIDDEN_EVERY = 10; // seconds; while nobody looks
  const HIDDEN_MOST = 10 * 60 * 1000; // ms; then nothing is watched until somebody looks again
  const PAUSED = "workflows-paused";
  const main = document.querySelector("main");
  const watched = main && main.dataset.watch;
  const said = document.getElementById("live");

  // Moments ----------------------------------------------------------------------------------------------------------

  const two = (number) => String(number).padStart(2, "0");
  const clockOf = (at) => [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":");
  const momentOf = (at) => `${[at.getFullYear(), at.getMonth() + 1, at.getDate()].map(two).join("-")} ${clockOf(at)}`;

  function age(ms) {
    const seconds = Math.floor(Math.abs(ms) / 1000);
    if (!seconds) return "now";
    const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]], [size, unit] = units.find(([one]) => seconds >= one);
    const far = `${Math.floor(seconds / size)} ${unit}`;
    return ms > 0 ? `${far} ago` : `in ${far}`;
  }

  // How far this machine's clock is behind that of the page, which is the server's.
  let behind = 0;

  function showTimes(root) {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      if (isNaN(at)) continue;
      if (time.classList.contains("age")) time.textContent = age(Date.now() + behind - at);
      else if (!time.dataset.local) time.textContent = /^\d\d:/.test(time.textContent) ? clockOf(at) : momentOf(at);
      if (time.dataset.local) continue;
      time.dataset.local = "yes";
      time.title = `${momentOf(at)}; ${time.dateTime.slice(0, 19).replace("T", " ")} UTC`;
    }
    const zone = root.querySelector("#zone");
    if (zone) zone.textContent = `Moments are in your time zone, ${Intl.DateTimeFormat().resolvedOptions().timeZone}.`;
  }

  function setClock(text) {
    const at = new Date(text);
    if (!isNaN(at)) behind = at - Date.now();
  }

  // Keeping up to date -------------------------------------------------------------------------------------------------

  let source = null, asking = null, wanted = new Set(), gaveUp = 0, notBefore = 0;
  const later = new Set();

  const isPaused = () => localStorage.getItem(PAUSED) === "yes";

  function show(state) {
    if (!said) return;
    said.hidden = false;
    said.dataset.state = state;
    said.querySelector("button").setAttribute("aria-pressed", String(state === "paused"));
    const texts = { live: "live", paused: "updates paused", connecting: "connecting…", off: "not up to date: " };
    const text = said.querySelector("[role=status]");
    text.textContent = texts[state];
    if (state === "off") {
      const again = document.createElement("a");
      again.href = location.href;
      again.textContent = "reload";
      text.append(again);
    }
  }

  function listen() {
    if (source) source.close();
    source = null;
    clearTimeout(gaveUp);
    if (isPaused()) return show("paused");
    const query = new URLSearchParams({ watch: watched });
    if (document.hidden) {
      query.set("every", HIDDEN_EVERY);
      gaveUp = setTimeout(() => source && source.close(), HIDDEN_MOST);
    }
    show("connecting");
    source = new EventSource(`${document.body.dataset.stream}?${query}`);
    // What happened before somebody listened is not told.
    source.addEventListener("open", () => { show("live"); ask(null); });
    source.addEventListener("changed", (event) => ask(JSON.parse(event.data)));
    source.addEventListener("error", () => show(source.readyState === EventSource.CLOSED ? "off" : "connecting"));
  }

  // Elements that show one of these parts of what is watched; null: all of it.
  function shown(parts) {
    return [...main.querySelectorAll("[data-live][id]")].filter((element) => {
      const own = element.dataset.live.split(" ").filter(Boolean);
      return !parts || !own.length || parts.includes("error") || own.some((one) => parts.includes(one));
    });
  }

  function ask(parts) {
    for (const element of shown(parts)) wanted.add(element.id);
    fetchAll();
  }

  function fetchAll() {
    if (asking || !wanted.size || isPaused()) return;
    asking = fetchWanted().finally(() => { asking = null; fetchAll(); });
  }

  async function fetchWanted() {
    // A page that takes long to make is asked for less often.
    await new Promise((go) => setTimeout(go, Math.max(0, notBefore - Date.now())));
    const there = [...wanted].map((id) => document.getElementById(id)).filter(Boolean);
    const ids = there.filter((element) => !isBusy(element)).map((element) => element.id);
    for (const element of there) if (isBusy(element)) later.add(element.id);
    wanted = new Set();
    if (!ids.length || isPaused()) return;
    const began = Date.now();
    try {
      const answer = await fetch(location.href, { headers: { "X-Fragment": ids.join(" ") }, cache: "no-store" });
      if (!answer.ok) return show("off");
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      setClock(answer.headers.get("date"));
      if (!isPaused()) for (const id of ids) replace(document.getElementById(id), page.getElementById(id));
      if (source && source.readyState === EventSource.OPEN) show("live");
    } catch {
      show("off");
    } finally {
      notBefore = Date.now() + 4 * (Date.now() - began);
    }
  }

  // Somebody is filling something in there.
  function isBusy(element) {
    const focus = document.activeElement;
    return (focus && element.contains(focus) && focus.matches("input:not([type=checkbox]), textarea, select"))
      || element.querySelector("details[open] form") !== null || element.querySelector("dialog[open]") !== null;
  }

  const marksOf = (element) => [...element.querySelectorAll("details, input[type=checkbox], [id]")];
  const nameOf = (one) => one.id || `${one.name || one.className}=${one.value || one.textContent.slice(0, 80)}`;

  function replace(old, fresh) {
    if (!old || !fresh) return;
    const open = new Set(), checked = new Set(), scrolled = [...old.querySelectorAll(".scroll")];
    for (const one of marksOf(old)) {
      if (one.open) open.add(nameOf(one));
      if (one.checked) checked.add(nameOf(one));
    }
    const places = scrolled.map((one) => [one.scrollLeft, one.scrollTop]);
    const focus = document.activeElement && old.contains(document.activeElement) ? focusOf(old) : null;
    document.adoptNode(fresh);
    for (const one of marksOf(fresh)) {
      if (one.tagName === "DETAILS" && open.has(nameOf(one))) one.open = true;
      if (checked.has(nameOf(one))) one.checked = true;
    }
    showTimes(fresh);
    addCopying(fresh);
    if (old.isEqualNode(fresh)) return;
    old.replaceWith(fresh);
    for (const [at, one] of [...fresh.querySelectorAll(".scroll")].entries()) {
      if (places[at]) [one.scrollLeft, one.scrollTop] = places[at];
    }
    if (focus) focus(fresh);
  }

  // Links keep the focus by where they lead, everything else by its place.
  function focusOf(old) {
    const one = document.activeElement, all = "a, button, summary, input, [tabindex]";
    const at = [...old.querySelectorAll(all)].indexOf(one), href = one.getAttribute("href");
    return (fresh) => {
      const found = [...fresh.querySelectorAll(all)];
      const same = href && found.find((other) => other.getAttribute("href") === href);
      const next = same || found[at];
      if (next) next.focus({ preventScroll: true });
    };
  }

  // Keys ---------------------------------------------------------------------------------------------------------------

  function step(by) {
    const links = [...document.querySelectorAll("table.rows tbody tr")].map((row) => row.querySelector("a[href]")).filter(Boolean);
    if (!links.length) return;
    const now = links.findIndex((link) => link.closest("tr").contains(document.activeElement));
    const next = now < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(Math.max(now + by, 0), links.length - 1);
    links[next].focus();
    links[next].closest("tr").scrollIntoView({ block: "nearest" });
  }

  const KEYS = [
    ["/", "find an instance", () => document.querySelector("[type=search]")?.focus()],
    ["j", "next row", () => step(1)],
    ["k", "row before", () => step(-1)],
    ["x", "select the row", () => document.activeElement.closest("tr")?.querySelector("input[type=checkbox]")?.click()],
    ["p", "pause updates, or go on", () => said?.querySelector("button").click()],
    ["?", "this list", help],
  ];

  function help() {
    let dialog = document.getElementById("keys");
    if (!dialog) {
      dialog = document.createElement("dialog");
      dialog.id = "keys";
      dialog.setAttribute("aria-labelledby", "keys-head");
      const head = document.createElement("h2"), list = document.createElement("dl"), close = document.createElement("button");
      head.id = "keys-head";
      head.textContent = "Keys";
      for (const [key, text] of [...KEYS, ["Enter", "open the row"]]) {
        const term = document.createElement("dt"), what = document.createElement("dd"), mark = document.createElement("kbd");
        mark.textContent = key;
        what.textContent = text;
        term.append(mark);
        list.append(term, what);
      }
      close.textContent = "Close";
      close.addEventListener("click", () => dialog.close());
      dialog.append(head, list, close);
      document.body.append(dialog);
    }
    if (dialog.open) dialog.close();
    else dialog.showModal();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input:not([type=checkbox]), textarea, select, [contenteditable]")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const found = KEYS.find(([key]) => key === event.key);
    if (!found) return;
    event.preventDefault();
    found[2]();
  });

  // Forms and texts ----------------------------------------------------------------------------------------------------

  document.addEventListener("submit", (event) => {
    const question = event.submitter?.dataset.confirm || event.target.dataset.confirm;
    if (question && !confirm(question)) event.preventDefault();
  });

  // A box in the head of a table stands for all rows.
  document.addEventListener("change", (event) => {
    if (!event.target.matches("input[data-all]")) return;
    const boxes = event.target.closest("table").querySelectorAll("tbody input[type=checkbox]");
    for (const box of boxes) box.checked = event.target.checked;
  });

  function addCopying(root) {
    if (!navigator.clipboard) return;
    for (const button of root.querySelectorAll("button[data-copy]")) button.hidden = false;
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    const text = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = text; }, 1500);
  });

  // Beginning ----------------------------------------------------------------------------------------------------------

  setClock(document.body.dataset.now);
  showTimes(document);
  addCopying(document);
  setInterval(() => {
    if (document.hidden) return;
    showTimes(document);
    for (const id of later) wanted.add(id);
    later.clear();
    fetchAll();
  }, 5000);
  if (!watched) return;
  if (said) {
    said.querySelector("button").addEventListener("click", () => {
      localStorage.setItem(PAUSED, isPaused() ? "no" : "yes");
      listen();
    });
  }
  addEventListener("storage", (event) => event.key === PAUSED && listen());
  addEventListener("pagehide", () => source && source.close());
  addEventListener("pageshow", (event) => event.persisted && listen());
  document.addEventListener("visibilitychange", listen);
  listen();
})();
