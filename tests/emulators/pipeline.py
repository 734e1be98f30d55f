"""Runs the whole log pipeline on third-party emulators, and executes commands of a test.

usage: pipeline.py --dir DIR [--tenants N] [--partitioning column|ingestion] [--dead-letters FORM,FORM]
       pipeline.py --self-check [--dir DIR] [--tenants N] [--outage SECONDS]

The first line on stdout is JSON with everything that a test needs. After that, each line on stdin is a command
(`stop-bigquery`, `start-bigquery`, `stop-aws`, `remove-filter`, `fault NAME`, `mend`, `quit`), answered by one line of JSON. When stdin closes or a child
dies, it ends with all its children. Messages for people go to stderr, the output of its children to files in DIR/logs.
"""

import argparse
import json
import os
import select
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import deploy
from bigquery import BigQuery
from faults import FAULTS, Faults
from gcs import Gcs
from processes import Child, Port, ministack_is_up, say

PROJECT, DATASET, TABLE = "traceprobe-test", "logs", "events"
PARTITIONING = {"column": {"type": "DAY", "field": "ingest_time"}, "ingestion": {"type": "DAY"}}
START_SECONDS = 60
WARM_UP_SECONDS = 60


class Pipeline:
    def __init__(self, home: Path, tenants: int, partitioning: str, dead_letters: str = "") -> None:
        self.home = home
        self.tenants = deploy.tenants(tenants)
        self.truth_file = home / "truth.ndjson"
        self._partitioning = PARTITIONING[partitioning]
        self._dead_letters = dead_letters
        self._aws_port, self._bigquery_port, self._gcs_port = Port(), Port(), Port()
        self.aws = deploy.Aws(f"http://127.0.0.1:{self._aws_port.number}")
        self.bigquery = BigQuery(
            f"http://127.0.0.1:{self._bigquery_port.number}/bigquery/v2", PROJECT, DATASET, TABLE)
        self.gcs = Gcs(f"http://127.0.0.1:{self._gcs_port.number}", deploy.TRANSFER_BUCKET)
        self._ministack = self._child("ministack", [str(self._aws_port.number), str(home / "ministack")])
        self._bqemulator = self._child(
            "bqemulator", [str(self._bigquery_port.number), str(home / "bqemulator"), PROJECT])
        self._gcs = self._child("gcs", [str(self._gcs_port.number)])
        self._transfer: Child | None = None
        self._deployed: dict = {}

    def _child(self, name: str, arguments: list[str]) -> Child:
        return Child(name, f"{name}_launcher.py", arguments, self.home, {})

    @property
    def _children(self) -> list[Child]:
        children = (self._transfer, self._gcs, self._bqemulator, self._ministack)
        return [child for child in children if child is not None]

    def start(self) -> None:
        started = time.monotonic()
        self.truth_file.touch()
        self._ministack.start()
        self._bqemulator.start()
        self._gcs.start()
        self._ministack.wait_until(lambda: ministack_is_up(self.aws.endpoint), START_SECONDS)
        say(f"ministack is up after {time.monotonic() - started:.1f} s")
        self._deployed = deploy.deploy(self.aws, self.tenants, self.truth_file, self._dead_letters)
        say(f"deployed after {time.monotonic() - started:.1f} s")
        deploy.warm(self.aws, self.tenants)
        self._bqemulator.wait_until(self.bigquery.is_up, START_SECONDS)
        self.bigquery.create_dataset()
        self.bigquery.create_table(deploy.TABLE_SCHEMA, self._partitioning)
        self._gcs.wait_until(self.gcs.is_up, START_SECONDS)
        self.gcs.create_bucket()
        self._start_transfer()
        self._send_first_lines()
        say(f"ready after {time.monotonic() - started:.1f} s")

    def _start_transfer(self) -> None:
        settings = self.home / "transfer.json"
        settings.write_text(json.dumps({
            "transit_bucket": deploy.TRANSIT_BUCKET,
            "gcs": {"url": self.gcs.url, "bucket": self.gcs.bucket},
            "bigquery": {"url": self.bigquery.url, "project": PROJECT, "dataset": DATASET, "table": TABLE},
        }))
        environment = {
            **self._deployed["transfer"],
            "AWS_ENDPOINT_URL": self.aws.endpoint,
            "TRUTH_FILE": str(self.truth_file),
        }
        self._transfer = Child("transfer", "transfer.py", [str(settings)], self.home, environment)
        self._transfer.start()

    def _send_first_lines(self) -> None:
        """Sends an ordinary line of every tenant through the pipeline, so that `ready` means that it works."""
        for tenant in self.tenants:
            logs = self.aws.root("logs", tenant.account)
            logs.create_log_stream(logGroupName=tenant.log_group, logStreamName="deployment")
            logs.put_log_events(
                logGroupName=tenant.log_group, logStreamName="deployment",
                logEvents=[{"timestamp": int(time.time() * 1000), "message": '{"level":"INFO","message":"deployed"}'}])
        sql = f"SELECT COUNT(DISTINCT tenant) FROM `{self.bigquery.table_name}`"
        self._transfer.wait_until(
            lambda: int(self.bigquery.query(sql)[0][0]) == len(self.tenants), WARM_UP_SECONDS)

    def stop(self) -> None:
        for child in self._children:
            child.stop()

    def stop_bigquery(self) -> None:
        self._bqemulator.stop()

    def start_bigquery(self) -> None:
        self._bqemulator.start()
        self._bqemulator.wait_until(self.bigquery.is_up, START_SECONDS)

    def stop_aws(self) -> None:
        # Without AWS the transfer cannot list objects and would exit.
        self._transfer.stop()
        self._ministack.stop()

    def remove_filter(self) -> None:
        """Removes the subscription filter of the first tenant's second log group."""
        tenant = self.tenants[0]
        logs = self.aws.root("logs", tenant.account)
        logs.delete_subscription_filter(logGroupName=tenant.log_groups[1], filterName=deploy.FILTER)

    @property
    def faults(self) -> Faults:
        return Faults(self.aws, self.tenants, self.truth_file)

    def dead(self) -> list[str]:
        return [f"{child.name} died; its log ends:\n{child.tail()}" for child in self._children if child.has_died()]

    @property
    def probe_environment(self) -> dict[str, str]:
        return deploy.task_environment(self.aws)

    @property
    def dead_letter_queue_url(self) -> str:
        return self._deployed["queue_url"]

    def description(self) -> dict:
        return {
            "event": "ready",
            "aws_endpoint": self.aws.endpoint,
            "bigquery_endpoint": self.bigquery.url,
            "gcs_endpoint": self.gcs.url,
            "region": deploy.REGION,
            "sre_account": deploy.SRE,
            "credentials": self.probe_environment,
            "root_credentials": {"AWS_ACCESS_KEY_ID": deploy.SRE, "AWS_SECRET_ACCESS_KEY": deploy.ROOT_SECRET},
            "tenants": [
                {
                    "name": tenant.name,
                    "account": tenant.account,
                    "role_arn": tenant.inject_role,
                    "external_id": tenant.external_id,
                    "log_group": tenant.log_group,
                    "log_groups": tenant.log_groups,
                    "stream": tenant.stream,
                }
                for tenant in self.tenants
            ],
            "stream": f"{deploy.STREAM_PREFIX}{{tenant}}",
            "central_stream": deploy.CENTRAL_STREAM,
            "archive_bucket": deploy.ARCHIVE_BUCKET,
            "archive_key": "archive/tenant={tenant}/dt=%Y-%m-%d/hour=%H/",
            "transit_bucket": deploy.TRANSIT_BUCKET,
            "transit_key": "transit/%Y/%m/%d/%H/",
            "transfer_bucket": deploy.TRANSFER_BUCKET,
            "transfer_key": "transfer/%Y/%m/%d/%H/",
            "export_log_group": deploy.EXPORT_LOG_GROUP,
            "dead_letter_queue_url": self.dead_letter_queue_url,
            "project": PROJECT,
            "table": self.bigquery.table_name,
            "id_column": "trace_id",
            "time_column": "ingest_time",
            "tenant_column": "tenant",
            "truth_file": str(self.truth_file),
            "logs": str(self.home / "logs"),
        }


