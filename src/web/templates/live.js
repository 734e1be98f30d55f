// Keeps a page live: fetches it every two seconds and replaces the parts that changed.
// The page is complete without this. It never touches the filter form, a text selection or an unfolded part.
(function () {
  "use strict";
  const EVERY = 2000;
  const OLD = 10000;
  const live = document.getElementById("live");
  const fresh = document.getElementById("fresh");
  const pause = document.getElementById("pause");
  if (!live || !document.querySelector("[data-live]")) return;

  let paused = false;
  let gone = false;
  let unreachable = "";
  // Age of the shown state when it was fetched, by the probe's clock, and the time of the fetch by ours.
  let age = Number(live.dataset.age);
  let fetched = performance.now();
  let timer = 0;
  // Parts that the reader unfolded or folded; they stay so.
  const opened = new Map();
  document.addEventListener("click", (event) => {
    const summary = event.target.closest("summary");
    const part = summary && summary.parentElement;
    if (part && part.id) setTimeout(() => opened.set(part.id, part.open), 0);
  });

  function say() {
    const old = age + performance.now() - fetched;
    const seconds = Math.floor(old / 1000);
    const held = paused || gone || selecting();
    const bad = unreachable !== "" || (old > OLD && !held);
    if (bad !== live.classList.contains("bad")) {
      live.classList.toggle("bad", bad);
      // Announced once, when it fails, and not every second.
      if (bad) live.setAttribute("role", "alert"); else live.removeAttribute("role");
    }
    let text = "data is " + seconds + " s old";
    if (unreachable) text = "traceprobe cannot be reached (" + unreachable + "): " + text;
    else if (gone) text = "no longer remembered by traceprobe: " + text;
    else if (paused) text = "paused: " + text;
    else if (held) text = "held while you select: " + text;
    else if (!bad) text = "live, " + text;
    fresh.textContent = text;
  }

  function selecting() {
    const selection = document.getSelection();
    return selection && !selection.isCollapsed && document.getElementById("main").contains(selection.anchorNode);
  }

  function replace(page) {
    const focus = document.activeElement;
    const href = focus && focus.getAttribute && focus.getAttribute("href");
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = page.getElementById(part.id);
      if (!next) continue;
      for (const [id, open] of opened) {
        const box = next.querySelector("#" + CSS.escape(id));
        if (box) box.open = open;
      }
      const left = Array.from(part.querySelectorAll(".scroll"), (box) => box.scrollLeft);
      const held = part.contains(focus);
      part.replaceChildren(...Array.from(next.childNodes, (node) => document.importNode(node, true)));
      part.querySelectorAll(".scroll").forEach((box, index) => { box.scrollLeft = left[index] || 0; });
      if (held && href) {
        const again = part.querySelector('a[href="' + CSS.escape(href) + '"]');
        if (again) again.focus({ preventScroll: true });
      }
    }
    document.title = page.title;
    const icon = document.querySelector("link[rel=icon]");
    const other = page.querySelector("link[rel=icon]");
    if (icon && other && icon.getAttribute("href") !== other.getAttribute("href")) {
      icon.setAttribute("href", other.getAttribute("href"));
    }
  }

  async function refresh() {
    if (paused || gone || document.hidden) return;
    if (!selecting()) {
      try {
        const answer = await fetch(location.href, {
          headers: { accept: "text/html" }, cache: "no-store", signal: AbortSignal.timeout(10000),
        });
        if (answer.status === 404) {
          // The trace has been forgotten since; the page keeps its last known state.
          gone = true;
          say();
          return;
        }
        if (!answer.ok) throw new Error("answer " + answer.status);
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        age = Number(page.getElementById("live").dataset.age);
        fetched = performance.now();
        unreachable = "";
        if (!paused && !selecting()) replace(page);
      } catch (error) {
        unreachable = error.name === "TypeError" ? "no connection" : error.name === "TimeoutError" ? "no answer" : error.message;
      }
      say();
    }
    again();
  }

  function again() {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(refresh, EVERY);
  }

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "resume" : "pause";
    pause.setAttribute("aria-pressed", String(paused));
    say();
    if (!paused) refresh();
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  setInterval(say, 1000);
  say();
  again();
})();
