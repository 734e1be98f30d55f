"""What a reader does with the pages, one fact each."""

import uuid
from urllib.parse import urldefrag, urljoin, urlsplit

from proxy import PREFIX, Proxy
from watched import open_context, wait_for

# Updates over which what the reader does must stay.
UPDATES = 3
# Of a page that is left open.
OPEN_FOR_S = 10
# How often a page without event stream would have to be fetched for the same freshness.
FETCHED_EVERY_S = 2


def check(browser, urls, facts):
    faults = []
    context = open_context(browser, faults, viewport={"width": 1400, "height": 1000})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    for check_one in (focus, unfolded, selection, scrolling, pausing, hidden_tab, tab_stops, copying, searching):
        with facts.about(check_one.__name__):
            on_a_page(context, urls["stall"], check_one, urls, facts)
    with facts.about("copy buttons of a trace"):
        on_a_page(context, urls["lost"], copying, urls, facts)
    for check_one in (below_a_prefix, traffic):
        with facts.about(check_one.__name__):
            check_one(context, urls, facts)
    facts.expect(not faults, "in use: the browser complains of nothing", faults[:3])
    context.close()
    for check_one in (without_scripts, hostile):
        with facts.about(check_one.__name__):
            check_one(browser, urls, facts)


def on_a_page(context, url, check_one, urls, facts):
    page = context.new_page()
    try:
        page.goto(url)
        check_one(page, urls, facts)
    finally:
        # Its stream would take one of the six connections that the browser opens to a server.
        page.close()


def stays_focused(page, selector, what, facts):
    page.locator(selector).first.evaluate("it => { it.focus(); window.focused = it; }")
    wait_for(page, "shown", UPDATES)
    stays = page.evaluate("document.activeElement === window.focused")
    facts.expect(stays, f"the focus stays on {what} over {UPDATES} updates",
                 page.evaluate("document.activeElement.outerHTML.slice(0, 200)"))


def focus(page, urls, facts):
    stays_focused(page, "#incidents a.runbook", "a link of an incident", facts)
    stays_focused(page, "#incidents summary", "a summary", facts)


def unfolded(page, urls, facts):
    page.locator("#incidents summary").first.click()
    wait_for(page, "shown", UPDATES)
    facts.expect(page.locator("#incidents details").first.evaluate("it => it.open"),
                 f"a text for the incident channel stays unfolded over {UPDATES} updates")


def selection(page, urls, facts):
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#incidents .first'))")
    selected = page.evaluate("String(getSelection())")
    wait_for(page, "patches", UPDATES)
    facts.expect(page.evaluate("String(getSelection())") == selected and selected,
                 f"a selected text stays selected over {UPDATES} updates", page.evaluate("String(getSelection())"))
    shown = page.evaluate("window.seen.shown")
    page.evaluate("getSelection().removeAllRanges()")
    page.wait_for_function("shown => window.seen.shown > shown", arg=shown)


def scrolling(page, urls, facts):
    heading = "document.getElementById('hops-h').getBoundingClientRect().top"
    page.evaluate("document.getElementById('hops-h').scrollIntoView()")
    before = page.evaluate(heading)
    wait_for(page, "shown", UPDATES)
    after = page.evaluate(heading)
    facts.expect(abs(after - before) < 40, f"what is being read stays in place over {UPDATES} updates",
                 f"it moved from {before:.0f} to {after:.0f}")
    facts.expect(page.evaluate("scrollY") > 0, "the page does not jump to its top")


def pausing(page, urls, facts):
    wait_for(page, "shown", 1)
    page.locator("#pause").click()
    text, at = (page.evaluate(script) for script in
                ("document.querySelector('#traces').textContent", "document.getElementById('live').dataset.at"))
    # The daemon has something new meanwhile.
    newest = lambda: page.request.get(urls["stall"] + "?format=json&limit=1").json()["traces"][0]["id"]
    first = newest()
    for _ in range(200):
        if newest() != first:
            break
        page.wait_for_timeout(100)
    facts.expect(page.evaluate("document.getElementById('live').dataset.at") == at, "pause holds the page")
    # Ages are counted on.
    ids = "Array.from(document.querySelectorAll('#traces tbody .id a'), (it) => it.textContent).join()"
    held = page.evaluate(ids)
    shown = page.evaluate("window.seen.shown")
    page.locator("#pause").click()
    page.wait_for_function("shown => window.seen.shown > shown", arg=shown)
    facts.expect(text and page.evaluate(ids) != held, "resume shows what is new")


