"""Plays the pipelines of `docs/recipes/`, in front of MiniStack, bqemulator and fake-gcs-server.

usage: recipes.py --dir DIR

One daemon runs for each file of `config/recipes/`, with the name of the file as its instance. That name is in the log
stream of its canaries, so the driver knows which recipe's pipeline a canary has to pass. Accounts, regions, buckets,
streams, queues and tables have the names of the files.

Where MiniStack has the service, it is used: Kinesis, Firehose with its prefixes, time zone, conversion to Parquet and
error output, SQS, S3. It has neither subscriptions to streams and Firehose nor event source mappings that give up, and
nobody emulates Storage Transfer Service: this driver puts what those would put.

Where a recipe has dead letters, the first canary is given up.

The first line on stdout is JSON with everything that the test needs. Then it plays until stdin closes.
"""

import argparse
import base64
import gzip
import json
import signal
import sys
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import deploy
from bigquery import BigQuery
from gcs import GZIP_FILE, Gcs
from processes import Child, Port, ministack_is_up, say

REGION, US_EAST, US_WEST = deploy.REGION, "us-east-1", "us-west-2"
ACME, GLOBEX, ACME_US = "111111111111", "333333333333", "444444444444"
# Account, region and log groups of every tenant.
LOG_GROUPS = {
    "acme": (ACME, REGION, ["/ecs/acme/app", "/ecs/acme/worker", "/aws/lambda/acme-billing"]),
    "acme-us": (ACME_US, US_EAST, ["/ecs/acme/app"]),
    "globex": (GLOBEX, US_WEST, ["/ecs/globex/app"]),
}
EXTERNAL_IDS = {"acme": "acme-7f3a9c", "acme-us": "acme-us-52d1e0", "globex": "globex-1b90d4"}
STREAMS = [(REGION, "logs-acme"), (REGION, "logs-acme-us"), (US_WEST, "logs-globex")]
BUCKETS = ["sre-archive", "sre-export", "sre-dead-letters"]
COPIES, TRANSIT = "sre-import", "sre-transit"
MAPPING = "14b064bc-2681-4d73-bd4a-6a8d29b9a1f8"
FORWARDER_LETTERS, AGGREGATOR_LETTERS = "forwarder-dead-letters", "aggregator-dead-letters"
PROJECT, DATASET, TABLE = "my-project", "logs", "events"
DAILY = "events_%Y%m%d"
COLUMNS = [
    {"name": "trace_id", "type": "STRING"},
    {"name": "tenant", "type": "STRING"},
    {"name": "message", "type": "STRING"},
    {"name": "payload", "type": "JSON"},
    {"name": "ingest_time", "type": "TIMESTAMP"},
    {"name": "load_time", "type": "TIMESTAMP"},
]
PARTITIONING = {"type": "DAY", "field": "ingest_time"}
GLUE_DATABASE, GLUE_TABLE = "logs", "acme"
PARQUET_COLUMNS = ["trace_id", "level", "timestamp", "service", "message"]
DELIVERY, PARQUET_DELIVERY = "acme", "acme-parquet"
LOG_STREAM = "traceprobe/"
POLL_SECONDS = 0.5
# An event is found this long after its time.
PAST_SECONDS = 20
START_SECONDS = 60


@dataclass(frozen=True)
class Canary:
    recipe: str
    tenant: str
    log_group: str
    event: dict
    # How many canaries of this tenant the recipe has had, with this one.
    number: int

    @property
    def message(self) -> str:
        return self.event["message"]

    @property
    def subscription(self) -> bytes:
        """What a subscription filter sends (CloudWatch Logs user guide, "Real-time processing of log data")."""
        event = {"id": self.event["eventId"], "timestamp": self.event["timestamp"], "message": self.message}
        envelope = {
            "messageType": "DATA_MESSAGE", "owner": LOG_GROUPS[self.tenant][0], "logGroup": self.log_group,
            "logStream": self.event["logStreamName"], "subscriptionFilters": ["all"], "logEvents": [event],
        }
        return gzip.compress(json.dumps(envelope).encode())


