"""What was checked, and what did not hold."""

import contextlib

from playwright.sync_api import Error


class Facts:
    def __init__(self, watchdog):
        self.watchdog = watchdog
        self.checked = 0
        self.faults = []

    def expect(self, holds, what, found=""):
        """Notes a fact. All are checked, so that one run names every fault."""
        self.checked += 1
        if not holds:
            self.faults.append(f"FAILED {what}" + (f": {found}" if found != "" else ""))

    def step(self, what):
        """Says what is done next, for whoever reads that it took too long."""
        self.watchdog.step(what)

    @contextlib.contextmanager
    def about(self, what):
        """A fault of the browser, such as a wait that takes too long, is a fact that does not hold."""
        self.step(what)
        try:
            yield
        except Error as error:
            self.expect(False, what, " ".join(str(error).splitlines()[:2]))
