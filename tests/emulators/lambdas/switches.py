"""Faults that the driver turns on and off while the functions run.

Their names are in the file `faults` beside TRUTH_FILE, separated by blanks: `archive-orc`, `give-up`. A file, because a
function whose environment changes starts a new process, for which a canary would wait.
"""

import os
from pathlib import Path


def is_on(name: str) -> bool:
    path = Path(os.environ["TRUTH_FILE"]).with_name("faults")
    return path.exists() and name in path.read_text().split()
