#!/usr/bin/env python3
"""Changes the tracker in one place at a time, in a copy of the tree, and checks that a test notices.

Each mutant is a rule that is left out or turned round. The model runs first, then the unit tests of the domain. Prints
a table: which of them caught the mutant, and for the model the seed and the canary. Fails if none did.

usage: mutants.py [names of mutants]
       mutants.py --check    only check that each text that a mutant replaces occurs once

Environment: CARGO (default: cargo); MUTANTS_MODEL, MUTANTS_TESTS: other commands, run in the copy of the tree.
"""

import fcntl
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
COPY = ROOT / "target" / "mutants" / "tree"
CARGO = os.environ.get("CARGO", "cargo")
MODEL = os.environ.get("MUTANTS_MODEL", f"{CARGO} test --locked --test model")
TESTS = os.environ.get("MUTANTS_TESTS", f"{CARGO} test --locked --lib domain::")
# A mutant may loop.
TIMEOUT = int(os.environ.get("MUTANTS_TIMEOUT", "900"))

TRACKER = "src/domain/tracker.rs"
PUT = "src/domain/tracker/put.rs"
COPIES = "src/domain/tracker/copies.rs"
DECIDE = "src/domain/tracker/decide.rs"
EXPIRY = "src/domain/tracker/expiry.rs"
READABILITY = "src/domain/tracker/readability.rs"
RESTART = "src/domain/tracker/restart.rs"
SIGHTED = "src/domain/tracker/sighted.rs"
NAMESAKE = "src/domain/tracker/namesake.rs"
SOURCES = "src/domain/tracker/sources.rs"
TRACE = "src/domain/trace.rs"
CRITERIA = "src/domain/conditions/criteria.rs"
STUCK = "src/domain/conditions/stuck.rs"
INCIDENTS = "src/domain/incidents/mod.rs"
EPISODE = "src/domain/incidents/episode.rs"
RECOVERY = "src/domain/incidents/recovery.rs"
AFFECTED = "src/domain/incidents/canaries.rs"

