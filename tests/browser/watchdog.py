"""Ends the program if a step takes too long, and says which: the browser may never answer, and no wait of Playwright bounds
that."""

import os
import sys
import threading
import time

# How often the time is compared.
TICK_S = 0.5


class Watchdog:
    """Allows each step `step_s`, and all of them together `all_s`."""

    def __init__(self, step_s, all_s):
        self.step_s, self.all_s = step_s, all_s
        self.began = time.monotonic()
        self.current, self.since = "starting", self.began
        # Seconds and name of each step that is over.
        self.steps = []
        threading.Thread(target=self._watch, daemon=True).start()

    def step(self, what):
        now = time.monotonic()
        self.steps.append((now - self.since, self.current))
        self.current, self.since = what, now

    def longest(self):
        took, what = max(self.steps, default=(0, "nothing"))
        return f"longest step {took:.0f} s: {what}"

    def _watch(self):
        while True:
            time.sleep(TICK_S)
            now = time.monotonic()
            for limit, since in ((self.step_s, self.since), (self.all_s, self.began)):
                if now - since > limit:
                    print(f"browser: gave up while {self.current}, which has taken {now - self.since:.0f} s, after "
                          f"{now - self.began:.0f} s in all; the limits are {self.step_s} s and {self.all_s} s",
                          file=sys.stderr, flush=True)
                    # Playwright's server ends the browser when this end of its pipe closes.
                    os._exit(1)
