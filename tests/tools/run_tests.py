#!/usr/bin/env python3
"""Runs every test of the crate, as `cargo test` does, but the test binaries beside each other instead of in a row.

Most of them wait: for canaries to arrive, for a deadline to pass. Those that calculate run beside them at low priority,
so that they take what the others leave and delay nobody. Each binary's output is printed whole when it has ended.

usage: run_tests.py [--one-at-a-time] [options of cargo test that select features or a profile]

Environment: CARGO (default: cargo).
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CARGO = os.environ.get("CARGO", "cargo")

# Binaries that run beside each other, longest first. A group follows when the one before has ended. What is in no group
# belongs to the first.
GROUPS = [
    ["emulators", "restart", "model", "prometheus"],
    ["daemon", "demo", "sandbox", "traps"],
    ["accuracy"],
]
# What waits for nothing, and how far it steps back.
CALCULATES = {"model", "traceprobe", "architecture", "shipped"}
NICENESS = 10


def build(options):
    """Compiles everything; returns the executables by name."""
    command = [CARGO, "test", *options, "--no-run", "--message-format", "json-render-diagnostics"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    messages = map(json.loads, done.stdout.splitlines())
    return {
        message["target"]["name"]: message["executable"]
        for message in messages
        if message["reason"] == "compiler-artifact" and message["profile"]["test"] and message["executable"]
    }


def run(name, executable):
    """One binary; returns whether it passed."""
    began = time.monotonic()
    command = ["nice", "-n", str(NICENESS), executable] if name in CALCULATES else [executable]
    # As Cargo runs them: in the folder of the package.
    environment = {**os.environ, "CARGO_MANIFEST_DIR": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace") as process:
        said = process.stdout.read()
    took = time.monotonic() - began
    print(f"\n     Running {name} ({took:.0f} s)\n{said.rstrip()}", flush=True)
    if process.returncode:
        print(f"error: test binary {name} failed ({process.returncode})", flush=True)
    return process.returncode == 0


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--one-at-a-time", action="store_true")
    arguments, options = parser.parse_known_args()
    began = time.monotonic()
    executables = build(options)
    if not executables:
        sys.exit("run_tests: Cargo named no test binary")
    print(f"compiled in {time.monotonic() - began:.0f} s", flush=True)
    groups = [[name for name in group if name in executables] for group in GROUPS]
    groups[0] += [name for name in executables if not any(name in group for group in GROUPS)]
    began = time.monotonic()
    failed = []
    for group in groups:
        with concurrent.futures.ThreadPoolExecutor(1 if arguments.one_at_a_time else max(1, len(group))) as pool:
            passed = pool.map(lambda name: run(name, executables[name]), group)
            failed += [name for name, ok in zip(group, passed) if not ok]
    # Examples in the documentation; Cargo has compiled what they need.
    doc = subprocess.run([CARGO, "test", *options, "--doc"], cwd=ROOT)
    if doc.returncode:
        failed.append("the examples in the documentation")
    print(f"\n{len(executables)} test binaries ran in {time.monotonic() - began:.0f} s", flush=True)
    if failed:
        sys.exit(f"run_tests: failed: {', '.join(failed)}")


main()