# Name, file, text that occurs once, and what replaces it.
MUTANTS = [
    # What cannot be read.
    ("a tag by luck gives its shape credit", READABILITY, "if !found_in.decoded && found_in.verbatim {", "if !found_in.decoded {"),
    ("a tag by luck is readable", READABILITY, "if found_in.decoded || found_in.verbatim {", "{"),
    ("any readable canary lifts", READABILITY, "is_some_and(|newest| *newest > planned_at)", "is_some()"),
    ("no readable canary lifts", READABILITY, "is_some_and(|newest| *newest > planned_at)", "is_some_and(|_| false)"),
    ("credit is for all tenants", READABILITY, "!self.credited.contains(&(tenant, kind.shape))", "!self.credited.iter().any(|(_, of)| *of == kind.shape)"),
    ("no shape has credit", READABILITY, "&& !self.credited.contains(&(tenant, kind.shape))", "&& kind.shape >= Shape::NONE"),
    ("a later canary lifts what was read in part", READABILITY, "(!lifted || kind.in_part && self.is_of(tenant, kind.shape))", "!lifted"),
    ("no later canary lifts what was read in part", READABILITY, "kind.in_part && self.is_of(tenant, kind.shape)", "kind.in_part"),
    ("a record withholds what was planned after it", READABILITY, "&& part.arrived_by >= planned_at", "&& part.arrived_by <= planned_at"),
    ("a labelled record concerns everyone", READABILITY, "owner.is_none_or(|owner| owner == tenant)", "owner.is_none_or(|_| true)"),
    ("the first record of a shape stays the last", READABILITY, "if last.arrived_by < part.arrived_by {", "if last.arrived_by > part.arrived_by {"),
    ("what is withheld is proven", TRACKER, "            if withheld {\n", "            if false {\n"),
    ("what is withheld is no gap", TRACKER, "            if withheld {\n                visit.gap_since_poll = true;", "            if withheld {"),
    ("unreadable is called blind", DECIDE, "if trace.visit(end).withheld => {", "if false && trace.visit(end).withheld => {"),
    ("a tenant is blind at once", TRACKER, "if since < now {", "if since < now + std::time::Duration::from_secs(9) {"),
    ("the dead are blind, too", TRACKER, "Some(_) => false,\n        };\n        let waiting", "Some(_) => true,\n        };\n        let waiting"),
    ("a source that is blind for a tenant is waited for", SOURCES, " && !self.readability.blind().contains_key(&tenant)", ""),
    ("a mention is a copy", COPIES, "&& (is_whole || is_mentioned)", "&& is_mentioned"),
    ("a known mention explains no other", COPIES, "(is_whole || is_mentioned)", "is_whole"),
    ("a mention that is found first stays a copy", COPIES, "self.demote_mentions(source, stage, sighting, events);", "if false { self.demote_mentions(source, stage, sighting, events); }"),
    ("a mention in the same poll may be the arrival", TRACKER, "whole.contains(&seen.tag.trace) && !is_whole(seen)", "false"),
    # Copies that may be moved.
    ("copies are checked twice at once", COPIES, "let at = now + self.settings.copy_recheck;", "let at = now;"),
    ("what was deleted is compared with", COPIES, "gone.gone = true;", "let _ = gone;"),
    ("only the first copy is checked again", COPIES, "if round == Round::Last { answer(&copy.locator) }", "if false { answer(&copy.locator) }"),
    ("what a denied check hides is charged", COPIES, "(_, Some(Presence::Unknown)) => {\n                    self.settle(&copy, CopyStanding::Uncharged(UnchargedReason::Unknown), events);", "(_, Some(Presence::Unknown)) => {\n                    self.settle(&copy, CopyStanding::Duplicate, events);"),
    ("a check does not go on after a restart", RESTART, "self.resume_checks(id, now);", ""),
    # What was never seen.
    ("never seen is lost", DECIDE, "if !self.has_seen(trace.tenant, end) {", "if false {"),
    ("a stage never seen names the loss", DECIDE, " || !self.has_seen(trace.tenant, **stage)", ""),
    ("an end never seen makes a dead letter final", DECIDE, "self.has_seen(trace.tenant, end)\n                &&", "true &&"),
    ("a hop to a stage never seen is missing", DECIDE, "let seen = self.sources[self.topology.source_of(tenant, stage)].has_seen(tenant);", "let seen = true;"),
    ("a source never seen is waited for", SOURCES, ".contains_key(&tenant) && self.has_seen(tenant)", ".contains_key(&tenant)"),
    ("never seen ends the wait for side stages", DECIDE, "Outcome::Unobserved(reason) if *reason != UnobservedReason::NeverSeen => return true", "Outcome::Unobserved(_) => return true"),
    ("a tag by luck shows the source", SIGHTED, "if (decoded || verbatim) && !state.has_seen(tenant)", "if (decoded || !verbatim || verbatim) && !state.has_seen(tenant)"),
    ("what was seen is not saved", SIGHTED, "self.outbox.note_seen(source, tenant);", ""),
    ("what was seen is not restored", RESTART, "if let Some((source, tenant)) = source.zip(tenant) {", "if let Some((source, tenant)) = source.zip(tenant).filter(|_| false) {"),
    # Missing, abandoned, unknown tenants.
    ("missing counts from the earliest arrival", TRACE, "let due = begun.latest + topology.stage(stage).missing_after;", "let due = begun.earliest + topology.stage(stage).missing_after;"),
    ("what was never taken is missing", TRACE, ".filter(|_| self.taken()) else", " else"),
    ("what was abandoned is opened again", DECIDE, "            || visit.hop == Hop::Unjudged\n", ""),
    ("a label hides a leak of an unknown tenant", SIGHTED, ".or(spec.owner.tenant())", ""),
    ("an unknown tenant never leaks", SIGHTED, "if known || found_with.is_none() {", "if known || found_with.is_none() || found_with.is_some() {"),
    ("an unknown tenant always leaks", SIGHTED, "if known || found_with.is_none() {", "if known {"),
    ("a process under our name is a previous run", NAMESAKE, "if planned_at < self.began {", "if planned_at >= self.began {"),
    # Outcomes, hops and restarts.
    ("an ambiguous put is judged like any other", DECIDE, "        if !trace.taken() {\n            return expired", "        if false {\n            return expired"),
    ("late by the latest instant", DECIDE, "if arrived.earliest > deadline { Outcome::Late }", "if arrived.latest > deadline { Outcome::Late }"),
    ("a watermark at the deadline proves absence", TRACE, "is_some_and(|until| until > deadline)", "is_some_and(|until| until >= deadline)"),
    ("a dead letter waits for the end for ever", DECIDE, "(by_then || expired).then_some", "by_then.then_some"),
    ("a refused canary is overdue on its hop", DECIDE, "if !proven || counted || !trace.taken() {\n            return None;\n        }\n        events.push(Event::HopOverdue", "if !proven || counted {\n            return None;\n        }\n        events.push(Event::HopOverdue"),
    ("inverted within the intervals", DECIDE, "if arrived.latest < begun.earliest {", "if arrived.latest < begun.latest {"),
    ("unjudged without a gap", DECIDE, "!counted && visit.gap_since_poll && target", "!counted && target"),
    ("the copy that is listed first arrived first", TRACKER, ", seen.certainly_by(allowance))", ", ())"),
    ("a poll proves what it was not for", SOURCES, "retain(|_, since| *since > revision)", "retain(|_, _| false)"),
    ("an older copy changes nothing", SIGHTED, "arrival.interval.earliest.min(stored.interval.earliest)", "arrival.interval.earliest"),
    ("a restart counts overdue canaries again", RESTART, "        trace.judgement = Judgement::Slow;\n", "        trace.judgement = Judgement::Pending;\n"),
    ("no grace after a restart", EXPIRY, "None => usual.max(since + self.settings.grace),", "None => usual,"),
    ("a refusal outweighs a sighting", PUT, "PutResult::Refused { .. } if trace.taken() =>", "PutResult::Refused { .. } if trace.ended.is_some() =>"),
    ("a retried put is charged to the pipeline", PUT, "trace.put = Put::Accepted { at: now };\n                trace.doubled_by_us |= doubled;", "trace.put = Put::Accepted { at: now };"),
    ("what was given up is not looked for", DECIDE, "Some(*at + self.settings.give_up).filter", "Some(*at).filter"),
    # Conditions.
    ("all tenants have the same window", CRITERIA, "Self::WINDOW.max(interval * Self::WINDOW_CANARIES)", "Self::WINDOW"),
    ("a stage never seen is stuck", STUCK, "history.has_seen(stage) && !history.is_blind(stage)", "!history.is_blind(stage)"),
    ("a stall behind a blind stage is not told", STUCK, "path.filter(|stage| can_tell(history, *stage)).collect();", "path.filter(|stage| history.has_seen(*stage)).collect();"),
    ("an earlier stall of one tenant is the beginning of that of all", STUCK, "trace.planned_at + criteria.slo > last);", "trace.id() == trace.id() || last > last);"),
    ("what may not have been taken is stuck", STUCK, "trace.taken() && last", "last"),
    ("one overdue canary is stuck", STUCK, "OVERDUE_OF_TENANT: usize = 2;", "OVERDUE_OF_TENANT: usize = 1;"),
    ("a stall may be older than the last passage", STUCK, "last_passage.is_none_or(|last| trace.planned_at > last);", "true;"),
    ("two tenants are a stall of all", STUCK, "STALLED_TENANTS: usize = 3;", "STALLED_TENANTS: usize = 2;"),
    # Incidents.
    ("what follows from another problem is over", INCIDENTS, "Some(problem) if episode.end().is_none() =>", "Some(problem) if episode.end().is_none() && problem.of == Some(usize::MAX) =>"),
    ("what remains is a cause", INCIDENTS, " && !self.is_remainder(other, problem, map)", ""),
    ("an episode begins before the end of the last one", EPISODE, "floor.is_none_or(|floor| *at >= floor);", "floor.is_none_or(|floor| *at != floor);"),
    ("the last affected canary is forgotten", EPISODE, "self.condition.last.max(problem.last)", "problem.last"),
    ("an episode ends at once", EPISODE, "&& now.since(well_from) >= over_after", "&& well_from + over_after >= since"),
    ("a stall ends with what arrived before", RECOVERY, ".filter(|at| *at > last).min()", ".min()"),
    ("any canary proves that nothing is slow", RECOVERY, "=> trace.judgement == Judgement::Good,", "=> trace.judgement != Judgement::Pending,"),
    ("what cannot be read is well after a restart", RECOVERY, "is_read.then_some(snapshot.at)", "(is_read || snapshot.at >= last).then_some(snapshot.at)"),
    ("a restart counts canaries again", AFFECTED, "counted_before: last, last }", "counted_before: None, last }"),
]


