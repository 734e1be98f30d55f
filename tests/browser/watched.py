"""Contexts of the browser that note what goes wrong on a page, and what its event stream carries."""

from playwright.sync_api import Error, TimeoutError

# A wait of Playwright takes no longer.
WAIT_S = 20

# Runs before the page's scripts. `seen` counts what the stream carried and how often the page changed.
SCRIPT = """
window.seen = { patches: 0, shown: 0, streams: [] };
document.addEventListener("DOMContentLoaded", () => {
  const live = document.getElementById("live");
  if (live) new MutationObserver(() => { window.seen.shown += 1; }).observe(live, { attributeFilter: ["data-at"] });
});
window.EventSource = class extends EventSource {
  constructor(...given) {
    super(...given);
    window.seen.streams.push(this);
    this.addEventListener("patch", () => { window.seen.patches += 1; });
  }
};
"""


def open_context(browser, faults, **options):
    """A context whose pages add to `faults` what the console, scripts and the content policy complain about."""
    context = browser.new_context(**options)
    context.set_default_timeout(WAIT_S * 1000)
    if options.get("java_script_enabled", True):
        context.add_init_script(SCRIPT)

    def console(message):
        # The address of an unknown trace is answered with 404, which the console tells as an error.
        is_page = message.page and message.location.get("url") == message.page.url and "404" in message.text
        if message.type in ("error", "warning") and not is_page:
            faults.append(f"{message.type}: {message.text}")

    context.on("console", console)
    context.on("weberror", lambda it: faults.append(f"exception: {it.error}"))
    context.on("dialog", lambda it: (faults.append(f"dialog: {it.message}"), it.dismiss()))
    return context


def wait_for(page, name, count):
    """Waits until `count` more patches have arrived ("patches") or been shown ("shown")."""
    until = page.evaluate("name => window.seen[name]", name) + count
    try:
        page.wait_for_function("([name, until]) => window.seen[name] >= until", arg=[name, until])
    except TimeoutError:
        seen = page.evaluate("name => window.seen[name]", name)
        raise Error(f"waited {WAIT_S} s for {count} more `{name}`, and {seen - until + count} came") from None
