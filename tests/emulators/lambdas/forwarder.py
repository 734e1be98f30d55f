"""Log forwarder: from a tenant's log group to the tenant's stream in the SRE account.

It runs in the tenant's account and assumes a role of the SRE account. The record is the same as that of a direct
subscription to Kinesis: the unchanged gzip envelope.

Environment: STREAM, WRITER_ROLE_ARN, WRITER_EXTERNAL_ID, TRUTH_FILE.
"""

import base64
import gzip
import json
import os
import time
import uuid

import cloud
import truth

STAGE = "tenant_stream"
# A session is renewed this long before it ends.
RENEW_SECONDS = 300

_sts = cloud.client("sts")
_session = {"kinesis": None, "ends": 0.0}


def handler(event, _context):
    if "awslogs" not in event:
        # A warm-up call, which does what takes time on the first call.
        _kinesis()
        return {"warm": True}
    envelope = base64.b64decode(event["awslogs"]["data"])
    content = json.loads(gzip.decompress(envelope))
    if content["messageType"] == "CONTROL_MESSAGE":
        return {"forwarded": 0}
    messages = [log_event["message"] for log_event in content["logEvents"]]
    kinesis = _kinesis()
    before = truth.now_us()
    cloud.put_records(kinesis, os.environ["STREAM"], [{"Data": envelope, "PartitionKey": uuid.uuid4().hex}])
    truth.record(STAGE, messages, before, truth.now_us())
    return {"forwarded": len(messages)}


def _kinesis():
    if time.time() > _session["ends"] - RENEW_SECONDS:
        credentials = _sts.assume_role(
            RoleArn=os.environ["WRITER_ROLE_ARN"],
            RoleSessionName="log-forwarder",
            ExternalId=os.environ["WRITER_EXTERNAL_ID"],
        )["Credentials"]
        _session["kinesis"] = cloud.client("kinesis", credentials)
        _session["ends"] = credentials["Expiration"].timestamp()
    return _session["kinesis"]
