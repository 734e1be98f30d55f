#!/usr/bin/env python3
"""Opens pages of running daemons in Debian's chromium, and checks or draws them. Prints a line for each fact.

usage: drive.py PLAN

PLAN is JSON: `form` is start, brief, short, grid or pictures; `places` lists pages with name, url and the names that the first
screen must show; `docs` is the folder of the documentation, `folder` where further pictures go, or null.
"""

import json
import os
import sys
import time

from playwright.sync_api import Error, sync_playwright

import behaviour
import brief
import pages
import pictures
from facts import Facts
from watchdog import Watchdog

CHROMIUM = "/usr/bin/chromium"
# Seconds for one step and for all of them, by form. They end a browser that hangs, and a slow machine passes: the brief
# form takes 45 on two cores beside a build, and more than 120 on the slowest machine that was met.
LIMITS = {"start": (60, 60), "brief": (120, 420), None: (120, 530)}


def start(playwright):
    if not os.access(CHROMIUM, os.X_OK):
        sys.exit(f"{CHROMIUM} is missing; install it: apt-get install --no-install-recommends chromium")
    try:
        # Without a sandbox of its own, because root may not use it; it opens only pages of this machine.
        return playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
    except Error as error:
        sys.exit(f"{CHROMIUM} does not start; install it again: apt-get install --no-install-recommends chromium\n{error}")


def main():
    plan = json.loads(sys.argv[1])
    step_s, all_s = LIMITS.get(plan["form"], LIMITS[None])
    facts = Facts(Watchdog(step_s, all_s))
    began = time.monotonic()
    with sync_playwright() as playwright:
        browser = start(playwright)
        match plan["form"]:
            case "brief":
                brief.check(browser, plan["places"], facts)
            case "short":
                pages.check(browser, plan["places"], pages.SHORT, facts)
                behaviour.check(browser, {it["name"]: it["url"] for it in plan["places"]}, facts)
            case "grid":
                pages.check(browser, plan["places"], pages.GRID, facts)
            case "pictures":
                pictures.draw(browser, plan["places"], plan["docs"], plan["folder"])
        facts.step("closing the browser")
        browser.close()
    print(f"browser: {plan['form']}, {facts.checked} facts in {time.monotonic() - began:.0f} s; {facts.watchdog.longest()}")
    if facts.faults:
        sys.exit("\n".join(["browser: these do not hold:", *facts.faults]))


main()
