"""Sends events through the pipeline and reads them at every stage with the probe's permissions.

It checks that the pipeline delivers everything once, that its truth agrees with the stamps of each stage, and that the
permissions of the probe suffice and allow nothing else.
"""

import gzip
import hmac
import json
import secrets
import sys
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

from botocore.exceptions import ClientError

import deploy
from bigquery import strings
from gcs import GZIP_ENCODED, GZIP_FILE, PLAIN

sys.path.insert(0, str(deploy.HERE / "lambdas"))
import truth  # noqa: E402

SIZES = (100, 500, 1_000, 5_000, 10_000)
EVENTS_PER_TENANT = 20
ARRIVE_SECONDS = 60
STAGES = ("tenant_stream", "archive", "central_stream", "transit", "transfer", "bigquery")
# The emulators of S3 and Kinesis stamp in whole ms.
STAMP_US = 1_000


def check(pipeline, outage: float) -> int:
    run = Run(pipeline)
    faults = run.check_permissions()
    run.inject(EVENTS_PER_TENANT // 2)
    if outage:
        pipeline.stop_bigquery()
        stopped = time.time()
        print(f"BigQuery is stopped for {outage} s")
    run.inject(EVENTS_PER_TENANT - EVENTS_PER_TENANT // 2)
    run.inject_garbage()
    if outage:
        run.wait_for(STAGES[:-1])
        time.sleep(max(0.0, stopped + outage - time.time()))
        pipeline.start_bigquery()
        print("BigQuery is back")
    run.wait_for(STAGES)
    faults += run.compare()
    faults += pipeline.dead()
    run.summarise()
    for fault in faults:
        print(f"FAULT {fault}")
    print(f"{len(run.sent)} events, {len(faults)} faults")
    return 1 if faults else 0


class Run:
    def __init__(self, pipeline) -> None:
        self.pipeline = pipeline
        self.started = datetime.now(UTC)
        self.sent: dict[str, str] = {}  # tag -> tenant
        self._logs = {}
        for tenant in pipeline.tenants:
            self._logs[tenant.name] = self._assume_role(tenant)
            self._logs[tenant.name].create_log_stream(
                logGroupName=tenant.log_group, logStreamName="traceprobe/self-check")

    def _client(self, service: str):
        return deploy.task_client(self.pipeline.aws, service)

    def _assume_role(self, tenant, external_id: str | None = None):
        credentials = self._client("sts").assume_role(
            RoleArn=tenant.inject_role, RoleSessionName="traceprobe", DurationSeconds=900,
            ExternalId=external_id or tenant.external_id)["Credentials"]
        return self.pipeline.aws.client(
            "logs", credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials["SessionToken"])

    def inject(self, count: int) -> None:
        for i in range(count):
            for tenant in self.pipeline.tenants:
                tag = _tag()
                self.sent[tag] = tenant.name
                self._put(tenant, _line(tag, SIZES[i % len(SIZES)]))

    def inject_garbage(self) -> None:
        self._put(self.pipeline.tenants[0], "this line is not JSON")

    def _put(self, tenant, message: str) -> None:
        self._logs[tenant.name].put_log_events(
            logGroupName=tenant.log_group, logStreamName="traceprobe/self-check",
            logEvents=[{"timestamp": int(time.time() * 1000), "message": message}])

    def truth(self) -> dict[str, dict[str, list[tuple[int, int]]]]:
        """The truth file, as stage -> tag -> intervals."""
        stages = defaultdict(lambda: defaultdict(list))
        for line in self.pipeline.truth_file.read_text().splitlines():
            entry = json.loads(line)
            stages[entry["stage"]][entry["tag"]].append((entry["before_us"], entry["after_us"]))
        return stages

    def wait_for(self, stages) -> None:
        deadline = time.monotonic() + ARRIVE_SECONDS
        while time.monotonic() < deadline and not self.pipeline.dead():
            known = self.truth()
            if all(tag in known[stage] for stage in stages for tag in self.sent):
                return
            time.sleep(0.1)

    def compare(self) -> list[str]:
        """Compares each stage with what was sent and with the truth."""
        known = self.truth()
        faults = []
        readers = {
            "tenant_stream": self._read_kinesis,
            "archive": self._read_archive,
            "transit": self._read_transit,
            "transfer": self._read_transfer,
            "bigquery": self._read_bigquery,
        }
        for stage, read in readers.items():
            seen = read()
            copies = Counter(tag for tag, _, _ in seen)
            faults += [f"{stage}: {tag} is missing" for tag in self.sent if not copies[tag]]
            faults += [f"{stage}: {tag} is there {n} times" for tag, n in copies.items() if n > 1]
            for tag, tenant, stamp in seen:
                if self.sent.get(tag) != tenant:
                    faults.append(f"{stage}: {tag} of {self.sent.get(tag)} is labelled {tenant}")
                # A stamp in whole ms may have been truncated or rounded up.
                if not any(before - STAMP_US <= stamp <= after + STAMP_US for before, after in known[stage][tag]):
                    faults.append(f"{stage}: {tag} is stamped {stamp}, the truth is {known[stage][tag]}")
        for stage in STAGES:
            faults += [f"truth of {stage}: {len(known[stage][tag])} entries for {tag}"
                       for tag in self.sent if len(known[stage][tag]) != 1]
        return faults + self._check_dead_letters() + self._check_export_log() + self._check_gcs()

    def _read_kinesis(self):
        kinesis = self._client("kinesis")
        seen = []
        for tenant in self.pipeline.tenants:
            arn = deploy.stream_arn(tenant.stream)
            for shard in kinesis.list_shards(StreamARN=arn)["Shards"]:
                iterator = kinesis.get_shard_iterator(
                    StreamARN=arn, ShardId=shard["ShardId"], ShardIteratorType="AT_TIMESTAMP",
                    Timestamp=self.started)["ShardIterator"]
                while True:
                    page = kinesis.get_records(StreamARN=arn, ShardIterator=iterator, Limit=7)
                    for record in page["Records"]:
                        envelope = json.loads(gzip.decompress(record["Data"]))
                        stamp = _us(record["ApproximateArrivalTimestamp"])
                        texts = [event["message"] for event in envelope["logEvents"]]
                        seen += [(tag, tenant.name, stamp) for tag in truth.tags_in(texts)]
                    iterator = page["NextShardIterator"]
                    if page["MillisBehindLatest"] == 0 and not page["Records"]:
                        break
        return seen

    def _read_archive(self):
        seen = []
        for tenant in self.pipeline.tenants:
            prefixes = self._hours(f"archive/tenant={tenant.name}/dt=%Y-%m-%d/hour=%H/")
            for row, stamp in self._objects(deploy.ARCHIVE_BUCKET, prefixes):
                seen += [(tag, row["tenant"], stamp) for tag in truth.tags_in([row["message"]])]
        return seen

    def _read_transit(self):
        rows = self._objects(deploy.TRANSIT_BUCKET, self._hours("transit/%Y/%m/%d/%H/"))
        return [(tag, row["tenant"], stamp) for row, stamp in rows for tag in truth.tags_in([row["message"]])]

    def _read_transfer(self):
        bucket = self.pipeline.gcs
        seen = []
        for prefix in self._hours("transfer/%Y/%m/%d/%H/"):
            # Pages of three, so that there are several.
            for item in bucket.list(prefix, page_size=3):
                body = bucket.get(item["name"], item["generation"])
                text = gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
                rows = [json.loads(line) for line in text.splitlines()]
                stamp = _us(datetime.fromisoformat(item["timeCreated"]))
                seen += [(tag, row["tenant"], stamp) for row in rows for tag in truth.tags_in([row["message"]])]
        return seen

    def _check_gcs(self) -> list[str]:
        """Checks what the probe relies on in Google Cloud Storage, and what README.md says about the emulator."""
        bucket = self.pipeline.gcs
        faults = []

        def must(what: str, fact: bool) -> None:
            if not fact:
                faults.append(f"Cloud Storage: {what}")

        copies = [item for prefix in self._hours("transfer/%Y/%m/%d/%H/") for item in bucket.list(prefix)]
        kinds = {(item["contentType"], item.get("contentEncoding")) for item in copies}
        must(f"the copies are packed in all three ways: {kinds}", len(kinds) == 3)
        must("some copies have awkward names", any(" 100% grün" in item["name"] for item in copies))

        text = b"one line\n"
        packed = gzip.compress(text)
        awkward = "check/1 100% + grün?#&=.ndjson"
        for name, body, packing in [(awkward, packed, GZIP_ENCODED), ("check/2.gz", packed, GZIP_FILE), ("check/3", text, PLAIN)]:
            bucket.put(name, body, packing)
            must(f"{name} is returned as it was stored", bucket.get(name) == body)
        names = [item["name"] for item in bucket.list("check/", page_size=1)]
        must(f"pages of one add up to the whole list: {names}", names == [awkward, "check/2.gz", "check/3"])
        names = [item["name"] for item in bucket.list("check/", start_offset="check/2.gz")]
        must(f"startOffset is inclusive: {names}", names == ["check/2.gz", "check/3"])
        must("gzip is unpacked for a client that does not accept it", bucket.get(awkward, headers={"Accept-Encoding": "identity"}) == text)

        def answers(name: str, query: dict, headers: dict, status: int, part: bytes) -> None:
            found, _, body = bucket.call(bucket.path(name, {"alt": "media", **query}), headers=headers)
            must(f"{name} with {query} and {headers}: {found} {body[:80]!r}", found == status and part in body)

        answers(awkward, {}, {"Accept-Encoding": "gzip", "Range": "bytes=0-3"}, 206, packed[:4])
        answers("check/3", {}, {"Range": "bytes=0-2"}, 206, b"one")
        answers("check/3", {}, {"Range": "bytes=99-"}, 416, b"")
        answers("check/4", {}, {}, 404, b"Not Found")
        old = bucket.put("check/3", b"old", PLAIN)["generation"]
        new = bucket.put("check/3", b"new", PLAIN)["generation"]
        must(f"generations grow: {old} {new}", int(old) < int(new))
        answers("check/3", {"generation": new}, {}, 200, b"new")
        answers("check/3", {"generation": old}, {}, 404, b"Not Found")
        # These differ from the cloud. If they change, README.md must change, too.
        answers("check/3", {"ifGenerationMatch": old}, {}, 200, b"new")
        listed = json.loads(bucket.call(f"/storage/v1/b/{bucket.bucket}/o?prefix=check/&fields=items/nom")[2])
        must("fields is ignored", "size" in listed["items"][0])
        return faults

    def _objects(self, bucket: str, prefixes: list[str]):
        s3 = self._client("s3")
        for prefix in prefixes:
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for item in page.get("Contents", []):
                    body = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
                    for line in gzip.decompress(body).splitlines():
                        yield json.loads(line), _us(item["LastModified"])

    def _hours(self, template: str) -> list[str]:
        hours = {self.started, datetime.now(UTC)}
        return sorted({moment.strftime(template) for moment in hours})

    def _read_bigquery(self):
        table = self.pipeline.bigquery
        sql = (f"SELECT trace_id, tenant, message, UNIX_MICROS(ingest_time) FROM `{table.table_name}` "
               "WHERE trace_id IN UNNEST(@ids)")
        return [(tag, tenant, int(stamp)) for tag, tenant, message, stamp in table.query(sql, [strings("ids", list(self.sent))])
                if tag in message]

    def _check_dead_letters(self) -> list[str]:
        sqs = self.pipeline.aws.root("sqs", deploy.SRE)
        messages = sqs.receive_message(
            QueueUrl=self.pipeline.dead_letter_queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=5).get("Messages", [])
        contents = [json.loads(message["Body"])["content"] for message in messages]
        return [] if contents == ["this line is not JSON"] else [f"dead letters: {contents}"]

    def _check_export_log(self) -> list[str]:
        answer = self._client("logs").filter_log_events(
            logGroupName=deploy.EXPORT_LOG_GROUP, filterPattern="zqtp", startTime=int(self.started.timestamp() * 1000))
        found = set(truth.tags_in(event["message"] for event in answer["events"]))
        missing = set(self.sent) - found
        return [f"log of the export: {len(missing)} of {len(self.sent)} not found by FilterLogEvents"] if missing else []

    def check_permissions(self) -> list[str]:
        """Checks that the emulator refuses what the probe must not do."""
        tenant = self.pipeline.tenants[0]
        forbidden = {
            "AssumeRole with another ExternalId": lambda: self._assume_role(tenant, "another"),
            "PutRecord as the probe": lambda: self._client("kinesis").put_record(
                StreamName=tenant.stream, Data=b"x", PartitionKey="x"),
            "PutObject as the probe": lambda: self._client("s3").put_object(
                Bucket=deploy.ARCHIVE_BUCKET, Key="archive/x", Body=b"x"),
            "FilterLogEvents as the inject role": lambda: self._logs[tenant.name].filter_log_events(
                logGroupName=tenant.log_group),
            "DescribeLogGroups as the inject role": lambda: self._logs[tenant.name].describe_log_groups(),
        }
        faults = []
        for name, attempt in forbidden.items():
            try:
                attempt()
                faults.append(f"{name} was allowed")
            except ClientError as error:
                if "AccessDenied" not in error.response["Error"]["Code"]:
                    faults.append(f"{name}: {error}")
        return faults

    def summarise(self) -> None:
        known = self.truth()
        print(f"{'stage':<15}{'events':>7}{'width of the truth, ms':>28}{'after the stage before, ms':>30}")
        before = None
        for stage in STAGES:
            entries = {tag: known[stage][tag][0] for tag in self.sent if known[stage].get(tag)}
            widths = sorted((after - before_us) / 1000 for before_us, after in entries.values())
            parent = known["tenant_stream" if stage in ("archive", "central_stream") else before] if before else {}
            hops = sorted((entries[tag][1] - parent[tag][0][1]) / 1000 for tag in entries if parent.get(tag))
            print(f"{stage:<15}{len(entries):>7}{_spread(widths):>28}{_spread(hops):>30}")
            before = stage


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    return f"median {values[len(values) // 2]:.1f}, max {values[-1]:.1f}"


def _us(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _tag() -> str:
    """A token of the probe's form, with the MAC of another key."""
    ms = time.time_ns() // 1_000_000
    number = ms << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)
    digits = "0123456789abcdefghijklmnopqrstuv"
    rest = hmac.digest(b"self-check", number.to_bytes(16), "sha256")[:29]
    return f"zqtp2{number:032x}" + "".join(digits[byte % 32] for byte in rest)


def _line(tag: str, size: int) -> str:
    line = f'{{"trace_id":"{tag}","message":""}}'
    return line[:-2] + "x" * (size - len(line)) + line[-2:]
