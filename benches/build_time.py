#!/usr/bin/env python3
"""Measures build times in a clean clone in a temporary folder, and prints one table.

Crates are downloaded before the measurement. Uncommitted changes are not measured. See docs/benchmarks.md.

usage: build_time.py [--only NAME]...     (names: dev, release, edit; edit needs the build of release)
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
# A line of the domain, on which most of the crate depends, and its edited form.
EDITED = "src/domain/tracker.rs"
LINE, EDIT = "const MAX_CHECKPOINTS: usize = 256;", "const MAX_CHECKPOINTS: usize = 255;"
DELIVERED_WITHIN = 120


def processor_time():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def first_delivered_trace(clone):
    """Runs `cargo run -- demo` until the page shows a delivered canary."""
    command = [CARGO, "run", "--locked", "--quiet", "--", "demo", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, cwd=clone, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as demo:
        try:
            line = next((line for line in demo.stdout if line.startswith("listening on ")), None)
            if line is None:
                sys.exit("build_time: the demo ended before it listened")
            url = line.removeprefix("listening on ").strip() + "/traces/recent?format=json"
            # The address is local, so proxies of the environment are ignored.
            http = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            until = time.monotonic() + DELIVERED_WITHIN
            while time.monotonic() < until:
                with http.open(url) as answer:
                    if any(trace["outcome"] == "delivered" for trace in json.load(answer)["traces"]):
                        return
                time.sleep(0.2)
            sys.exit(f"build_time: no canary was delivered within {DELIVERED_WITHIN} s")
        finally:
            # `cargo run` replaces itself with the program, so this ends the demo.
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
    # The build must go into the clone's own folder.
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
