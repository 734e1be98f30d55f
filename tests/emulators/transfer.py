"""Data transfer: from the transit prefix to Google Cloud Storage and on to BigQuery.

Every object is copied into a bucket of Google Cloud Storage under its own key below `transfer/`. The copies are text
stored as gzip, gzip files and plain text in rotation, and every other name has a blank, a percent sign and a non-ASCII
letter. The rows then go into the table by insertAll, every line exactly once. While BigQuery is down the rows wait
here. They are inserted later with the time of that later insert, because that is when they arrive. If an answer is
lost, a query checks whether the rows of that insert, which share one `ingest_time`, are in the table.

usage: transfer.py SETTINGS.json, with AWS credentials in the environment
"""

import gzip
import json
import sys
import time
import uuid
from collections import deque
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bigquery import BigQuery, Failed, Unreachable, timestamp
from gcs import GZIP_ENCODED, GZIP_FILE, PLAIN, Gcs

sys.path.insert(0, str(Path(__file__).resolve().parent / "lambdas"))
import cloud  # noqa: E402
import truth  # noqa: E402

COPY_STAGE, STAGE = "transfer", "bigquery"
POLL_SECONDS = 0.1
RETRY_SECONDS = 0.25
# insertAll takes up to 50,000 rows and 10 MB a request (BigQuery quotas); 500 is what Google recommends.
BATCH_ROWS = 500
# Names begin with the time in ms at which Kinesis took the first record. Objects older than this before the newest one
# are not expected.
LOOK_BACK_MS = 120_000


class Source:
    """The new objects of the transit prefix."""

    def __init__(self, bucket: str) -> None:
        self._s3 = cloud.client("s3")
        self._bucket = bucket
        self._seen: set[str] = set()
        self._newest_ms = 0

    def new_objects(self):
        """Yields keys with their bodies."""
        for key in self._new_keys():
            body = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
            self._seen.add(key)
            self._newest_ms = max(self._newest_ms, int(_name(key).partition("-")[0]))
            yield key, body

    def _new_keys(self) -> list[str]:
        now = datetime.now(UTC)
        start = f"{max(0, self._newest_ms - LOOK_BACK_MS):013d}"
        keys = []
        # The hour that has just ended may still get an object.
        for moment in (now - timedelta(minutes=5), now):
            prefix = moment.strftime("transit/%Y/%m/%d/%H/")
            pages = self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=prefix, StartAfter=prefix + start)
            for page in pages:
                keys += [item["Key"] for item in page.get("Contents", [])]
        return sorted((key for key in set(keys) if key not in self._seen), key=_name)


def _name(key: str) -> str:
    return key.rpartition("/")[2]


class Copies:
    """The copies in Google Cloud Storage."""

    def __init__(self, bucket: Gcs) -> None:
        self._bucket = bucket
        self._count = 0

    def add(self, key: str, body: bytes, lines: list[str]) -> None:
        packing = (GZIP_ENCODED, GZIP_FILE, PLAIN)[self._count % 3]
        stem = key.replace("transit/", "transfer/", 1).removesuffix(".ndjson.gz")
        awkward = " 100% grün" if self._count % 2 else ""
        ending = ".ndjson.gz" if packing is GZIP_FILE else ".ndjson"
        self._count += 1
        before = truth.now_us()
        self._bucket.put(
            f"{stem}{awkward}{ending}", gzip.decompress(body) if packing is PLAIN else body, packing)
        truth.record(COPY_STAGE, [json.loads(line)["message"] for line in lines], before, truth.now_us())


class Sink:
    """The table, and the rows that wait for it."""

    def __init__(self, table: BigQuery) -> None:
        self._table = table
        self._waiting: deque[dict] = deque()
        # The time in µs of an insert whose answer was lost, and the number of its rows, the first of the waiting ones.
        self._unconfirmed: tuple[int, int] | None = None
        self._is_down = False

    def add(self, lines: list[str]) -> None:
        for line in lines:
            row = json.loads(line)
            message = row["message"]
            trace_id = json.loads(message).get("trace_id")
            self._waiting.append({
                "insert_id": uuid.uuid4().hex,
                "trace_id": trace_id if isinstance(trace_id, str) else None,
                "tenant": row["tenant"],
                "message": message,
            })

    def flush(self) -> bool:
        """Inserts the waiting rows. Returns false if BigQuery is down."""
        try:
            self._confirm()
            while self._waiting:
                self._insert()
        except (Unreachable, Failed) as error:
            if not self._is_down:
                _say(f"BigQuery is down, {len(self._waiting)} rows wait: {error!r}")
            self._is_down = True
            return False
        if self._is_down:
            _say("BigQuery is up again")
        self._is_down = False
        return True

    def _insert(self) -> None:
        count = min(len(self._waiting), BATCH_ROWS)
        before = truth.now_us()
        rows = [{**self._waiting[i], "ingest_time": _rfc3339(before)} for i in range(count)]
        try:
            self._table.insert(rows)
        except Failed:
            self._unconfirmed = (before, count)
            raise
        self._arrived(count, before)

    def _confirm(self) -> None:
        if self._unconfirmed is None:
            return
        before, count = self._unconfirmed
        sql = f"SELECT COUNT(*) FROM `{self._table.table_name}` WHERE ingest_time = @at"
        found = int(self._table.query(sql, [timestamp("at", _rfc3339(before))])[0][0])
        _say(f"the insert of {count} rows whose answer was lost had put {found} rows")
        self._unconfirmed = None
        if found == count:
            self._arrived(count, before)
        elif found:
            raise SystemExit(f"an insert was split: {found} of {count} rows")

    def _arrived(self, count: int, before: int) -> None:
        after = truth.now_us()
        truth.record(STAGE, [self._waiting.popleft()["message"] for _ in range(count)], before, after)


def _rfc3339(us: int) -> str:
    seconds, fraction = divmod(us, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{fraction:06d}Z"


def _say(text: str) -> None:
    print(f"{datetime.now(UTC).isoformat()} {text}", flush=True)


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text())
    source = Source(settings["transit_bucket"])
    copies = Copies(Gcs(**settings["gcs"]))
    sink = Sink(BigQuery(**settings["bigquery"]))
    _say("running")
    while True:
        started = time.monotonic()
        for key, body in source.new_objects():
            lines = gzip.decompress(body).decode().splitlines()
            copies.add(key, body, lines)
            sink.add(lines)
        pause = POLL_SECONDS if sink.flush() else RETRY_SECONDS
        time.sleep(max(0.0, pause - (time.monotonic() - started)))


if __name__ == "__main__":
    main()