def execute_commands(pipeline: Pipeline) -> int:
    """Executes commands until stdin closes, `quit`, or a child dies. Returns the exit code."""
    commands = {
        "stop-bigquery": pipeline.stop_bigquery,
        "start-bigquery": pipeline.start_bigquery,
        "stop-aws": pipeline.stop_aws,
        "remove-filter": pipeline.remove_filter,
        **{f"fault {name}": partial(pipeline.faults.put, name) for name in FAULTS},
        "mend": pipeline.faults.mend,
        "quit": lambda: None,
    }
    answer(pipeline.description())
    for command in lines_while(sys.stdin.fileno(), lambda: not pipeline.dead()):
        if command not in commands:
            answer({"event": "error", "message": f"unknown command {command!r}; known are {', '.join(commands)}"})
            continue
        started = time.time_ns() // 1000
        commands[command]()
        answer({"event": command, "started_us": started, "done_us": time.time_ns() // 1000})
        if command == "quit":
            return 0
    dead = pipeline.dead()
    for message in dead:
        say(message)
        answer({"event": "died", "message": message})
    return 1 if dead else 0


def lines_while(descriptor: int, is_running):
    """Yields lines until the other side closes or `is_running()` is false."""
    buffer = b""
    while is_running():
        if not select.select([descriptor], [], [], 0.5)[0]:
            continue
        chunk = os.read(descriptor, 4096)
        if not chunk:
            return
        buffer += chunk
        *lines, buffer = buffer.split(b"\n")
        yield from (line.decode().strip() for line in lines if line.strip())


def answer(document: dict) -> None:
    print(json.dumps(document), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="The log pipeline on emulators.")
    parser.add_argument("--dir", type=Path, help="folder for data and logs (default: a new temporary folder)")
    parser.add_argument("--tenants", type=int, default=2)
    parser.add_argument("--partitioning", choices=PARTITIONING, default="column",
                        help="how the BigQuery table is partitioned")
    parser.add_argument("--dead-letters", default="", metavar="FORM,FORM",
                        help="give up on three of ten canaries, in these forms (lambdas/letters.py)")
    parser.add_argument("--self-check", action="store_true", help="send events through, check every stage, and end")
    parser.add_argument("--outage", type=float, default=0, metavar="SECONDS",
                        help="with --self-check: stop BigQuery for this long meanwhile")
    arguments = parser.parse_args()
    if arguments.dir is None:
        arguments.dir = Path(tempfile.mkdtemp(prefix="traceprobe-pipeline-"))
    arguments.dir.mkdir(parents=True, exist_ok=True)
    say(f"data and logs are in {arguments.dir}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    pipeline = Pipeline(
        arguments.dir.resolve(), arguments.tenants, arguments.partitioning, arguments.dead_letters)
    try:
        pipeline.start()
        if arguments.self_check:
            from selfcheck import check

            return check(pipeline, arguments.outage)
        return execute_commands(pipeline)
    finally:
        pipeline.stop()


if __name__ == "__main__":
    sys.exit(main())
