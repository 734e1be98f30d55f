"""Records when the pipeline stored a canary at a stage.

One line of JSON per tag and stage is appended to the file TRUTH_FILE:

    {"tag": "zqtp2...", "stage": "archive", "before_us": 1766..., "after_us": 1766...}

`before_us` is taken before the request that stores the event and `after_us` after its answer, both in microseconds of
the wall clock, so the true arrival lies between them. A tag that was stored twice has two lines.
"""

import json
import os
import re
import time

# Version 1 or 2. The id is followed by 24 or 29 more digits.
TAG = re.compile(r"zqtp(?:1[0-9a-f]{32}[0-9a-v]{24}|2[0-9a-f]{32}[0-9a-v]{29})", re.IGNORECASE)


def now_us() -> int:
    return time.time_ns() // 1000


def tags_in(texts) -> list[str]:
    return [tag.lower() for text in texts for tag in TAG.findall(text)]


def record(stage: str, texts, before_us: int, after_us: int) -> None:
    """Records that the events with these texts arrived at `stage` between the two instants."""
    lines = "".join(
        json.dumps({"tag": tag, "stage": stage, "before_us": before_us, "after_us": after_us}) + "\n"
        for tag in tags_in(texts)
    )
    if not lines:
        return
    # A single write in append mode, so that lines of several processes do not mix.
    descriptor = os.open(os.environ["TRUTH_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, lines.encode())
    finally:
        os.close(descriptor)
