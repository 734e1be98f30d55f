"""The brief form: eight pages, each once, of the places that are given."""

import behaviour
import pages
from watched import open_context

DESKTOP, PHONE = (1400, 1000), (390, 844)
COLOURS = ["color-contrast", "link-in-text-block"]


def check(browser, places, facts):
    of = {place["name"]: place for place in places}
    urls = {name: place["url"] for name, place in of.items()}
    if "fifty" in of:
        one_page(browser, of["fifty"], DESKTOP, "light", [], facts)
    if "stall" not in of:
        return
    one_page(browser, of["stall"], DESKTOP, "light", [], facts, [behaviour.focus, behaviour.unfolded], urls)
    one_page(browser, of["leak"], DESKTOP, "light", [], facts)
    one_page(browser, of["lost"], DESKTOP, "light", [], facts)
    one_page(browser, of["stall"], PHONE, "light", [], facts)
    one_page(browser, of["leak"], DESKTOP, "dark", COLOURS, facts, [stale])
    for check_one in (behaviour.without_scripts, behaviour.hostile):
        with facts.about(check_one.__name__):
            check_one(browser, urls, facts)


def one_page(browser, place, screen, scheme, rules, facts, checks=(), urls=None):
    """A page that is accessible, fits the screen, names what is wrong, and about which the browser does not complain."""
    (width, height), faults = screen, []
    where = f"{place['name']} at {width}, {scheme}"
    with facts.about(f"opening {where}"):
        context = open_context(browser, faults, viewport={"width": width, "height": height}, color_scheme=scheme)
        page = context.new_page()
        page.goto(place["url"])
        pages.first_screen(page, place["names"], where, facts)
        wide = page.evaluate("document.documentElement.scrollWidth")
        facts.expect(wide <= width, f"{where}: the page does not scroll sideways",
                     f"it is {wide} wide: {page.evaluate(pages.TOO_WIDE) if wide > width else ''}")
        for check_one in checks:
            with facts.about(f"{check_one.__name__} of {where}"):
                check_one(page, urls, facts)
        facts.step(f"axe checks {where}")
        page.evaluate(pages.AXE_SCRIPT)
        pages.accessible(page, rules, where, facts)
        facts.expect(not faults, f"{where}: the browser complains of nothing", faults[:3])
        context.close()


def stale(page, _, facts):
    """What a page that cannot be updated looks like, for axe, which sees only what is shown."""
    page.locator("#pause").click()
    page.evaluate("""() => {
        document.getElementById("live").classList.add("bad");
        document.getAnimations().forEach((it) => it.pause());
    }""")
