/* The dashboard's only script: live pages, times in the reader's zone, and keys. Pages work without it. */
"use strict";
(() => {
  const contents = document.getElementById("contents");
  const status = document.getElementById("live");
  const trouble = document.getElementById("trouble");

  // Times -------------------------------------------------------------------------------

  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

  function localise(root) {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      if (isNaN(at)) continue;
      time.title = `${format.format(at)} (${zone})`;
      const instant = time.nextElementSibling;
      if (instant && instant.classList.contains("instant")) instant.textContent = format.format(at);
    }
  }

  // Merging -----------------------------------------------------------------------------
  // New contents are merged into those that are shown, so that scroll, selection, focus, what is
  // typed and what is unfolded stay. Elements are the same by their id or data-key, or else by
  // their place.

  const name = (node) =>
    node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset.key || null : null;
  const alike = (a, b) =>
    a.nodeType === b.nodeType && a.nodeName === b.nodeName && name(a) === name(b);

  function mergeAttributes(shown, wanted) {
    for (const { name: attribute } of [...shown.attributes]) {
      const own = attribute === "open" || attribute === "data-chosen" || attribute === "title";
      if (!own && !wanted.hasAttribute(attribute)) shown.removeAttribute(attribute);
    }
    for (const { name: attribute, value } of wanted.attributes) {
      if (attribute === "open" || (attribute === "value" && shown.nodeName === "INPUT")) continue;
      if (shown.getAttribute(attribute) !== value) shown.setAttribute(attribute, value);
    }
  }

  function merge(shown, wanted) {
    if (shown.nodeType !== Node.ELEMENT_NODE) {
      if (shown.nodeValue !== wanted.nodeValue) shown.nodeValue = wanted.nodeValue;
      return;
    }
    if (shown.hasAttribute("data-keep")) return; // What somebody fills in.
    mergeAttributes(shown, wanted);
    mergeChildren(shown, wanted);
  }

  function firstAlike(at, child) {
    while (at && (name(at) || !alike(at, child))) at = at.nextSibling;
    return at;
  }

  function mergeChildren(shown, wanted) {
    const wantedNames = new Set([...wanted.childNodes].map(name));
    const named = new Map();
    for (const child of [...shown.childNodes]) {
      if (!name(child)) continue;
      // First those that are gone, so that the others need not be moved: that would end a focus.
      if (!wantedNames.has(name(child)) || named.has(name(child))) child.remove();
      else named.set(name(child), child);
    }
    let at = shown.firstChild;
    for (const child of [...wanted.childNodes]) {
      const same = name(child) ? named.get(name(child)) : null;
      if (same && alike(same, child)) {
        if (same === at) at = at.nextSibling;
        else shown.insertBefore(same, at);
        named.delete(name(child));
        merge(same, child);
        continue;
      }
      const found = name(child) ? null : firstAlike(at, child);
      if (!found) {
        shown.insertBefore(child, at);
        continue;
      }
      while (at !== found) {
        const next = at.nextSibling;
        if (!named.has(name(at))) at.remove(); // Those with names may be wanted further down.
        at = next;
      }
      at = found.nextSibling;
      merge(found, child);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  // Live --------------------------------------------------------------------------------

  let source = null;

  function say(state, text) {
    if (!status || status.textContent === text) return;
    status.hidden = false;
    status.dataset.state = state;
    status.textContent = text;
  }

  function follow() {
    if (source || document.hidden || !contents || !("live" in contents.dataset)) return;
    source = new EventSource(contents.dataset.live);
    source.addEventListener("page", (event) => {
      const page = new DOMParser().parseFromString(event.data, "text/html");
      localise(page);
      mergeChildren(contents, page.body);
      trouble.hidden = true;
      say("on", "live");
    });
    source.addEventListener("trouble", (event) => {
      trouble.textContent = event.data;
      trouble.hidden = false;
      say("off", "no answer");
    });
    source.addEventListener("error", () => {
      say("off", "connecting again");
      if (source && source.readyState === EventSource.CLOSED) {
        pause();
        setTimeout(follow, 10000);
      }
    });
  }

  function pause() {
    if (source) source.close();
    source = null;
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      pause();
      say("off", "paused");
    } else follow();
  });
  addEventListener("pagehide", pause);
  addEventListener("pageshow", follow);

  // Keys --------------------------------------------------------------------------------

  const rows = () => [...document.querySelectorAll("[data-row]")];
  const chosen = () => document.querySelector("[data-chosen]");

  function choose(step) {
    const all = rows();
    if (!all.length) return;
    const before = all.indexOf(chosen());
    const at = before < 0 ? (step > 0 ? 0 : all.length - 1) : before + step;
    const row = all[Math.min(Math.max(at, 0), all.length - 1)];
    if (chosen()) chosen().removeAttribute("data-chosen");
    row.setAttribute("data-chosen", "");
    row.scrollIntoView({ block: "nearest" });
    const link = row.querySelector("a.open");
    if (link) link.focus({ preventScroll: true });
  }

  function open() {
    const link = chosen() && chosen().querySelector("a.open");
    if (link) link.click();
  }

  const keys = {
    "/": () => {
      const search = document.getElementById("search");
      if (search) search.focus();
      else {
        const tasks = document.querySelector('nav.tabs a[href$="/tasks"]');
        if (tasks) location.assign(`${tasks.href}#search`);
      }
    },
    j: () => choose(1),
    k: () => choose(-1),
    o: open,
    u: () => history.back(),
    Backspace: () => history.back(),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const target = event.target;
    if (target.closest("input:not([type=checkbox]), select, textarea, [contenteditable]")) {
      if (event.key === "Escape") target.blur();
      return;
    }
    // Enter is the browser's own where a link or a button has the focus.
    if (event.key === "Enter" && !target.closest("a, button, summary, input")) return open();
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  // Choosing ----------------------------------------------------------------------------

  document.addEventListener("change", (event) => {
    if (event.target.id !== "pick-all") return;
    for (const box of document.querySelectorAll("td.pick input")) box.checked = event.target.checked;
  });

  const tab = document.querySelector("nav.tabs [aria-current]");
  if (tab) tab.scrollIntoView({ block: "nearest", inline: "center" });
  localise(document);
  follow();
  if (location.hash === "#search") keys["/"]();
})();
