"""What must be true of every page: accessible, no wider than the screen, no complaint of the browser, and what is wrong on
the first screen."""

import itertools
import time
from dataclasses import dataclass

from axe_playwright_python.base import AXE_SCRIPT

from watched import open_context

WIDTHS = [390, 768, 1400]
FIRST_SCREENS = [(1400, 1000), (390, 844)]


@dataclass(frozen=True)
class Looks:
    schemes: tuple
    contrasts: tuple
    # In every width; otherwise other colours than the first only in the largest, because axe takes seconds.
    everywhere: bool


SHORT = Looks(("light", "dark"), ("no-preference",), False)
GRID = Looks(("light", "dark"), ("no-preference", "more"), True)


def check(browser, places, looks, facts):
    print(f"{'page':<16} {'plain':>9} {'sent':>8} {'ms':>6} {'height at 1400, 390':>20} {'axe s':>6}")
    for place in places:
        check_page(browser, place, looks, facts)


def check_page(browser, place, looks, facts):
    name, faults = place["name"], []
    context = open_context(browser, faults, viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    facts.step(f"opening {name}")
    began = time.monotonic()
    answer = page.goto(place["url"])
    took = time.monotonic() - began
    plain, sent = len(answer.body()), answer.request.sizes()["responseBodySize"]

    heights = []
    for width, height in FIRST_SCREENS:
        page.set_viewport_size({"width": width, "height": height})
        heights.append(page.evaluate("document.documentElement.scrollHeight"))
        first_screen(page, place["names"], f"{name} at {width}", facts)

    pause = page.locator("#pause")
    if pause.is_visible():
        # So that nothing changes under the checks.
        pause.click()
    began = time.monotonic()
    page.evaluate(AXE_SCRIPT)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 1000})
        wide = page.evaluate("document.documentElement.scrollWidth")
        facts.expect(wide <= width, f"{name} at {width}: the page does not scroll sideways",
                     f"it is {wide} wide: {page.evaluate(TOO_WIDE) if wide > width else ''}")
        everywhere = width == WIDTHS[-1] or looks.everywhere
        shown = itertools.product(looks.schemes, looks.contrasts) if everywhere else [("light", "no-preference")]
        for number, (scheme, contrast) in enumerate(shown):
            facts.step(f"axe checks {name} at {width}, {scheme}, contrast {contrast}")
            page.emulate_media(color_scheme=scheme, contrast=contrast)
            # Colours are all that differs from the first.
            rules = ["color-contrast", "link-in-text-block"] if number else []
            accessible(page, rules, f"{name} at {width}, {scheme}, contrast {contrast}", facts)
    checked = time.monotonic() - began
    facts.expect(not faults, f"{name}: the browser complains of nothing", faults[:3])
    context.close()
    print(f"{name:<16} {plain:>9} {sent:>8} {took * 1000:>6.0f} {heights[0]:>12}, {heights[1]:>6} {checked:>6.1f}")


# The innermost elements that are wider than the window, outside of parts that scroll by themselves.
TOO_WIDE = """() => Array.from(document.querySelectorAll("main *"))
  .filter((it) => !it.firstElementChild && it.getBoundingClientRect().right > innerWidth && !it.closest(".scroll"))
  .slice(0, 3).map((it) => it.outerHTML.slice(0, 150))"""


def accessible(page, rules, where, facts):
    """Runs some of axe's rules, or all of them."""
    options = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
    found = page.evaluate("options => axe.run(document, options).then((it) => it.violations)", options)
    told = [f"{it['id']} ({it['impact']}): {it['nodes'][0]['html'][:200]}: {it['nodes'][0]['failureSummary'][:300]}"
            for it in found]
    facts.expect(not found, f"{where}: axe finds nothing", told)


# The texts of the first incident that lie within the window.
VISIBLE = """() => {
  const incident = document.querySelector("#incidents li.incident");
  if (!incident) return null;
  const isVisible = (it) => {
    const box = it.getBoundingClientRect();
    return box.width > 0 && box.top >= 0 && box.left >= 0 && box.bottom <= innerHeight && box.right <= innerWidth;
  };
  const parts = Array.from(incident.querySelectorAll(".badge, .who, .where, .since")).filter(isVisible);
  return { text: parts.map((it) => it.textContent).join(" | "), since: parts.some((it) => it.matches(".since")) };
}"""


def first_screen(page, names, where, facts):
    """Whoever opens the page must see without scrolling what is wrong, with whom, where, and since when."""
    if not names:
        return
    seen = page.evaluate(VISIBLE)
    if seen is None:
        facts.expect(False, f"{where}: there is an incident")
        return
    text = seen["text"].lower()
    for wanted in names:
        there = wanted.lower() in text or wanted.replace("_", " ").lower() in text
        facts.expect(there, f"{where}: the first screen names {wanted}", seen["text"])
    facts.expect(seen["since"], f"{where}: the first screen says since when", seen["text"])
