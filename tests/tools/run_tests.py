#!/usr/bin/env python3
"""Runs every test of the crate, as `cargo test` does, but test binaries that wait run beside each other.

Most tests wait: for canaries to arrive, for a deadline to pass. So there are lanes; in each, one binary follows the other.
What calculates runs before them, or at low priority beside them, so that it delays nobody. Each binary's output is
printed whole when it has ended.

usage: run_tests.py [options of cargo test that select features or a profile]

Environment: CARGO (default: cargo).
"""

import concurrent.futures
import json
import os
import pathlib
import resource
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CARGO = os.environ.get("CARGO", "cargo")

# Phases, each begun when the one before has ended. A phase is lanes that run beside each other; a lane is binaries that run
# one after the other. The seconds are wall clock and processor time of each in a debug build on two cores. Two lanes that
# start programs, and no more: what starves is not what is tested.
PHASES = [
    # These calculate: 22 and 45; 80 and 29.
    [["traceprobe", "architecture", "vocabulary", "shipped"], ["model"]],
    [
        ["emulators"],  # 120 to 160 and 48
        ["prometheus", "sandbox", "traps", "demo"],  # 38 and 10; 14 and 3; 18 and 3; 73 and 27
    ],
    [["restart"], ["daemon"]],  # 89 and 80; 98 and 29
    # Measures how exact intervals are, so nothing runs beside it: 23 and 7.
    [["accuracy"]],
]
# Takes only what the others leave.
STEPS_BACK = {"model"}


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
    command = ["nice", "-n", "19", executable] if name in STEPS_BACK else [executable]
    # As Cargo runs them: in the folder of the package.
    environment = {**os.environ, "CARGO_MANIFEST_DIR": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace")
    took = time.monotonic() - began
    # One call, so that no other lane writes between.
    said = f"\n     Running {name} (took {took:.0f} s)\n{done.stdout.rstrip()}\n"
    if done.returncode:
        said += f"error: the test binary {name} ended with {done.returncode}\n"
    sys.stdout.write(said)
    sys.stdout.flush()
    return done.returncode == 0


def run_lane(names, executables):
    """Returns the names of those that failed. A failure does not keep the next from running."""
    return [name for name in names if not run(name, executables[name])]


def main():
    options = sys.argv[1:]
    began = time.monotonic()
    executables = build(options)
    planned = [name for phase in PHASES for lane in phase for name in lane]
    if sorted(planned) != sorted(executables):
        unplanned, gone = set(executables) - set(planned), set(planned) - set(executables)
        sys.exit(f"run_tests: PHASES in {__file__} lacks {sorted(unplanned)} and names {sorted(gone)}, which are not built")
    print(f"tests: compiled in {time.monotonic() - began:.0f} s", flush=True)
    began = time.monotonic()
    failed = []
    for phase in PHASES:
        with concurrent.futures.ThreadPoolExecutor(len(phase)) as pool:
            for names in pool.map(lambda lane: run_lane(lane, executables), phase):
                failed += names
    # Examples in the documentation. Cargo has compiled already what they need.
    if subprocess.run([CARGO, "test", *options, "--doc"], cwd=ROOT).returncode:
        failed.append("the examples in the documentation")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"\ntests: {len(executables)} binaries ran in {time.monotonic() - began:.0f} s; "
          f"{used.ru_utime + used.ru_stime:.0f} s of processor time with compiling", flush=True)
    if failed:
        sys.exit(f"run_tests: failed: {', '.join(failed)}")


main()
