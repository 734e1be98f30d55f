"""Plays a pipeline that writes one format per tenant, in front of MiniStack.

usage: formats.py --dir DIR

It reads the log group of all tenants, puts each canary between ordinary lines, packs them as `packers.py` says, and
writes the result to the tenant's stream and twice to the bucket: as an archive with a prefix per tenant, and as the end
stage under a prefix that all share. Of every tenant, it drops one canary: it then writes the ordinary lines alone.

The first line on stdout is JSON with everything that the test needs. Then it writes until stdin closes. Which canary it
dropped or wrote is in DIR/truth.ndjson.
"""

import argparse
import json
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import deploy
from packers import FORMATS, Format, neighbours
from processes import Child, Port, ministack_is_up, say

BUCKET = "logs"
LOG_GROUP = "/formats"
# The second: whether its absence is proven depends on what the first one showed.
DROPPED = 2
POLL_SECONDS = 0.5
# An event is found this long after its time.
PAST_SECONDS = 20
BESIDE_SECONDS = 5
WRITERS = 3
BEFORE, AFTER = 20, 3
START_SECONDS = 60


class Writer:
    """Writes what a tenant's pipeline would."""

    def __init__(self, aws: deploy.Aws, form: Format, truth: Path) -> None:
        self._kinesis, self._s3 = aws.root("kinesis", deploy.SRE), aws.root("s3", deploy.SRE)
        self._format, self._truth = form, truth
        self._canaries = 0
        self._held: list[str] = []

    def take(self, canary: str) -> None:
        self._canaries += 1
        dropped = self._canaries == DROPPED
        with open(self._truth, "a") as truth:
            truth.write(json.dumps({"canary": canary, "tenant": self._format.tenant, "dropped": dropped}) + "\n")
        if not dropped:
            self._held.append(canary)
        if dropped or len(self._held) >= self._format.batch:
            self._write(self._held)
            self._held = []

    def _write(self, canaries: list[str]) -> None:
        lines = neighbours(BEFORE)
        for canary in canaries:
            lines += [canary, *neighbours(AFTER)]
        changed = self._format.later and self._canaries > DROPPED
        pack = self._format.later if changed else self._format.pack
        self._put(pack(lines))

    def write_beside(self) -> None:
        for pack in self._format.beside:
            self._put(pack([]))

    def _put(self, data: bytes) -> None:
        tenant, now = self._format.tenant, datetime.now(timezone.utc)
        self._kinesis.put_record(StreamName=f"logs-{tenant}", Data=data, PartitionKey=tenant)
        for prefix in (f"archive/{tenant}/{now:%Y/%m/%d/%H}/", f"end/{now:%Y/%m/%d/%H}/{tenant}/"):
            self._s3.put_object(Bucket=BUCKET, Key=f"{prefix}{time.time_ns()}", Body=data)


def create(aws: deploy.Aws) -> None:
    aws.root("logs", deploy.SRE).create_log_group(logGroupName=LOG_GROUP)
    aws.root("s3", deploy.SRE).create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": deploy.REGION})
    for form in FORMATS:
        aws.root("kinesis", deploy.SRE).create_stream(StreamName=f"logs-{form.tenant}", ShardCount=1)


def play(aws: deploy.Aws, truth: Path, ended: threading.Event) -> None:
    """Writes until `ended`. Each tenant's canaries are written one after the other, in the order of the log."""
    logs = aws.root("logs", deploy.SRE)
    writers = {form.tenant: Writer(aws, form, truth) for form in FORMATS}
    seen: set[str] = set()
    beside_at = 0.0
    with ThreadPoolExecutor(WRITERS) as pool:
        while not ended.wait(POLL_SECONDS):
            past = int((time.time() - PAST_SECONDS) * 1000)
            events = logs.filter_log_events(logGroupName=LOG_GROUP, startTime=past)["events"]
            new: dict[str, list[str]] = {}
            for event in events:
                if event["eventId"] not in seen:
                    seen.add(event["eventId"])
                    new.setdefault(event["logStreamName"], []).append(event["message"])
            work = [pool.submit(lambda tenant=tenant: [writers[tenant].take(canary) for canary in new[tenant]])
                    for tenant in new]
            if time.monotonic() >= beside_at:
                beside_at = time.monotonic() + BESIDE_SECONDS
                work += [pool.submit(writer.write_beside) for writer in writers.values()]
            for done in work:
                done.result()


def main() -> int:
    parser = argparse.ArgumentParser(description="A pipeline that writes one format per tenant.")
    parser.add_argument("--dir", type=Path, required=True, help="folder for data and logs")
    home = parser.parse_args().dir.resolve()
    home.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    port = Port()
    aws = deploy.Aws(f"http://127.0.0.1:{port.number}")
    ministack = Child("ministack", "ministack_launcher.py", [str(port.number), str(home / "ministack")], home, {})
    truth = home / "truth.ndjson"
    truth.touch()
    ended = threading.Event()
    try:
        ministack.start()
        ministack.wait_until(lambda: ministack_is_up(aws.endpoint), START_SECONDS)
        create(aws)
        print(json.dumps({
            "aws_endpoint": aws.endpoint,
            "region": deploy.REGION,
            "credentials": {"AWS_ACCESS_KEY_ID": deploy.SRE, "AWS_SECRET_ACCESS_KEY": deploy.ROOT_SECRET},
            "log_group": LOG_GROUP,
            "stream": "logs-{tenant}",
            "bucket": BUCKET,
            "archive_key": "archive/{tenant}/%Y/%m/%d/%H/",
            "end_key": "end/%Y/%m/%d/%H/{tenant}/",
            "truth_file": str(truth),
            "formats": [{"tenant": form.tenant, "expected": form.expected, "shape": form.shape,
                         "batch": form.batch, "interval": form.interval} for form in FORMATS],
        }), flush=True)
        threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
        play(aws, truth, ended)
        return 0
    finally:
        say("ends")
        ministack.stop()


if __name__ == "__main__":
    sys.exit(main())
