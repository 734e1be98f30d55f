// Keeps a page up to date. The page is complete without this.
//
// The text of the page is fetched once, with its version. A stream of events then carries the lines that changed, and the
// page is changed in place: focus, selection, scroll positions and unfolded parts stay. Without a stream (too many are
// open, or a proxy does not pass them) the page is fetched every ten seconds.
(function () {
  "use strict";
  const AGAIN = 10000;
  const OLD = 10000;
  const live = document.getElementById("live");
  const fresh = document.getElementById("fresh");
  const pause = document.getElementById("pause");
  const main = document.getElementById("main");
  if (!live || !("live" in live.dataset)) return;

  // The lines of the page as the server has them, and their version.
  let lines = [];
  let stream = null;
  let timer = 0;
  let paused = false;
  // No page with this address any more: it keeps its last known state.
  let gone = false;
  // The page has changed while it was held.
  let behind = false;
  let unreachable = "";
  // Age of the shown state when it arrived, by the probe's clock, and the time of its arrival by ours.
  let age = Number(live.dataset.age);
  let arrived = performance.now();

  // Parts that the reader unfolded or folded; they stay so.
  const touched = new WeakSet();
  document.addEventListener("click", (event) => {
    const summary = event.target.closest("summary");
    if (summary) touched.add(summary.parentElement);
  });

  function selecting() {
    const selection = document.getSelection();
    return selection && !selection.isCollapsed && main.contains(selection.anchorNode);
  }

  function held() {
    return paused || selecting();
  }

  function say() {
    const old = age + performance.now() - arrived;
    const bad = unreachable !== "" || (old > OLD && !held() && !gone);
    if (bad !== live.classList.contains("bad")) {
      live.classList.toggle("bad", bad);
      // Announced once, when it fails, and not every second.
      if (bad) live.setAttribute("role", "alert"); else live.removeAttribute("role");
    }
    let text = "data is " + Math.floor(old / 1000) + " s old";
    if (unreachable) text = "traceprobe cannot be reached (" + unreachable + "): " + text;
    else if (gone) text = "no longer remembered by traceprobe: " + text;
    else if (paused) text = "paused: " + text;
    else if (held()) text = "held while you select: " + text;
    else if (!bad) text = "live, " + text;
    if (fresh.textContent !== text) fresh.textContent = text;
    if (behind && !held()) show();
  }

  // Ages are counted here, because they would change every line that has one.
  function ages(root) {
    // One instant for all: ages that are compared must not differ by when each was counted.
    const now = Date.now() + skew();
    for (const time of (root || document).querySelectorAll("time.ago")) {
      const seconds = Math.max(0, Math.floor((now - Date.parse(time.dateTime)) / 1000));
      if (!Number.isFinite(seconds)) continue;
      const text = duration(seconds);
      if (time.textContent !== text) time.textContent = text;
    }
  }

  // By how much the probe's clock is ahead of ours.
  function skew() {
    return Date.parse(live.dataset.at) + age - (performance.timeOrigin + arrived);
  }

  function duration(seconds) {
    const two = (whole, unit, rest, small) => whole + " " + unit + (rest ? " " + rest + " " + small : "");
    if (seconds < 60) return seconds + " s";
    if (seconds < 600) return two(Math.floor(seconds / 60), "min", seconds % 60, "s");
    if (seconds < 3600) return Math.floor(seconds / 60) + " min";
    if (seconds < 86400) return two(Math.floor(seconds / 3600), "h", Math.floor((seconds % 3600) / 60), "min");
    return two(Math.floor(seconds / 86400), "d", Math.floor((seconds % 86400) / 3600), "h");
  }

  // Changes `old` until it equals `next`. Elements with an id are found again wherever they are.
  function morph(old, next) {
    attributes(old, next);
    // What is in a field is the reader's, and ages are counted here.
    if (old.matches("input, select, textarea, time.ago")) return;
    const wanted = Array.from(next.childNodes);
    const stays = new Set(wanted.map((node) => node.id).filter(Boolean));
    const named = new Map(Array.from(old.children, (child) => [child.id, child]).filter(([id]) => id));
    let at = old.firstChild;
    const remove = (node) => { at = node.nextSibling; node.remove(); };
    for (const node of wanted) {
      const match = node.id ? named.get(node.id) : alike(at, node);
      if (!match) {
        old.insertBefore(document.importNode(node, true), at);
        continue;
      }
      // What has the focus would lose it if it were moved, so what is before it moves instead. Without an id, what is
      // before it is gone.
      while (at && at !== match && (!node.id || match.contains(document.activeElement))) {
        const before = at;
        remove(before);
        if (stays.has(before.id)) old.appendChild(before);
      }
      if (at === match) at = at.nextSibling; else old.insertBefore(match, at);
      if (match.nodeType === Node.ELEMENT_NODE) morph(match, node);
      else if (match.nodeValue !== node.nodeValue) match.nodeValue = node.nodeValue;
    }
    while (at) remove(at);
  }

  // The next node without an id that can become this one.
  function alike(from, node) {
    let found = from;
    while (found && (found.id || found.nodeName !== node.nodeName)) found = found.nextSibling;
    // Text is everywhere: another one further on is not the same.
    return found === from || node.nodeType === Node.ELEMENT_NODE ? found : null;
  }

  function attributes(old, next) {
    const keeps = (name) => name === "open" && touched.has(old);
    for (const { name } of Array.from(old.attributes)) {
      if (!next.hasAttribute(name) && !keeps(name)) old.removeAttribute(name);
    }
    for (const { name, value } of next.attributes) {
      if (old.getAttribute(name) !== value && !keeps(name)) old.setAttribute(name, value);
    }
  }

  // Shows the newest text.
  function show() {
    behind = held();
    if (behind) return;
    const page = new DOMParser().parseFromString(lines.join("\n"), "text/html");
    const next = page.getElementById("main");
    if (!next) return;
    live.dataset.at = page.getElementById("live").dataset.at;
    age = Number(page.getElementById("live").dataset.age);
    arrived = performance.now();
    ages(next);
    morph(main, next);
    document.title = page.title;
    const icon = document.querySelector("link[rel=icon]");
    const other = page.querySelector("link[rel=icon]");
    if (icon && other && icon.getAttribute("href") !== other.getAttribute("href")) {
      icon.setAttribute("href", other.getAttribute("href"));
    }
  }

  async function fetchPage() {
    const answer = await fetch(location.href, {
      headers: { accept: "text/html" }, cache: "no-store", signal: AbortSignal.timeout(10000),
    });
    if (answer.status === 404) {
      gone = true;
      return null;
    }
    if (!answer.ok) throw new Error("answer " + answer.status);
    const text = await answer.text();
    lines = text.replace(/(<time class="ago"[^>]*>)[^<]*/g, "$1").split("\n");
    unreachable = "";
    show();
    return (answer.headers.get("etag") || "").replace(/^W\//, "").replaceAll('"', "");
  }

  // Fetches the page, then follows its changes.
  async function follow() {
    leave();
    if (paused || gone || document.hidden) return;
    try {
      const version = await fetchPage();
      if (version && "DecompressionStream" in window) open(version);
      else if (!gone) later();
    } catch (error) {
      unreachable = error.name === "TypeError" ? "no connection" : error.name === "TimeoutError" ? "no answer" : error.message;
      later();
    }
    say();
  }

  function open(version) {
    const address = new URL(location.pathname + "/events" + location.search, location.href);
    address.searchParams.append("version", version);
    stream = new EventSource(address);
    const own = stream;
    let shown = Promise.resolve();
    stream.addEventListener("patch", (event) => {
      const opened = inflate(event.data);
      shown = shown.then(() => opened).then((changes) => {
        if (stream !== own) return;
        for (const change of changes) lines.splice(change.at, change.old, ...change.new);
        unreachable = "";
        show();
      }).catch(later);
    });
    stream.addEventListener("reset", follow);
    stream.addEventListener("gone", () => { gone = true; leave(); say(); });
    // A stream that was refused, or that broke off.
    stream.addEventListener("error", later);
  }

  // Opens gzip in base64.
  async function inflate(text) {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const opened = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(opened).text());
  }

  function leave() {
    clearTimeout(timer);
    if (stream) stream.close();
    stream = null;
  }

  function later() {
    leave();
    timer = setTimeout(follow, AGAIN);
  }

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "resume" : "pause";
    pause.setAttribute("aria-pressed", String(paused));
    if (paused) leave(); else follow();
    say();
  });
  document.addEventListener("visibilitychange", () => { if (document.hidden) leave(); else follow(); });
  setInterval(() => { say(); ages(); }, 1000);
  say();
  follow();
})();
