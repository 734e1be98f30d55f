"""Aggregator: from the tenants' streams to the archive and the central stream.

The tenant is that of the stream a record came from, whatever the record contains. The function itself sends what
cannot be parsed to the dead-letter queue and continues with the batch.

Environment: CENTRAL_STREAM, ARCHIVE_BUCKET, DEAD_LETTER_QUEUE_URL, STREAM_PREFIX, TRUTH_FILE.
"""

import base64
import gzip
import json
import os
import time

import cloud
import letters
import switches
import truth

ARCHIVE = "archive"
CENTRAL = "central_stream"

_s3, _kinesis, _sqs = (cloud.client(service) for service in ("s3", "kinesis", "sqs"))


def handler(event, _context):
    records = event.get("Records", [])
    rows = []
    for record in records:
        stream = record["eventSourceARN"].rpartition("/")[2]
        found = _rows(stream.removeprefix(os.environ["STREAM_PREFIX"]), record["kinesis"])
        messages = [row["message"] for row in found]
        if form := letters.form_of(messages):
            letters.give_up(form, record, messages)
        else:
            rows += found
    if rows:
        # The archive comes first: if a batch is repeated, its object is overwritten, but records in a stream cannot be
        # removed.
        _archive(rows, records[0]["kinesis"])
        _forward(rows)
    return {"rows": len(rows)}


def _rows(tenant: str, record: dict) -> list[dict]:
    data = base64.b64decode(record["data"])
    try:
        envelope = json.loads(gzip.decompress(data))
        log_events = envelope["logEvents"]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        _dead_letter(tenant, "not a subscription envelope", error, base64.b64encode(data).decode())
        return []
    rows = []
    for log_event in log_events:
        message = log_event["message"]
        try:
            if not isinstance(json.loads(message), dict):
                raise ValueError("not a JSON object")
        except ValueError as error:
            _dead_letter(tenant, "not a JSON line", error, message)
            continue
        rows.append({
            "tenant": tenant,
            "log_group": envelope["logGroup"],
            "log_stream": envelope["logStream"],
            "event_id": log_event["id"],
            "timestamp": log_event["timestamp"],
            "message": message,
        })
    return rows


def _archive(rows: list[dict], first: dict) -> None:
    tenant = rows[0]["tenant"]
    hour = time.strftime("dt=%Y-%m-%d/hour=%H", time.gmtime())
    name = f"{int(first['approximateArrivalTimestamp'] * 1000):013d}-{first['sequenceNumber']}.ndjson.gz"
    body = _orc(rows) if switches.is_on("archive-orc") else _ndjson(rows)
    before = truth.now_us()
    _s3.put_object(Bucket=os.environ["ARCHIVE_BUCKET"], Key=f"archive/tenant={tenant}/{hour}/{name}", Body=body)
    truth.record(ARCHIVE, (row["message"] for row in rows), before, truth.now_us())


def _ndjson(rows: list[dict]) -> bytes:
    return gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())


def _orc(rows: list[dict]) -> bytes:
    import pyarrow as pa
    import pyarrow.orc

    target = pa.BufferOutputStream()
    pa.orc.write_table(pa.Table.from_pylist(rows), target, compression="zlib")
    return target.getvalue().to_pybytes()


def _forward(rows: list[dict]) -> None:
    records = [{"Data": json.dumps(row).encode(), "PartitionKey": row["event_id"]} for row in rows]
    # PutRecords takes up to 500 records and 5 MiB (Kinesis API reference); 10 KB is our largest line.
    for start in range(0, len(records), 400):
        before = truth.now_us()
        cloud.put_records(_kinesis, os.environ["CENTRAL_STREAM"], records[start:start + 400])
        messages = (row["message"] for row in rows[start:start + 400])
        truth.record(CENTRAL, messages, before, truth.now_us())


def _dead_letter(tenant: str, reason: str, error: Exception, content: str) -> None:
    body = json.dumps({"tenant": tenant, "reason": reason, "error": str(error), "content": content})
    _sqs.send_message(QueueUrl=os.environ["DEAD_LETTER_QUEUE_URL"], MessageBody=body)
