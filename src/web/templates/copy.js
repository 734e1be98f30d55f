// Copies the text of the element that a button names: <button class="copy" data-copy="#id" hidden>.
(function () {
  "use strict";
  function reveal() {
    for (const button of document.querySelectorAll("button.copy[hidden]")) button.hidden = false;
  }
  function select(element) {
    const range = document.createRange();
    range.selectNodeContents(element);
    const selection = document.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  }
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    const source = button && document.querySelector(button.dataset.copy);
    if (!source) return;
    let text = "copied";
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      // Without TLS there is no clipboard, so the text is selected for Ctrl+C.
      select(source);
      text = "selected, press Ctrl+C";
    }
    button.textContent = text;
    button.dataset.done = "";
    setTimeout(() => {
      button.textContent = "copy";
      delete button.dataset.done;
    }, 3000);
  });
  reveal();
  // A refresh of the page brings new buttons.
  new MutationObserver(reveal).observe(document.body, { childList: true, subtree: true });
})();
