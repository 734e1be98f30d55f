"""Clients, and PutRecords with retries, because it may succeed in part."""

import time

import botocore.session
from botocore.config import Config

CONFIG = Config(s3={"addressing_style": "path"}, retries={"mode": "standard", "max_attempts": 5})


def client(service: str, credentials: dict | None = None):
    """A client with the function's own role, or with credentials from AssumeRole."""
    keys = {}
    if credentials:
        keys = {
            "aws_access_key_id": credentials["AccessKeyId"],
            "aws_secret_access_key": credentials["SecretAccessKey"],
            "aws_session_token": credentials["SessionToken"],
        }
    return botocore.session.get_session().create_client(service, config=CONFIG, **keys)


def put_records(kinesis, stream: str, records: list[dict]) -> None:
    """Puts all records and retries those that Kinesis refuses. Raises after eight attempts."""
    left = records
    for attempt in range(8):
        answer = kinesis.put_records(StreamName=stream, Records=left)
        if not answer.get("FailedRecordCount"):
            return
        left = [record for record, result in zip(left, answer["Records"]) if result.get("ErrorCode")]
        time.sleep(0.05 * 2**attempt)
    raise RuntimeError(f"{stream} refused {len(left)} records: {answer['Records']}")
