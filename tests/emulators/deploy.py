"""Deploys the pipeline: accounts, roles, log groups, streams, buckets, functions, and their connections.

Every tenant has its own AWS account, as in production; the SRE account holds the rest. MiniStack checks signatures,
trust policies with ExternalId, and identity policies, so each part gets a role with only the permissions that it needs;
the probe has those of `config/iam/` and no others (rights.py). Only the deployment acts as the root of an account, whose
access key id in MiniStack is the account's number.
"""

import io
import json
import urllib.request
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import botocore.session
from botocore.config import Config

import rights

HERE = Path(__file__).resolve().parent
REGION = "eu-central-1"
SRE = "999999999999"
ROOT_SECRET = "test"

ARCHIVE_BUCKET = "sre-archive"
TRANSIT_BUCKET = "sre-transit"
# In Google Cloud Storage.
TRANSFER_BUCKET = "gcp-transit"
CENTRAL_STREAM = "logs.central"
DEAD_LETTER_QUEUE = "aggregator-dead-letters"
DEAD_LETTER_TOPIC = "aggregator-failures"
STREAM_PREFIX = "logs-"
# Where the exporter writes what it exports.
EXPORT_LOG_GROUP, EXPORT_LOG_STREAM = "/aws/lambda/export", "1"
# The subscription filter of every log group.
FILTER = "forward"

TABLE_SCHEMA = [
    {"name": "trace_id", "type": "STRING"},
    {"name": "tenant", "type": "STRING"},
    {"name": "message", "type": "STRING"},
    {"name": "ingest_time", "type": "TIMESTAMP"},
]


@dataclass(frozen=True)
class Tenant:
    name: str
    account: str
    external_id: str

    @property
    def log_group(self) -> str:
        return f"/ecs/{self.name}/app"

    @property
    def log_groups(self) -> list[str]:
        """All of them; tests decide how many they use."""
        return [self.log_group, f"/ecs/{self.name}/worker", f"/aws/lambda/{self.name}"]

    @property
    def stream(self) -> str:
        return f"{STREAM_PREFIX}{self.name}"

    @property
    def inject_role(self) -> str:
        return f"arn:aws:iam::{self.account}:role/traceprobe-inject"


# Those of the shipped policies.
TENANTS = [Tenant("acme", "111111111111", "acme-7f3a9c"), Tenant("globex", "333333333333", "globex-1b90d4")]


def tenants(count: int) -> list[Tenant]:
    if count > len(TENANTS):
        raise ValueError(f"the policies in config/iam are for {len(TENANTS)} tenants, not {count}")
    return TENANTS[:count]


