#!/usr/bin/env python3
"""Measures what a newcomer and a contributor wait for, in a clean clone in a temporary folder, and prints one table.

The crates are downloaded beforehand and are no part of it. What is not committed is not measured. See docs/benchmarks.md.

usage: build_time.py [--only NAME]...     (names: dev, release, edit; edit needs what release makes)
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
CARGO = os.environ.get("CARGO", "cargo")
# A line of the core, on which most of the crate depends, and what an edit makes of it.
EDITED = "src/domain/tracker.rs"
LINE, EDIT = "const MAX_CHECKPOINTS: usize = 256;", "const MAX_CHECKPOINTS: usize = 255;"
DELIVERED_WITHIN = 120


def processor_time():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def first_delivered_trace(clone):
    """`cargo run -- demo` until the page shows a canary that was delivered."""
    command = [CARGO, "run", "--locked", "--quiet", "--", "demo", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, cwd=clone, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as demo:
        try:
            said = next((line for line in demo.stdout if line.startswith("listening on ")), None)
            if said is None:
                sys.exit("build_time: the demo ended before it listened")
            url = said.removeprefix("listening on ").strip() + "/traces/recent?format=json"
            # Whatever proxy the environment names, this address is here.
            http = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            until = time.monotonic() + DELIVERED_WITHIN
            while time.monotonic() < until:
                with http.open(url) as answer:
                    if any(trace["outcome"] == "delivered" for trace in json.load(answer)["traces"]):
                        return
                time.sleep(0.2)
            sys.exit(f"build_time: no canary was delivered within {DELIVERED_WITHIN} s")
        finally:
            # `cargo run` becomes the program, so this is the demo.
            demo.terminate()


def release_build(clone):
    subprocess.run([CARGO, "build", "--locked", "--quiet", "--release"], cwd=clone, check=True)


def edited_release(clone):
    file = clone / EDITED
    text = file.read_text()
    if LINE not in text:
        sys.exit(f"build_time: {EDITED} has no line `{LINE}` to edit")
    file.write_text(text.replace(LINE, EDIT))
    release_build(clone)
    subprocess.run([clone / "target/release/traceprobe", "--version"], check=True, stdout=subprocess.DEVNULL)


MEASURED = {
    "dev": ("clean clone, `cargo run -- demo` to the first delivered trace", first_delivered_trace),
    "release": ("clean `cargo build --release`", release_build),
    "edit": ("edit in `src/domain/`, to the running release binary", edited_release),
}


def main():
    parser = argparse.ArgumentParser(description="Measure build times in a clean clone.")
    parser.add_argument("--only", action="append", choices=MEASURED)
    names = parser.parse_args().only or list(MEASURED)
    # The clone's own folder, whatever the environment says.
    os.environ.pop("CARGO_TARGET_DIR", None)
    with tempfile.TemporaryDirectory(prefix="traceprobe-build-time-") as folder:
        clone = pathlib.Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        subprocess.run([CARGO, "fetch", "--locked", "--quiet"], cwd=clone, check=True)
        rows = []
        for name in names:
            what, measure = MEASURED[name]
            print(f"build_time: {what}", file=sys.stderr, flush=True)
            began, before = time.monotonic(), processor_time()
            measure(clone)
            rows.append((what, time.monotonic() - began, processor_time() - before))
    print(f"| what, on {os.cpu_count()} processors | wall | processor time |\n|---|--:|--:|")
    for what, wall, processor in rows:
        print(f"| {what} | {wall:.0f} s | {processor:.0f} s |")


main()