def check_texts():
    """Fails if what a mutant replaces no longer occurs, or not only once."""
    faults = []
    for name, file, old, _ in MUTANTS:
        path = ROOT / file
        count = path.read_text().count(old) if path.is_file() else 0
        if count != 1:
            faults.append(f"mutants: {name}: `{old}` occurs {count} times in {file}; it must occur once")
    if faults:
        sys.exit("\n".join(faults))


def copy_tree():
    """Brings the copy up to date without touching what is the same, so that little is compiled again."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in filter(None, files):
        source, target = ROOT / name, COPY / name
        if not source.is_file() or (target.is_file() and target.read_bytes() == source.read_bytes()):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def run(command):
    """Whether a command fails, and its output. `None`: it does not compile."""
    environment = {**os.environ, "CARGO_TARGET_DIR": str(COPY.parent / "target")}
    # With its own process group, so that what it started ends with it.
    running = subprocess.Popen(command, shell=True, cwd=COPY, env=environment, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True)
    try:
        output, _ = running.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
        return True, "it did not end"
    if "could not compile" in output or "aborting due to" in output:
        return None, output
    return running.returncode != 0, output


def try_mutant(name, file, old, new):
    """Returns who caught it; `None` if no one did."""
    path = COPY / file
    text = path.read_text()
    path.write_text(text.replace(old, new))
    try:
        for tests, command in [("model", MODEL), ("tests", TESTS)]:
            failed, output = run(command)
            if failed is None:
                sys.exit(f"mutants: {name} does not compile:\n{output}")
            if failed:
                found = re.search(r"seed \d+, \d+ canaries(, canary \d+)?", output) if tests == "model" else None
                failing = re.search(r"^test (\S+) \.\.\. FAILED", output, re.MULTILINE)
                panic = re.search(r"panicked at ([^\n]*)", output)
                detail = found or (failing if tests == "tests" else None) or panic
                return f"{tests}: {(detail.group(0) if detail else output.strip()[-60:])}"
    finally:
        path.write_text(text)
    return None


def main():
    names = sys.argv[1:]
    check_texts()
    if names == ["--check"]:
        return
    unknown = set(names) - {mutant[0] for mutant in MUTANTS}
    if unknown:
        sys.exit(f"mutants: there is none named {sorted(unknown)}")
    COPY.mkdir(parents=True, exist_ok=True)
    # Kept until the end.
    lock = (COPY.parent / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("mutants: another one is running, and would change the same tree")
    copy_tree()
    for command in [MODEL, TESTS]:
        failed, output = run(command)
        if failed is not False:
            sys.exit(f"mutants: `{command}` fails without any mutant:\n{output[-3000:]}")
    survived = []
    for mutant in MUTANTS:
        if names and mutant[0] not in names:
            continue
        began = time.monotonic()
        caught = try_mutant(*mutant)
        print(f"{mutant[0]:50} {caught or 'SURVIVED'} ({time.monotonic() - began:.0f} s)", flush=True)
        survived += [mutant[0]] * (caught is None)
    if survived:
        sys.exit(f"mutants: no test noticed {survived}")


main()