class TokenService(BaseHTTPRequestHandler):
    """Exchanges any AWS identity for a token, as Google's Security Token Service does for one that it trusts."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({
            "access_token": "ya29.recipes", "token_type": "Bearer", "expires_in": 3600,
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        }).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


def serve_tokens(home: Path) -> Path:
    """Returns the external_account file that leads to the service."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), TokenService)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    file = home / "external-account.json"
    file.write_text(json.dumps({
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/aws/providers/probe",
        "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request",
        "token_url": f"http://127.0.0.1:{server.server_port}/v1/token",
        "credential_source": {
            "environment_id": "aws1",
            "regional_cred_verification_url":
                "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
        },
    }))
    return file


class World:
    def __init__(self, home: Path) -> None:
        self._ports = Port(), Port(), Port()
        aws, bigquery, gcs = (f"http://127.0.0.1:{port.number}" for port in self._ports)
        self.aws = deploy.Aws(aws)
        self.table = BigQuery(f"{bigquery}/bigquery/v2", PROJECT, DATASET, TABLE)
        self.gcs_url = gcs
        self.copies, self.transit = Gcs(gcs, COPIES), Gcs(gcs, TRANSIT)
        numbers = [str(port.number) for port in self._ports]
        self._children = [
            Child("ministack", "ministack_launcher.py", [numbers[0], str(home / "ministack")], home, {}),
            Child("bqemulator", "bqemulator_launcher.py", [numbers[1], str(home / "bqemulator"), PROJECT], home, {}),
            Child("gcs", "gcs_launcher.py", [numbers[2]], home, {}),
        ]

    def start(self) -> None:
        ministack, bqemulator, gcs = self._children
        for child in self._children:
            child.start()
        ministack.wait_until(lambda: ministack_is_up(self.aws.endpoint), START_SECONDS)
        self._create_in_aws()
        gcs.wait_until(self.copies.is_up, START_SECONDS)
        self.copies.create_bucket()
        self.transit.create_bucket()
        bqemulator.wait_until(self.table.is_up, START_SECONDS)
        self.table.create_dataset()
        self.table.create_table(COLUMNS, PARTITIONING)
        now = datetime.now(UTC)
        for day in (now, now + timedelta(days=1)):
            self.daily_table(day).create_table(COLUMNS, PARTITIONING)

    def stop(self) -> None:
        for child in self._children:
            child.stop()

    def root(self, service: str, account: str = deploy.SRE, region: str = REGION):
        return self.aws.root(service, account, region)

    def daily_table(self, day: datetime) -> BigQuery:
        return BigQuery(self.table.url, PROJECT, DATASET, day.strftime(DAILY))

    def _create_in_aws(self) -> None:
        write = deploy.document(deploy.allow(["logs:CreateLogStream", "logs:PutLogEvents"], "*"))
        sre = {"AWS": f"arn:aws:iam::{deploy.SRE}:root"}
        for tenant, (account, region, log_groups) in LOG_GROUPS.items():
            for log_group in log_groups:
                self.root("logs", account, region).create_log_group(logGroupName=log_group)
            deploy.role(self.root("iam", account), "traceprobe-inject", deploy.trust(sre, EXTERNAL_IDS[tenant]), write)
        for region, stream in STREAMS:
            self.root("kinesis", region=region).create_stream(StreamName=stream, ShardCount=2)
        for bucket in BUCKETS:
            self.root("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        measure = deploy.document(deploy.allow(["sqs:GetQueueAttributes"], "*"))
        deploy.role(self.root("iam", ACME), "traceprobe-observe", deploy.trust(sre, EXTERNAL_IDS["acme"]), measure)
        forwarder = self.root("sqs", ACME)
        url = forwarder.create_queue(QueueName=FORWARDER_LETTERS)["QueueUrl"]
        forwarder.send_message(QueueUrl=url, MessageBody="an event that the forwarder gave up")
        self._aggregator_letters = self.root("sqs").create_queue(QueueName=AGGREGATOR_LETTERS)["QueueUrl"]
        self._create_firehose()

    def _create_firehose(self) -> None:
        columns = [{"Name": name, "Type": "string"} for name in PARQUET_COLUMNS]
        self.root("glue").create_database(DatabaseInput={"Name": GLUE_DATABASE})
        self.root("glue").create_table(
            DatabaseName=GLUE_DATABASE, TableInput={"Name": GLUE_TABLE, "StorageDescriptor": {"Columns": columns}})
        role = f"arn:aws:iam::{deploy.SRE}:role/firehose"
        bucket = {"RoleARN": role, "BucketARN": "arn:aws:s3:::sre-archive"}
        firehose = self.root("firehose")
        firehose.create_delivery_stream(
            DeliveryStreamName=DELIVERY, DeliveryStreamType="DirectPut",
            ExtendedS3DestinationConfiguration={
                **bucket, "Prefix": "logs/acme/", "CompressionFormat": "GZIP",
                "BufferingHints": {"IntervalInSeconds": 60, "SizeInMBs": 5},
            })
        firehose.create_delivery_stream(
            DeliveryStreamName=PARQUET_DELIVERY, DeliveryStreamType="DirectPut",
            ExtendedS3DestinationConfiguration={
                **bucket, "CustomTimeZone": "Europe/Berlin",
                "Prefix": "parquet/acme/dt=!{timestamp:yyyy-MM-dd}/hour=!{timestamp:HH}/",
                "ErrorOutputPrefix": "errors/!{firehose:error-output-type}/!{timestamp:yyyy/MM/dd/HH}/",
                "BufferingHints": {"IntervalInSeconds": 300, "SizeInMBs": 64},
                "DataFormatConversionConfiguration": {
                    "Enabled": True,
                    "InputFormatConfiguration": {"Deserializer": {"OpenXJsonSerDe": {}}},
                    "OutputFormatConfiguration": {"Serializer": {"ParquetSerDe": {}}},
                    "SchemaConfiguration": {
                        "RoleARN": role, "DatabaseName": GLUE_DATABASE, "TableName": GLUE_TABLE, "Region": REGION},
                },
            })

    def into_stream(self, canary: Canary, stream: str, region: str = REGION) -> dict:
        """Returns the shard and the sequence number."""
        return self.root("kinesis", region=region).put_record(
            StreamName=stream, Data=canary.subscription, PartitionKey=canary.event["eventId"])

    def into_firehose(self, stream: str, record: bytes) -> None:
        self.root("firehose").put_record(DeliveryStreamName=stream, Record={"Data": record})

    def into_bucket(self, canary: Canary, bucket: str, folder: str) -> str:
        """Returns the key."""
        key = f"{folder}/{canary.tenant}/{datetime.now(UTC):%Y/%m/%d/%H}/{time.time_ns()}.ndjson.gz"
        self.root("s3").put_object(Bucket=bucket, Key=key, Body=lines(canary))
        return key

    def into_table(self, canary: Canary, table: BigQuery, label: str | None = None) -> None:
        now = datetime.now(UTC).isoformat()
        table.insert([{
            "trace_id": json.loads(canary.message)["trace_id"], "tenant": label or canary.tenant, "message": canary.message,
            "payload": canary.message, "ingest_time": now, "load_time": now,
        }])

    def give_up_in_s3(self, canary: Canary, record: dict) -> None:
        """An S3 destination of an event source mapping has the event itself (AWS Lambda developer guide, "Retain
        discarded batch records for a Kinesis Data Streams event source")."""
        event = {"Records": [{
            "kinesis": {"sequenceNumber": record["SequenceNumber"], "data": base64_text(canary.subscription)},
            "eventID": f"{record['ShardId']}:{record['SequenceNumber']}", "eventSource": "aws:kinesis",
        }]}
        key = f"aws/lambda/{MAPPING}/{record['ShardId']}/{datetime.now(UTC):%Y-%m-%dT%H.%M.%S}-{uuid.uuid4()}"
        body = json.dumps({**given_up(record), "payload": json.dumps(event)})
        self.root("s3").put_object(Bucket="sre-dead-letters", Key=key, Body=body.encode())

    def give_up_in_sqs(self, record: dict) -> None:
        self.root("sqs").send_message(QueueUrl=self._aggregator_letters, MessageBody=json.dumps(given_up(record)))


def base64_text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def lines(canary: Canary) -> bytes:
    return gzip.compress((json.dumps({"tenant": canary.tenant, "message": canary.message}) + "\n").encode())


def given_up(record: dict) -> dict:
    """What Lambda says of a batch that it gave up (same page)."""
    number = record["SequenceNumber"]
    return {
        "version": "1.0",
        "requestContext": {"functionArn": "aggregator", "condition": "RetryAttemptsExhausted",
                           "approximateInvokeCount": 3},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "KinesisBatchInfo": {
            "shardId": record["ShardId"], "startSequenceNumber": number, "endSequenceNumber": number, "batchSize": 1,
            "streamArn": f"arn:aws:kinesis:{REGION}:{deploy.SRE}:stream/logs-acme",
        },
    }


def daily_tables(world: World, canary: Canary) -> None:
    world.into_table(canary, world.daily_table(datetime.now(UTC)))


def dead_letters_s3(world: World, canary: Canary) -> None:
    record = world.into_stream(canary, "logs-acme")
    if canary.number == 1:
        world.give_up_in_s3(canary, record)
    else:
        world.into_bucket(canary, "sre-archive", "archive")


def dead_letters_sqs(world: World, canary: Canary) -> None:
    record = world.into_stream(canary, "logs-acme")
    if canary.number == 1:
        world.give_up_in_sqs(record)
    else:
        world.into_bucket(canary, "sre-archive", "archive")


def one_table(world: World, canary: Canary) -> None:
    world.into_table(canary, world.table)


def firehose(world: World, canary: Canary) -> None:
    world.into_firehose(DELIVERY, canary.subscription)


def firehose_parquet(world: World, canary: Canary) -> None:
    # Decompression and message extraction leave the line; one brace too many, and it cannot be converted.
    ending = "}" if canary.number == 1 else "\n"
    world.into_firehose(PARQUET_DELIVERY, (canary.message + ending).encode())


def log_groups(world: World, canary: Canary) -> None:
    world.into_stream(canary, f"logs-{canary.tenant}")
    world.into_table(canary, world.table, "acme")


def private_endpoints(world: World, canary: Canary) -> None:
    world.into_stream(canary, f"logs-{canary.tenant}", US_WEST if canary.tenant == "globex" else REGION)
    name = f"transit/{canary.tenant}/{datetime.now(UTC):%Y/%m/%d/%H}/{time.time_ns()}.ndjson.gz"
    world.transit.put(name, lines(canary), GZIP_FILE)
    world.into_table(canary, world.table)


def storage_transfer(world: World, canary: Canary) -> None:
    key = world.into_bucket(canary, "sre-export", "logs")
    body = world.root("s3").get_object(Bucket="sre-export", Key=key)["Body"].read()
    world.copies.put(key, body, GZIP_FILE)
    world.into_table(canary, world.table)


# By the names of the files.
RECIPES = {
    "daily-tables": daily_tables,
    "dead-letters-s3": dead_letters_s3,
    "dead-letters-sqs": dead_letters_sqs,
    "filter-canaries": one_table,
    "firehose": firehose,
    "firehose-parquet": firehose_parquet,
    "json-columns": one_table,
    "log-groups": log_groups,
    "private-endpoints": private_endpoints,
    "storage-transfer": storage_transfer,
}


def play(world: World, ended: threading.Event) -> None:
    """Passes canaries on until `ended`."""
    seen: set[str] = set()
    numbers: Counter[tuple[str, str]] = Counter()
    while not ended.wait(POLL_SECONDS):
        past = int((time.time() - PAST_SECONDS) * 1000)
        for tenant, (account, region, names) in LOG_GROUPS.items():
            for name in names:
                found = world.root("logs", account, region).filter_log_events(logGroupName=name, startTime=past)
                for event in found["events"]:
                    if event["eventId"] in seen:
                        continue
                    seen.add(event["eventId"])
                    recipe = event["logStreamName"].removeprefix(LOG_STREAM)
                    numbers[recipe, tenant] += 1
                    RECIPES[recipe](world, Canary(recipe, tenant, name, event, numbers[recipe, tenant]))


def main() -> int:
    parser = argparse.ArgumentParser(description="The pipelines of the recipes.")
    parser.add_argument("--dir", type=Path, required=True, help="folder for data and logs")
    home = parser.parse_args().dir.resolve()
    home.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    world = World(home)
    ended = threading.Event()
    try:
        world.start()
        print(json.dumps({
            "aws_endpoint": world.aws.endpoint,
            "bigquery_endpoint": world.table.url,
            "gcs_endpoint": world.gcs_url,
            "credentials": {"AWS_ACCESS_KEY_ID": deploy.SRE, "AWS_SECRET_ACCESS_KEY": deploy.ROOT_SECRET},
            "google_credentials": str(serve_tokens(home)),
            "recipes": list(RECIPES),
        }), flush=True)
        threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
        play(world, ended)
        return 0
    finally:
        say("ends")
        world.stop()


if __name__ == "__main__":
    sys.exit(main())
