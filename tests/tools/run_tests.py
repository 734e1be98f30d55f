#!/usr/bin/env python3
"""Runs every test of the crate, as `cargo test` does, but runs test binaries that mostly wait in parallel.

Most tests wait for canaries to arrive or for a deadline to pass, so they run in parallel lanes. Tests that compute run
before them, or at low priority beside them, so that they delay no other. The output of a binary is printed when it has
ended.

On a machine that is too slow or busy, programs starve and their tests fail for the wrong reason. So what fails in a
binary that starts programs is run once more, alone, when all others have ended. What fails again has failed; what
passes is named at the end.

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

# Phases, one after the other. The lanes of a phase run in parallel, the binaries of a lane one after the other. The
# comments give wall clock and processor time in seconds of a debug build on two cores. At most two lanes start
# programs, because starved programs fail tests for the wrong reason.
PHASES = [
    # These compute: 45 and 80; 80 and 57.
    [
        ["traceprobe", "corpus", "hostile", "architecture", "vocabulary", "shipped", "packaging", "troubleshooting", "stalls"],
        ["model", "rules"],
    ],
    # These mostly wait, with two tests at a time each: more would starve the emulators. 250 to 300 and 110; 230 to 290
    # and 120.
    [["emulators"], ["daemon"]],
    # 73 and 27, 14 and 3, 18 and 3; 56 and 23, 38 and 10.
    [["demo", "sandbox", "traps"], ["faults", "prometheus"]],
    # Take both cores: 85 and 155; 165 and 200. Up to seventeen probes are late if they are starved, and alerts say so.
    [["restart", "chain"]],
    # A browser and four daemons, beside which anything else starves: 60 and 25.
    [["browser"]],
    # Measures the accuracy of intervals, so nothing runs beside it: 23 and 7.
    [["accuracy"]],
]
# These run at the lowest priority.
LOW_PRIORITY = {"model"}
# What fails in these is run once more. `chain` does that itself, with what failed only.
TRIED_AGAIN = {"emulators", "daemon", "demo", "sandbox", "traps", "faults", "prometheus", "restart", "browser", "accuracy"}


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


def run(name, executable, arguments=()):
    """Runs one binary, or the tests of it that the arguments select. Returns whether it passed, and what it printed."""
    began = time.monotonic()
    command = ["nice", "-n", "19", executable] if name in LOW_PRIORITY else [executable]
    # In the folder of the package, as Cargo does.
    environment = {**os.environ, "CARGO_MANIFEST_DIR": str(ROOT)}
    done = subprocess.run([*command, *arguments], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    took = time.monotonic() - began
    # One write, so that the output of no other lane comes between.
    report = f"\n     Running {name} (took {took:.0f} s)\n{done.stdout.rstrip()}\n"
    if done.returncode:
        report += f"error: the test binary {name} ended with {done.returncode}\n"
    sys.stdout.write(report)
    sys.stdout.flush()
    return done.returncode == 0, done.stdout


def failures(printed):
    """The tests that a binary names as failed at its end. None if it was ended before it could."""
    _, found, listed = printed.rpartition("\nfailures:\n")
    return [line.strip() for line in listed.split("\n\n")[0].splitlines()] if found else []


def run_lane(names, executables):
    """Runs all binaries of a lane, also after a failure. Returns what those printed that failed, by name."""
    results = {name: run(name, executables[name]) for name in names}
    return {name: printed for name, (passed, printed) in results.items() if not passed}


def run_again(failed, executables):
    """Runs the failed tests once more, alone. Returns the binaries that failed for good, and the tests that passed."""
    for_good, passed_now = [], []
    for name, printed in failed.items():
        tests = failures(printed) if name in TRIED_AGAIN else []
        if not tests:
            for_good.append(name)
            continue
        print(f"\ntests: once more, alone: {', '.join(f'{name} {test}' for test in tests)}", flush=True)
        passed, _ = run(name, executables[name], ["--exact", "--test-threads=1", *tests])
        if passed:
            passed_now += [f"{name} {test}" for test in tests]
        else:
            for_good.append(name)
    return for_good, passed_now


def main():
    options = sys.argv[1:]
    began = time.monotonic()
    executables = build(options)
    planned = [name for phase in PHASES for lane in phase for name in lane]
    if sorted(planned) != sorted(executables):
        unplanned, missing = set(executables) - set(planned), set(planned) - set(executables)
        sys.exit(f"run_tests: PHASES in {__file__} lacks {sorted(unplanned)} and names {sorted(missing)}, "
                 "which are not built")
    print(f"tests: compiled in {time.monotonic() - began:.0f} s", flush=True)
    began = time.monotonic()
    failed = {}
    for phase in PHASES:
        with concurrent.futures.ThreadPoolExecutor(len(phase)) as pool:
            for printed in pool.map(lambda lane: run_lane(lane, executables), phase):
                failed |= printed
    failed, passed_now = run_again(failed, executables)
    # The examples in the documentation. Cargo has compiled their dependencies.
    if subprocess.run([CARGO, "test", *options, "--doc"], cwd=ROOT).returncode:
        failed.append("the examples in the documentation")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"\ntests: {len(executables)} binaries ran in {time.monotonic() - began:.0f} s; "
          f"{used.ru_utime + used.ru_stime:.0f} s of processor time with compiling", flush=True)
    if passed_now:
        print(f"tests: passed only when alone: {', '.join(passed_now)}", flush=True)
    if failed:
        sys.exit(f"run_tests: failed: {', '.join(failed)}")


main()
