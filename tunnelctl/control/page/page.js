
"use strict";
// Keeps the page current: fetches it again, and copies what differs into the document.
(() => {
  const EVERY = 2000, PATIENCE = 8000; // milliseconds
  const LIVE = ["Live", "live"], PAUSED = ["Paused", "paused"];
  const live = document.getElementById("live"), button = document.getElementById("pause");
  let timer = 0, paused = false, turn = 0, lost = null;

  // Changes `old` to equal `fresh`, and touches nothing that is equal already: what is focused, selected or typed stays.
  const copy = (old, fresh) => {
    if (old.nodeName !== fresh.nodeName) return old.replaceWith(fresh);
    if (old.nodeType === Node.TEXT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const before = [...old.childNodes], after = [...fresh.childNodes];
    after.forEach((node, number) => (number < before.length ? copy(before[number], node) : old.append(node)));
    before.slice(after.length).forEach((node) => node.remove());
  };

  const say = (text, state) => {
    if (live.textContent !== text) live.textContent = text;
    document.documentElement.dataset.state = state;
  };

  const wait = () => {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(update, EVERY);
  };

  const update = async () => {
    clearTimeout(timer);
    const mine = ++turn;
    try {
      const answer = await fetch(location.href, { cache: "no-store", redirect: "error", signal: AbortSignal.timeout(PATIENCE) });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelectorAll("[data-live]"), old = document.querySelectorAll("[data-live]");
      if (!answer.ok || fresh.length !== old.length) throw new Error("not this page");
      if (mine !== turn) return; // the person has chosen something else meanwhile
      old.forEach((node, number) => copy(node, fresh[number]));
      document.title = page.title;
      lost = null;
      say(...(paused ? PAUSED : LIVE));
    } catch {
      if (mine !== turn) return;
      lost ??= new Date();
      say(`No answer since ${lost.toLocaleTimeString()}: the program may have ended. Trying again …`, "lost");
    }
    wait();
  };

  const pause = () => {
    paused = !paused;
    button.textContent = paused ? "Resume" : "Pause";
    if (!paused) return update();
    turn++;
    clearTimeout(timer);
    say(...PAUSED);
  };

  const go = (url, replace) => {
    history[replace ? "replaceState" : "pushState"](null, "", url);
    update();
  };

  button.hidden = false;
  button.addEventListener("click", pause);
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : paused || update()));

  // Sorts, filters and pages without loading the document anew.
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="?"]');
    if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    const form = link.closest("form"); // then the link clears the filter
    if (form) form.elements.filter.value = "";
    go(link.getAttribute("href"));
  });
  let typed = 0;
  const filter = (event, replace) => {
    event.preventDefault();
    clearTimeout(typed);
    go(`?${new URLSearchParams(new FormData(event.target.form ?? event.target))}#tunnels`, replace);
  };
  document.addEventListener("submit", (event) => filter(event));
  document.addEventListener("input", (event) => {
    clearTimeout(typed);
    typed = setTimeout(filter, 300, event, true);
  });
  addEventListener("popstate", () => {
    document.querySelector("form").elements.filter.value = new URLSearchParams(location.search).get("filter") ?? "";
    update();
  });

  say(...LIVE);
  wait();
})();
