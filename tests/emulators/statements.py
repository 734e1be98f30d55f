"""Every place that the policies of `config/iam/` name, in MiniStack, and those policies with one statement less.

usage: statements.py --dir DIR

The first line on stdout is JSON with everything that the test needs. Then each line on stdin is a command, answered by a
line of JSON: `without FILE SID` grants everything but that statement, `with all` grants everything. It ends when its
stdin closes.
"""

import argparse
import gzip
import json
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import deploy
import rights
from processes import Child, Port, ministack_is_up, say

FORWARDER_LETTERS = "forwarder-dead-letters"
LINE = b'{"level":"INFO","message":"an ordinary line"}\n'
START_SECONDS = 60


class Places:
    """What the probe calls, with a record, an object or a message in each."""

    def __init__(self, aws: deploy.Aws) -> None:
        self.aws = aws
        self.tenants = deploy.tenants(2)
        self._kinesis, self._s3 = aws.root("kinesis", deploy.SRE), aws.root("s3", deploy.SRE)

    def create(self) -> None:
        now = datetime.now(UTC)
        for bucket in (deploy.ARCHIVE_BUCKET, deploy.TRANSIT_BUCKET):
            self._s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": deploy.REGION})
        for tenant in self.tenants:
            self._kinesis.create_stream(StreamName=tenant.stream, ShardCount=1)
            self.aws.root("logs", tenant.account).create_log_group(logGroupName=tenant.log_group)
        for tenant in self.tenants:
            self._kinesis.get_waiter("stream_exists").wait(StreamName=tenant.stream, WaiterConfig={"Delay": 1})
            self._kinesis.register_stream_consumer(
                StreamARN=deploy.stream_arn(tenant.stream), ConsumerName="traceprobe")
            self._kinesis.put_record(StreamName=tenant.stream, Data=LINE, PartitionKey="a")
            self._put(deploy.ARCHIVE_BUCKET, f"archive/tenant={tenant.name}/dt={now:%Y-%m-%d}/hour={now:%H}/1.gz")
        self._put(deploy.TRANSIT_BUCKET, f"transit/{now:%Y/%m/%d/%H}/1.gz")
        self._put(deploy.ARCHIVE_BUCKET, f"dlq/{now:%Y/%m/%d/%H}/1.gz")
        self.aggregator_letters = self._queue(deploy.SRE, deploy.DEAD_LETTER_QUEUE)
        self.forwarder_letters = self._queue(self.tenants[0].account, FORWARDER_LETTERS)
        logs = self.aws.root("logs", deploy.SRE)
        logs.create_log_group(logGroupName=deploy.EXPORT_LOG_GROUP)
        logs.create_log_stream(logGroupName=deploy.EXPORT_LOG_GROUP, logStreamName=deploy.EXPORT_LOG_STREAM)
        logs.put_log_events(
            logGroupName=deploy.EXPORT_LOG_GROUP, logStreamName=deploy.EXPORT_LOG_STREAM,
            logEvents=[{"timestamp": int(time.time() * 1000), "message": LINE.decode()}])

    def grant(self, without: rights.Without | None = None) -> None:
        rights.grant_task(self.aws.root("iam", deploy.SRE), without)
        for tenant in self.tenants:
            iam = self.aws.root("iam", tenant.account)
            rights.grant_tenant(iam, tenant.account, tenant.external_id, [tenant.log_group], without)
        rights.grant_observer(self.aws.root("iam", self.tenants[0].account), without)

    def subscribe(self) -> None:
        """Gives every log group a subscription filter, about whose function nobody asks."""
        for tenant in self.tenants:
            self.aws.root("logs", tenant.account).put_subscription_filter(
                logGroupName=tenant.log_group, filterName=deploy.FILTER, filterPattern="",
                destinationArn=f"arn:aws:lambda:{deploy.REGION}:{tenant.account}:function:log-forwarder")

    def _put(self, bucket: str, key: str) -> None:
        self._s3.put_object(Bucket=bucket, Key=key, Body=gzip.compress(LINE))

    def _queue(self, account: str, name: str) -> str:
        sqs = self.aws.root("sqs", account)
        url = sqs.create_queue(QueueName=name)["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="given up")
        return url


def execute(places: Places, command: str) -> None:
    match command.split():
        case ["with", "all"]:
            places.grant()
        case ["without", file, sid]:
            places.grant(rights.Without(file, sid))
        case _:
            raise ValueError(f"unknown command {command!r}; known are `with all` and `without FILE SID`")


def main() -> int:
    parser = argparse.ArgumentParser(description="The policies with one statement less.")
    parser.add_argument("--dir", type=Path, required=True, help="folder for data and logs")
    home = parser.parse_args().dir.resolve()
    home.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    port = Port()
    places = Places(deploy.Aws(f"http://127.0.0.1:{port.number}"))
    ministack = Child("ministack", "ministack_launcher.py", [str(port.number), str(home / "ministack")], home, {})
    try:
        ministack.start()
        ministack.wait_until(lambda: ministack_is_up(places.aws.endpoint), START_SECONDS)
        places.create()
        places.subscribe()
        places.grant()
        print(json.dumps({
            "aws_endpoint": places.aws.endpoint,
            "credentials": deploy.task_environment(places.aws),
            "aggregator_letters": places.aggregator_letters,
            "forwarder_letters": places.forwarder_letters,
            "granted": [*rights.TASK_POLICIES, *rights.TENANT_POLICIES, "tenant-inject-trust", *rights.OBSERVER_POLICIES],
        }), flush=True)
        for line in sys.stdin:
            execute(places, line)
            print(json.dumps({"event": line.strip()}), flush=True)
        return 0
    finally:
        say("ends")
        ministack.stop()


if __name__ == "__main__":
    sys.exit(main())
