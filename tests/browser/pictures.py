"""Draws the pictures of the documentation, and the first screens of all scenarios."""

import pathlib

from watched import open_context

DESKTOP, PHONE = ("desktop", 1400, 1000), ("phone", 390, 844)
# A picture of the documentation is not larger than this.
MOST_BYTES = 300_000


def draw(browser, places, docs, folder):
    docs = pathlib.Path(docs)
    for place in places:
        if folder:
            pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
            for screen in (DESKTOP, PHONE):
                draw_one(browser, place["url"], screen, pathlib.Path(folder) / f"{place['name']}-{screen[0]}.png")
        if place["name"] == "stall":
            draw_doc(browser, place["url"], DESKTOP, docs / "recent.png")
            draw_doc(browser, place["url"], PHONE, docs / "phone.png")
        if place["name"] == "dead-letter":
            draw_doc(browser, trace(browser, place["url"], "dead_lettered"), DESKTOP, docs / "trace.png")


def trace(browser, url, outcome):
    context = browser.new_context()
    found = context.request.get(f"{url}?format=json&limit=1&outcome={outcome}").json()["traces"][0]["id"]
    context.close()
    return url.removesuffix("recent") + found


def draw_one(browser, url, screen, file):
    _, width, height = screen
    context = open_context(browser, [], viewport={"width": width, "height": height}, color_scheme="light")
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("#pause:visible")
    page.screenshot(path=file)
    context.close()
    print(f"{file}: {file.stat().st_size} bytes")


def draw_doc(browser, url, screen, file):
    draw_one(browser, url, screen, file)
    if file.stat().st_size > MOST_BYTES:
        raise SystemExit(f"{file} has more than {MOST_BYTES} bytes")