def hidden_tab(page, urls, facts):
    wait_for(page, "patches", 1)
    hide = """hidden => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(hide, True)
    states = page.evaluate("window.seen.streams.map((it) => it.readyState)")
    facts.expect(states and set(states) == {2}, "a hidden tab has closed its stream", states)
    page.evaluate(hide, False)
    wait_for(page, "patches", 1)


def tab_stops(page, urls, facts):
    page.locator("#pause").click()
    for stops in range(1, 40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('#incidents a')"):
            print(f"tab stops up to the first link of the incidents: {stops}")
            break
    facts.expect(stops < 15, "few Tab stops come before the incidents", stops)
    page.reload()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    facts.expect(page.evaluate("document.activeElement.closest('#incidents') !== null"),
                 "the skip link leads to the incidents",
                 page.evaluate("document.activeElement.outerHTML.slice(0, 200)"))


def copying(page, urls, facts):
    pause = page.locator("#pause")
    if pause.is_visible():
        pause.click()
    page.evaluate("for (const it of document.querySelectorAll('details')) it.open = true")
    buttons = page.locator("button.copy")
    facts.expect(buttons.count() > 0, "the page has copy buttons", page.url)
    for number in range(buttons.count()):
        button = buttons.nth(number)
        wanted = page.evaluate("it => document.querySelector(it.dataset.copy).textContent", button.element_handle())
        page.evaluate("navigator.clipboard.writeText('')")
        button.click()
        page.wait_for_function("it => it.textContent !== 'copy'", arg=button.element_handle())
        copied = page.evaluate("navigator.clipboard.readText()")
        facts.expect(wanted and copied == wanted, "a copy button copies its text", (wanted[:80], copied[:80]))


def searching(page, urls, facts):
    trace = urlsplit(urls["lost"]).path.rsplit("/", 1)[1]
    page.goto(urls["lost"])
    tag = page.locator("h2:text-is('Tag') + p").text_content().strip()
    lists = urljoin(urls["lost"], "recent")
    for what, text in (("an id with dashes", str(uuid.UUID(trace))), ("a whole tag", tag)):
        page.goto(lists)
        page.locator("#find-id").fill(text)
        with page.expect_navigation():
            page.locator("#find-id").press("Enter")
        found = urlsplit(page.url).path.rsplit("/", 1)[1].replace("-", "")
        facts.expect(found == trace.replace("-", ""), f"the search box finds a trace by {what}",
                     f"{page.url}: {page.locator('main').inner_text()[:200]}")


LINKS = """Array.from(document.querySelectorAll("a[href], link[href], script[src], form[action]"),
  (it) => [it.getAttribute("href") || it.getAttribute("src") || it.getAttribute("action"), it.tagName])"""


def below_a_prefix(context, urls, facts):
    parts = urlsplit(urls["leak"])
    with Proxy(f"{parts.scheme}://{parts.netloc}") as proxy:
        page = context.new_page()
        answers = {}
        for path in ("/traces/recent", urlsplit(urls["lost"]).path, "/runbook?tenant=acme&stage=transit",
                     "/traces/recent?tenant=acme&outcome=lost", "/no/such/page"):
            page.goto(proxy.address + path)
            for link, element in page.evaluate(LINKS):
                url, fragment = urldefrag(urljoin(page.url, link))
                if urlsplit(url).netloc != urlsplit(page.url).netloc:
                    facts.expect(urlsplit(url).scheme == "https", "a link out of the probe is one to a console", url)
                    continue
                facts.expect(urlsplit(url).path.startswith(PREFIX + "/"), f"a link of {path} stays below the prefix", link)
                if element == "FORM":
                    continue
                if url not in answers:
                    answers[url] = page.request.get(url)
                answer = answers[url]
                # The page itself may be one that says that there is none.
                facts.expect(answer.ok or url == page.url, f"a link of {path} works", f"{answer.status} for {link}")
                if fragment and answer.ok:
                    facts.expect(f'id="{fragment}"' in answer.text(), f"a link of {path} leads to a part that exists", link)
        page.goto(proxy.address + "/traces/recent")
        wait_for(page, "patches", 1)
        print(f"links and assets below a path prefix: {len(answers)}")
        facts.expect(not proxy.outside, "nothing is requested outside of the prefix", proxy.outside)
        page.close()


def traffic(context, urls, facts):
    parts = urlsplit(urls["healthy"])
    with Proxy(f"{parts.scheme}://{parts.netloc}") as proxy:
        page = context.new_page()
        address = proxy.address + "/traces/recent"
        sent = page.goto(address).request.sizes()["responseBodySize"]
        wait_for(page, "patches", 1)
        before, patches = proxy.passed.total(), page.evaluate("window.seen.patches")
        page.wait_for_timeout(OPEN_FOR_S * 1000)
        took, patches = proxy.passed.total() - before, page.evaluate("window.seen.patches") - patches
        fetched = sent * OPEN_FOR_S // FETCHED_EVERY_S
        print(f"open for {OPEN_FOR_S} s: {took} bytes in {patches} updates; fetched every {FETCHED_EVERY_S} s: {fetched}")
        facts.expect(patches > 0 and took < fetched, "an open page takes less than fetching it again would",
                     f"{took} of {fetched} bytes in {patches} updates")
        page.close()


def without_scripts(browser, urls, facts):
    faults = []
    context = open_context(browser, faults, viewport={"width": 1400, "height": 1000}, java_script_enabled=False)
    page = context.new_page()
    page.goto(urls["stall"])
    facts.expect(page.locator("noscript meta[http-equiv=refresh]").count() == 1
                 or "<noscript><meta http-equiv=\"refresh\"" in page.content(),
                 "without scripts the page refreshes by itself")
    for part in ("#now", "#incidents .incident .where", "#tenants svg", "#traces tbody tr", "#hops table", "#probe"):
        facts.expect(page.locator(part).first.is_visible(), f"without scripts there is {part}")
    facts.expect(page.locator("button.copy:visible, #pause:visible").count() == 0,
                 "without scripts no button is shown that would need them")
    page.locator("details.filters summary").click()
    page.locator("details.filters select[name=tenant]").select_option("globex")
    page.locator("details.filters button[type=submit]").click()
    page.wait_for_url("**tenant=globex**")
    owners = page.locator("#rows tbody .id small").all_text_contents()
    facts.expect(owners and all(it.startswith("globex") for it in owners), "without scripts the filter works", owners[:3])
    facts.expect(not faults, "without scripts the browser complains of nothing", faults[:3])
    context.close()


def hostile(browser, urls, facts):
    faults = []
    context = open_context(browser, faults, viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    recent = urls["hostile"]
    text = "%E2%80%AE%22'%3E%3C%2Fscript%3E%3Cscript%3Ewindow.owned%3D1%3C%2Fscript%3E"
    root = recent.removesuffix("traces/recent")
    addresses = [recent, f"{recent}?tenant={text}", f"{recent}?since={text}", f"{recent}?{text}=1",
                 f"{root}traces/find?id={text}", f"{root}traces/{text}", f"{root}runbook?tenant={text}", f"{root}{text}"]
    traces = page.request.get(recent + "?format=json&limit=1").json()["traces"]
    addresses.append(f"{root}traces/{traces[0]['id']}")
    for address in addresses:
        page.goto(address)
        if address == recent:
            facts.expect("<script>" in page.locator("#probe").text_content(), "an error text is shown as it is")
        own = page.evaluate("""Array.from(document.querySelectorAll("script, img, iframe, object"))
            .filter((it) => !(it.src || "").includes("/static/")).length""")
        what = address.removeprefix(root)[:60]
        facts.expect(own == 0 and page.evaluate("window.owned === undefined"), f"hostile text does nothing at {what}")
        facts.expect("\u202e" not in page.content(), f"hostile text does not turn the direction of writing at {what}")
    # Each of them is refused, with a page that says so, which the console tells as an error.
    faults = [fault for fault in faults if "Failed to load resource" not in fault]
    facts.expect(not faults, "hostile text: the browser complains of nothing", faults[:3])
    context.close()
