"""Parameters with which stacks are evaluated and created: the least, everything for 50 tenants, as many tenants as fit,
and the example."""

import json
import pathlib

IAM = pathlib.Path(__file__).resolve().parents[2] / "config" / "iam"

LEAST = {
    "Image": "999999999999.dkr.ecr.eu-central-1.amazonaws.com/traceprobe:0.1.0",
    "VpcId": "vpc-0123456789abcdef0",
    "SubnetIds": "subnet-0123456789abcdef0",
}
AWS = "eu-central-1:999999999999"
# Bytes of the value of a parameter (CloudFormation quotas).
LONGEST = 4096
# What the lists hold for one tenant. The names of tenants have ten characters.
ENTRIES = {
    "TenantRoleArns": "arn:aws:iam::111111111{number:03}:role/traceprobe-inject",
    "StreamArns": f"arn:aws:kinesis:{AWS}:stream/logs-tenant-{{number:03}}",
    "StreamConsumerArns": f"arn:aws:kinesis:{AWS}:stream/logs-tenant-{{number:03}}/consumer/traceprobe:*",
    "ArchivePrefixes": "archive/tenant=tenant-{number:03}/*",
    "ArchiveObjectArns": "arn:aws:s3:::sre-archive/archive/tenant=tenant-{number:03}/*",
}


def entries(name, tenants):
    """The value of a list for so many tenants."""
    return ",".join(ENTRIES[name].format(number=number) for number in range(tenants))


def capacity(name):
    """For how many tenants a list has room."""
    return max(tenants for tenants in range(1000) if len(entries(name, tenants)) <= LONGEST)


EVERYTHING = {
    **LEAST,
    "ConfigurationSecretArn": f"arn:aws:secretsmanager:{AWS}:secret:traceprobe/configuration-AbCdEf",
    "AcceptedTagKeysArn": f"arn:aws:secretsmanager:{AWS}:secret:traceprobe/tag-keys-accepted-AbCdEf",
    **{name: entries(name, min(50, capacity(name))) for name in ENTRIES},
    "ObserverRoleArns": "arn:aws:iam::111111111111:role/traceprobe-observe",
    "StreamKeyArn": f"arn:aws:kms:{AWS}:key/00000000-0000-0000-0000-000000000000",
    "ArchiveBucket": "sre-archive",
    "TransitBucket": "sre-transit",
    "ObjectKeyArn": f"arn:aws:kms:{AWS}:key/00000000-0000-0000-0000-000000000000",
    "StageLogGroup": "/aws/lambda/export",
    "DeadLetterQueue": "aggregator-dead-letters",
    "PeekIntoQueue": "true",
    "DeadLetterQueueKeyArn": f"arn:aws:kms:{AWS}:key/00000000-0000-0000-0000-000000000000",
    "DeadLetterBucket": "sre-archive",
    "StoreFileSystemId": "fs-0123456789abcdef0",
    "StoreSecurityGroupId": "sg-0123456789abcdef0",
    "ScraperSecurityGroupId": "sg-0123456789abcdef1",
    "ScraperCidr": "10.0.0.0/16",
    "DnsNamespaceId": "ns-0123456789abcdef",
    "RemoteWriteUrl": "https://aps-workspaces.eu-central-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write",
    "RemoteWriteWorkspaceArn": f"arn:aws:aps:{AWS}:workspace/ws-00000000-0000-0000-0000-000000000000",
    "HttpsProxy": "http://proxy.example.org:3128",
    "NoProxy": "amazonaws.com,10.0.0.0/8",
    "PermissionsBoundaryArn": "arn:aws:iam::999999999999:policy/boundary",
    "AlarmEmail": "on-call@example.org",
    "IncidentAlarm": "true",
}
MOST = {**EVERYTHING, **{name: entries(name, capacity(name)) for name in ENTRIES}}
OF_A_TENANT = {
    "ProbeRoleArn": "arn:aws:iam::999999999999:role/traceprobe-task",
    "ExternalId": "acme-7f3a9c",
    "LogGroupArns": "arn:aws:logs:eu-central-1:111111111111:log-group:/ecs/acme/app,"
    "arn:aws:logs:eu-central-1:111111111111:log-group:/ecs/acme/jobs",
}


def statements(file):
    return json.loads((IAM / file).read_text())["Statement"]


def example():
    """Those of the example, so that the stack has to grant what the files of config/iam grant."""
    task = {statement["Sid"]: statement for statement in statements("task-role.json")}
    listed = {
        "TenantRoleArns": task["AssumeTheRolesOfTheTenants"]["Resource"],
        "StreamArns": task["ReadTheTenantStreams"]["Resource"],
        "StreamConsumerArns": [
            arn for arn in statements("task-role-enhanced-fan-out.json")[0]["Resource"] if "/consumer/" in arn
        ],
        "ArchivePrefixes": task["ListTheArchive"]["Condition"]["StringLike"]["s3:prefix"],
        "ArchiveObjectArns": [arn for arn in task["ReadTheObjects"]["Resource"] if "sre-archive" in arn],
    }
    configuration = f"arn:aws:secretsmanager:{AWS}:secret:traceprobe/configuration-??????"
    accepted = f"arn:aws:secretsmanager:{AWS}:secret:traceprobe/tag-keys-accepted-??????"
    lists = {name: ",".join(values) for name, values in listed.items()}
    return {**EVERYTHING, **lists, "ConfigurationSecretArn": configuration, "AcceptedTagKeysArn": accepted}