class Aws:
    """Clients of one endpoint."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._session = botocore.session.get_session()

    def client(self, service: str, key_id: str, secret: str, token: str | None = None, region: str = REGION):
        return self._session.create_client(
            service, region, endpoint_url=self.endpoint,
            aws_access_key_id=key_id, aws_secret_access_key=secret, aws_session_token=token,
            config=Config(s3={"addressing_style": "path"}, retries={"mode": "standard", "max_attempts": 3}),
        )

    @cache
    def root(self, service: str, account: str, region: str = REGION):
        return self.client(service, account, ROOT_SECRET, region=region)


def deploy(aws: Aws, the_tenants: list[Tenant], truth_file: Path, dead_letters: str) -> dict:
    """Deploys everything. Returns the credentials of the transfer, and the URL of the queue. `dead_letters` are the forms in
    which canaries are given up."""
    truth_environment = {"TRUTH_FILE": str(truth_file)}
    code = _code()
    iam = aws.root("iam", SRE)
    s3 = aws.root("s3", SRE)
    kinesis = aws.root("kinesis", SRE)
    for bucket in (ARCHIVE_BUCKET, TRANSIT_BUCKET):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    for stream in [CENTRAL_STREAM, *(tenant.stream for tenant in the_tenants)]:
        kinesis.create_stream(StreamName=stream, ShardCount=1)
    for stream in [CENTRAL_STREAM, *(tenant.stream for tenant in the_tenants)]:
        kinesis.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 1})
    for tenant in the_tenants:
        kinesis.register_stream_consumer(StreamARN=stream_arn(tenant.stream), ConsumerName="traceprobe")
    queue_arn = f"arn:aws:sqs:{REGION}:{SRE}:{DEAD_LETTER_QUEUE}"
    topic_arn = aws.root("sns", SRE).create_topic(Name=DEAD_LETTER_TOPIC)["TopicArn"]
    from_topic = document({
        "Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage",
        "Resource": queue_arn, "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
    })
    queue_url = aws.root("sqs", SRE).create_queue(
        QueueName=DEAD_LETTER_QUEUE, Attributes={"Policy": json.dumps(from_topic)})["QueueUrl"]
    aws.root("sns", SRE).subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=queue_arn)

    rights.grant_task(iam)
    transfer = _user(iam, "data-transfer", document(
        allow(["s3:ListBucket"], f"arn:aws:s3:::{TRANSIT_BUCKET}"),
        allow(["s3:GetObject"], f"arn:aws:s3:::{TRANSIT_BUCKET}/transit/*"),
    ))
    for tenant in the_tenants:
        _deploy_tenant(aws, tenant, code, truth_environment)

    read = ["kinesis:ListShards", "kinesis:GetShardIterator", "kinesis:GetRecords", "kinesis:DescribeStream"]
    _function(aws, SRE, "aggregator", code, {
        **truth_environment,
        "CENTRAL_STREAM": CENTRAL_STREAM,
        "ARCHIVE_BUCKET": ARCHIVE_BUCKET,
        "DEAD_LETTER_QUEUE_URL": queue_url,
        "DEAD_LETTER_TOPIC_ARN": topic_arn,
        "DEAD_LETTERS": dead_letters,
        "STREAM_PREFIX": STREAM_PREFIX,
    }, document(
        allow(read, stream_arn(f"{STREAM_PREFIX}*")),
        allow(["kinesis:PutRecords"], stream_arn(CENTRAL_STREAM)),
        allow(["s3:PutObject"], f"arn:aws:s3:::{ARCHIVE_BUCKET}/archive/*"),
        allow(["sqs:SendMessage"], queue_arn),
        allow(["sns:Publish"], topic_arn),
    ))
    logs = aws.root("logs", SRE)
    logs.create_log_group(logGroupName=EXPORT_LOG_GROUP)
    logs.create_log_stream(logGroupName=EXPORT_LOG_GROUP, logStreamName=EXPORT_LOG_STREAM)
    _function(aws, SRE, "exporter", code, {
        **truth_environment, "TRANSIT_BUCKET": TRANSIT_BUCKET,
        "EXPORT_LOG_GROUP": EXPORT_LOG_GROUP, "EXPORT_LOG_STREAM": EXPORT_LOG_STREAM,
    }, document(
        allow(["logs:PutLogEvents"], f"arn:aws:logs:{REGION}:{SRE}:log-group:{EXPORT_LOG_GROUP}"),
        allow(read, stream_arn(CENTRAL_STREAM)),
        allow(["s3:PutObject"], f"arn:aws:s3:::{TRANSIT_BUCKET}/transit/*"),
    ))
    functions = aws.root("lambda", SRE)
    mappings = [(tenant.stream, "aggregator") for tenant in the_tenants] + [(CENTRAL_STREAM, "exporter")]
    for stream, function in mappings:
        # LATEST would begin at MiniStack's first poll, which may be after the first record.
        functions.create_event_source_mapping(
            EventSourceArn=stream_arn(stream), FunctionName=function, StartingPosition="TRIM_HORIZON", BatchSize=100)
    return {"transfer": transfer, "queue_url": queue_url}


def _deploy_tenant(aws: Aws, tenant: Tenant, code: bytes, environment: dict) -> None:
    logs = aws.root("logs", tenant.account)
    for log_group in tenant.log_groups:
        logs.create_log_group(logGroupName=log_group)
    iam = aws.root("iam", tenant.account)
    rights.grant_tenant(iam, tenant.account, tenant.external_id, tenant.log_groups)

    writer = f"arn:aws:iam::{SRE}:role/log-writer-{tenant.name}"
    writer_external_id = f"log-writer-{tenant.name}-0815"
    forwarder = _function(
        aws, tenant.account, "log-forwarder", code,
        {**environment, "STREAM": tenant.stream, "WRITER_ROLE_ARN": writer, "WRITER_EXTERNAL_ID": writer_external_id},
        document(allow(["sts:AssumeRole"], writer)))
    role(aws.root("iam", SRE), f"log-writer-{tenant.name}",
          trust({"AWS": f"arn:aws:iam::{tenant.account}:root"}, writer_external_id),
          document(allow(["kinesis:PutRecords"], stream_arn(tenant.stream))))
    aws.root("lambda", tenant.account).add_permission(
        FunctionName="log-forwarder", StatementId="logs", Action="lambda:InvokeFunction",
        Principal="logs.amazonaws.com", SourceAccount=tenant.account)
    for log_group in tenant.log_groups:
        logs.put_subscription_filter(
            logGroupName=log_group, filterName=FILTER, filterPattern="", destinationArn=forwarder)


def warm(aws: Aws, the_tenants: list[Tenant]) -> None:
    """Calls each function once, so that no canary waits for a process to start."""
    functions = [(tenant.account, "log-forwarder") for tenant in the_tenants]
    for account, name in [*functions, (SRE, "aggregator"), (SRE, "exporter")]:
        answer = aws.root("lambda", account).invoke(FunctionName=name, Payload=b"{}")
        if answer.get("FunctionError"):
            raise RuntimeError(f"{name} in {account}: {answer['Payload'].read().decode()}")


def task_environment(aws: Aws) -> dict[str, str]:
    """The environment of a task that ECS starts: it leads to the credentials of the task role."""
    return {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{aws.endpoint}/v2/credentials/traceprobe",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }


def task_client(aws: Aws, service: str):
    """A client with the rights of the probe."""
    with urllib.request.urlopen(task_environment(aws)["AWS_CONTAINER_CREDENTIALS_FULL_URI"], timeout=5) as answer:
        keys = json.load(answer)
    return aws.client(service, keys["AccessKeyId"], keys["SecretAccessKey"], keys["Token"])


def _function(aws: Aws, account: str, name: str, code: bytes, environment: dict, policy: dict) -> str:
    arn = role(aws.root("iam", account), name, trust({"Service": "lambda.amazonaws.com"}), policy)
    return aws.root("lambda", account).create_function(
        FunctionName=name, Runtime="python3.11", Handler=f"{name.replace('log-', '')}.handler", Role=arn,
        Code={"ZipFile": code}, Environment={"Variables": environment}, Timeout=60, MemorySize=256,
    )["FunctionArn"]


def _code() -> bytes:
    """All functions in one archive; each has its own handler."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((HERE / "lambdas").glob("*.py")):
            archive.write(path, path.name)
    return buffer.getvalue()


def role(iam, name: str, trust: dict, document: dict) -> str:
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=json.dumps(document))
    return arn


def _user(iam, name: str, document: dict) -> dict[str, str]:
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }


def trust(principal: dict, external_id: str | None = None) -> dict:
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    if external_id:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
    return document(statement)


def document(*statements: dict) -> dict:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(actions: list[str], resource: str) -> dict:
    return {"Effect": "Allow", "Action": actions, "Resource": resource}


def stream_arn(name: str) -> str:
    return f"arn:aws:kinesis:{REGION}:{SRE}:stream/{name}"
