"""The parameters of the stack of the probe, and how the console groups them."""

from policies import LIST_PARAMETERS
from yaml_text import Tag, ref

COLLECTOR_IMAGE = "public.ecr.aws/aws-observability/aws-otel-collector:v0.43.3"


def parameter(description, default=None, kind="String", **more):
    given = {} if default is None else {"Default": default}
    return {"Type": kind, "Description": description, **given, **more}


def is_set(name):
    """The condition that a parameter is not empty."""
    value = Tag("Join", ["", ref(name)]) if name in LIST_PARAMETERS else ref(name)
    return Tag("Not", [Tag("Equals", [value, ""])])


def listed(description):
    return parameter(f"{description} Empty if none.", "", "CommaDelimitedList")


PARAMETERS = {
    "Image": parameter(
        "The image with its digest, such as 999999999999.dkr.ecr.eu-central-1.amazonaws.com/traceprobe@sha256:..."
    ),
    "Repository": parameter(
        "Name of the ECR repository that holds the image, in this account and region.", "traceprobe"
    ),
    "CpuArchitecture": parameter("What the image was built for.", "X86_64", AllowedValues=["X86_64", "ARM64"]),
    "Cluster": parameter("Name of the ECS cluster.", "sre"),
    "DesiredCount": parameter(
        "0 before the checks have passed, then 1. Two tasks would send each canary twice.",
        1,
        "Number",
        MinValue=0,
        MaxValue=1,
    ),
    "VpcId": parameter("The VPC of the task.", kind="AWS::EC2::VPC::Id"),
    "SubnetIds": parameter(
        "Private subnets from which the services can be reached.", kind="List<AWS::EC2::Subnet::Id>"
    ),
    "AssignPublicIp": parameter(
        "ENABLED only in public subnets without NAT and endpoints.", "DISABLED", AllowedValues=["DISABLED", "ENABLED"]
    ),
    "HttpsProxy": parameter("HTTP proxy for calls to AWS and Google, such as http://proxy:3128. Empty if none.", ""),
    "NoProxy": parameter("What is reached without it, such as amazonaws.com,10.0.0.0/8.", ""),
    "ProxyPort": parameter("Port of the proxy, to which the security group then lets the task.", 3128, "Number"),
    "ScraperSecurityGroupId": parameter(
        "Security group of Prometheus or of the load balancer in front of the pages. Empty if none.", ""
    ),
    "ScraperCidr": parameter(
        "Addresses of Prometheus and of readers of the pages, such as 10.0.0.0/16. Empty if none.", ""
    ),
    "PermissionsBoundaryArn": parameter("A boundary that new roles must have. Empty if none.", ""),
    "ConfigurationSecretArn": parameter(
        "Secrets Manager secret (64 KB) with the text of the configuration. Empty if image or parameter have it.",
        "",
    ),
    "ConfigurationParameterArn": parameter(
        "Systems Manager parameter (4 KB, advanced 8 KB) that holds it instead. Empty if none.", ""
    ),
    "AcceptedTagKeysArn": parameter(
        "Secret with tag keys that no longer sign but are still accepted, during a rotation. Empty otherwise.", ""
    ),
    "TenantRoleArns": listed("The roles of the tenants that the probe assumes, one for each."),
    "ObserverRoleArns": listed("Roles in other accounts with which stages are read (role_arn of a stage)."),
    "StreamArns": listed("The Kinesis streams that it reads."),
    "StreamConsumerArns": listed("The probe's consumers of those that it reads with enhanced fan-out, with * at the end."),
    "StreamKeyArn": parameter("KMS key of these streams, if it is your own.", ""),
    "ArchiveBucket": parameter("The S3 bucket of the archive. Empty if none.", ""),
    "ArchivePrefixes": listed("What it lists there: one prefix for each tenant, with * at its end."),
    "ArchiveObjectArns": listed("What it reads there: the ARNs of the same prefixes, with * at the end."),
    "TransitBucket": parameter("The S3 bucket from which objects leave AWS. Empty if none.", ""),
    "TransitPrefix": parameter("What it lists and reads there, up to and with the last slash.", "transit/"),
    "ObjectKeyArn": parameter("KMS key of the objects in all buckets, if it is your own.", ""),
    "StageLogGroup": parameter("A log group that is a stage, such as /aws/lambda/export. Empty if none.", ""),
    "DeadLetterQueue": parameter("Name of an SQS queue for dead letters. Empty if none.", ""),
    "PeekIntoQueue": parameter("true if the stage has `peek = true`.", "false", AllowedValues=["true", "false"]),
    "DeadLetterQueueKeyArn": parameter("KMS key of that queue, if it is your own and the stage has `peek = true`.", ""),
    "DeadLetterBucket": parameter("A bucket for dead letters. Empty if none.", ""),
    "DeadLetterPrefix": parameter("What it lists and reads there, up to and with the last slash.", "dlq/"),
    "StoreFileSystemId": parameter(
        "An EFS file system on which state outlives the task. Empty: state is lost at each deployment.", ""
    ),
    "StoreSecurityGroupId": parameter("Security group of its mount targets, which then admits the task.", ""),
    "DnsNamespaceId": parameter("Cloud Map namespace in which the task registers as `traceprobe`. Empty if none.", ""),
    "RemoteWriteUrl": parameter(
        "Managed Prometheus (.../api/v1/remote_write) for a collector beside the probe. Empty if it is scraped.",
        "",
    ),
    "RemoteWriteWorkspaceArn": parameter("The workspace of that address.", ""),
    "CollectorImage": parameter("The collector (AWS Distro for OpenTelemetry).", COLLECTOR_IMAGE),
    "LogRetentionDays": parameter(
        "How long the probe's own log is kept.", 30, "Number", AllowedValues=[1, 3, 5, 7, 14, 30, 60, 90, 180, 365]
    ),
    "AlarmEmail": parameter("An address that is told of alarms. Others subscribe to the topic.", ""),
    "IncidentAlarm": parameter(
        "true: the topic is told of each incident, too, for those without Alertmanager.",
        "false",
        AllowedValues=["true", "false"],
    ),
}

GROUPS = {
    "Image and place": [
        "Image",
        "Repository",
        "CpuArchitecture",
        "Cluster",
        "DesiredCount",
        "VpcId",
        "SubnetIds",
        "AssignPublicIp",
        "HttpsProxy",
        "NoProxy",
        "ProxyPort",
        "PermissionsBoundaryArn",
    ],
    "Configuration and key": ["ConfigurationSecretArn", "ConfigurationParameterArn", "AcceptedTagKeysArn"],
    "What the probe may read and write": [
        "TenantRoleArns",
        "ObserverRoleArns",
        "StreamArns",
        "StreamConsumerArns",
        "StreamKeyArn",
        "ArchiveBucket",
        "ArchivePrefixes",
        "ArchiveObjectArns",
        "TransitBucket",
        "TransitPrefix",
        "ObjectKeyArn",
        "StageLogGroup",
        "DeadLetterQueue",
        "PeekIntoQueue",
        "DeadLetterQueueKeyArn",
        "DeadLetterBucket",
        "DeadLetterPrefix",
    ],
    "State": ["StoreFileSystemId", "StoreSecurityGroupId"],
    "Who scrapes and reads": [
        "ScraperSecurityGroupId",
        "ScraperCidr",
        "DnsNamespaceId",
        "RemoteWriteUrl",
        "RemoteWriteWorkspaceArn",
        "CollectorImage",
    ],
    "Log and alarms": ["LogRetentionDays", "AlarmEmail", "IncidentAlarm"],
}
