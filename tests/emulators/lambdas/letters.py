"""Gives up on three of ten canaries, in each form in which a dead letter may come into a queue; on all of them while the
switch `give-up` is on.

A whole record of the stream is given up. The bodies have the form of AWS's own messages ("Retaining records of
asynchronous invocations" and "Configuring destinations for Kinesis event sources" in the Lambda developer guide), since
MiniStack sends none by itself; the notification really goes through a topic.

Environment: DEAD_LETTERS (forms, separated by commas; empty for none), DEAD_LETTER_QUEUE_URL, DEAD_LETTER_TOPIC_ARN.
"""

import json
import os

import cloud
import switches
import truth

STAGE = "dead_letter"

_sqs, _sns = cloud.client("sqs"), cloud.client("sns")


def form_of(messages: list[str]) -> str | None:
    """The form in which a record with these messages is given up; None if it is not."""
    if switches.is_on("give-up") and truth.tags_in(messages):
        return "on_failure"
    forms = [form for form in os.environ.get("DEAD_LETTERS", "").split(",") if form]
    for tag in truth.tags_in(messages) if forms else []:
        # Digits of the random part of the trace id.
        number = int(tag[21:37], 16)
        if number % 10 < 3:
            return forms[number // 10 % len(forms)]
    return None


def give_up(form: str, record: dict, messages: list[str]) -> None:
    event = {"awslogs": {"data": record["kinesis"]["data"]}}
    before = truth.now_us()
    if form == "record":
        for message in messages:
            _send(message)
    elif form == "event":
        _send(json.dumps(event))
    elif form == "on_failure":
        _send(json.dumps(_failed({"requestPayload": event, "responsePayload": {"errorMessage": "gave up"}})))
    elif form == "notification":
        _sns.publish(TopicArn=os.environ["DEAD_LETTER_TOPIC_ARN"], Message=json.dumps(_failed({"requestPayload": event})))
    elif form == "batch":
        sequence = record["kinesis"]["sequenceNumber"]
        _send(json.dumps(_failed({"KinesisBatchInfo": {
            "shardId": record["eventID"].partition(":")[0],
            "startSequenceNumber": sequence,
            "endSequenceNumber": sequence,
            "batchSize": 1,
            "streamArn": record["eventSourceARN"],
        }})))
    else:
        raise ValueError(f"unknown form {form!r}")
    truth.record(STAGE, messages, before, truth.now_us())
    truth.record(f"{STAGE}:{form}", messages, before, truth.now_us())


def _send(body: str) -> None:
    _sqs.send_message(QueueUrl=os.environ["DEAD_LETTER_QUEUE_URL"], MessageBody=body)


def _failed(content: dict) -> dict:
    return {
        "version": "1.0",
        "requestContext": {"functionArn": "aggregator", "condition": "RetryAttemptsExhausted", "approximateInvokeCount": 3},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        **content,
    }
