"""Exporter: from the central stream to the transit prefix, which all tenants share.

It also puts what it exports into a log group. MiniStack's own logs of functions would not do: their events have no id.

Environment: TRANSIT_BUCKET, EXPORT_LOG_GROUP, EXPORT_LOG_STREAM, TRUTH_FILE.
"""

import base64
import gzip
import json
import os
import time

import cloud
import truth

STAGE = "transit"

_s3, _logs = cloud.client("s3"), cloud.client("logs")


def handler(event, _context):
    records = event.get("Records", [])
    if not records:
        return {"warm": True}
    lines, messages = [], []
    for record in records:
        row = json.loads(base64.b64decode(record["kinesis"]["data"]))
        lines.append(json.dumps({"tenant": row["tenant"], "message": row["message"]}) + "\n")
        messages.append(row["message"])
    first = records[0]["kinesis"]
    hour = time.strftime("%Y/%m/%d/%H", time.gmtime())
    # Named by its content, so that a repeated batch overwrites its own object.
    name = f"{int(first['approximateArrivalTimestamp'] * 1000):013d}-{first['sequenceNumber']}.ndjson.gz"
    body = gzip.compress("".join(lines).encode())
    before = truth.now_us()
    _s3.put_object(Bucket=os.environ["TRANSIT_BUCKET"], Key=f"transit/{hour}/{name}", Body=body)
    truth.record(STAGE, messages, before, truth.now_us())
    now = int(time.time() * 1000)
    _logs.put_log_events(
        logGroupName=os.environ["EXPORT_LOG_GROUP"], logStreamName=os.environ["EXPORT_LOG_STREAM"],
        logEvents=[{"timestamp": now, "message": line} for line in lines])
    return {"rows": len(lines)}
