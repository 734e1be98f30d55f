// Adds the reader's own time beside UTC, and buttons that copy a text. The page is complete without this.
(function () {
  "use strict";
  const now = new Date();
  const isUtc = now.getTimezoneOffset() === 0;
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
    for (const button of document.querySelectorAll("button.copy[hidden]")) button.hidden = false;
  }

  async function copy(text) {
    // The clipboard is only there on pages from a secure origin.
    if (navigator.clipboard) return navigator.clipboard.writeText(text.textContent);
    const range = document.createRange();
    range.selectNodeContents(text);
    const selection = document.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    if (!document.execCommand("copy")) throw new Error("not copied");
    selection.removeAllRanges();
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    const text = button && document.getElementById(button.dataset.copy);
    if (!text) return;
    try {
      await copy(text);
      button.textContent = "copied";
    } catch {
      button.textContent = "select and copy it";
    }
    setTimeout(() => { button.textContent = "copy"; }, 2000);
  });
  // Parts of the page are replaced while it is open.
  const main = document.getElementById("main");
  if (main) new MutationObserver(add).observe(main, { childList: true, subtree: true });
  add();
})();
