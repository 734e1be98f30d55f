// Adds the reader's own time beside UTC. The page is complete without this.
(function () {
  "use strict";
  const isUtc = new Date().getTimezoneOffset() === 0;
  const short = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", timeZoneName: "short" });
  const full = new Intl.DateTimeFormat([], { dateStyle: "medium", timeStyle: "long" });

  function add() {
    for (const time of document.querySelectorAll("time[datetime]:not([title])")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      time.title = full.format(at);
      if (isUtc || !time.classList.contains("both")) continue;
      const own = document.createElement("span");
      own.className = "own-time";
      own.textContent = " " + short.format(at);
      time.append(own);
    }
  }

  // Parts of the page are replaced while it is open.
  const main = document.getElementById("main");
  if (main) new MutationObserver(add).observe(main, { childList: true, subtree: true });
  add();
})();
