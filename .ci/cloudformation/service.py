"""The stack of the probe: task definition, service, roles, log, secret, discovery, alarms."""

import json
import pathlib

from alarms import alarms
from parameters import GROUPS, PARAMETERS, is_set
from policies import converted, document, whole
from yaml_text import Note, Tag, att, either, ref, sub

ECS = pathlib.Path(__file__).resolve().parents[2] / "config" / "ecs"

HEAD = """\
The probe on ECS. Generated from config/ecs/*.json and config/iam/*.json: change those or .ci/cloudformation, then
`make ecs-files`. How to use it, step by step: docs/deploy.md."""


TASK_POLICIES = [
    "task-role.json",
    "task-role-observer.json",
    "task-role-enhanced-fan-out.json",
    "task-role-log-group-stage.json",
    "task-role-dead-letter-stage.json",
    "task-role-dead-letter-queue.json",
    "task-role-store.json",
    "task-role-remote-write.json",
]
EXECUTION_POLICIES = ["execution-role.json", "execution-role-configuration.json"]

# Outlives the stack, unless the stack is rolled back while it is first created: its name would block the next attempt.
KEPT = {"DeletionPolicy": "RetainExceptOnCreate", "UpdateReplacePolicy": "Retain"}

# What the collector reaches without a proxy: the probe, and the credentials and metadata of the task.
ON_THE_TASK = "127.0.0.1,169.254.170.2"

# The collector's configuration. Its exporter signs requests with the task role.
COLLECTOR = """\
receivers:
  prometheus:
    config:
      global:
        scrape_interval: 15s
        scrape_timeout: 10s
      scrape_configs:
        - job_name: traceprobe
          static_configs:
            - targets: ["127.0.0.1:9464"]
              labels:
                instance: traceprobe
exporters:
  prometheusremotewrite:
    endpoint: ${RemoteWriteUrl}
    auth:
      authenticator: sigv4auth
extensions:
  sigv4auth:
    service: aps
    region: ${AWS::Region}
  health_check:
service:
  extensions: [sigv4auth, health_check]
  pipelines:
    metrics:
      receivers: [prometheus]
      exporters: [prometheusremotewrite]
"""


def together(name, other, meaning):
    """A rule: who sets one parameter has to set the other."""
    is_empty = lambda of: Tag("Equals", [ref(of), ""])
    return {
        "RuleCondition": Tag("Not", [is_empty(name)]),
        "Assertions": [
            {"Assert": Tag("Not", [is_empty(other)]), "AssertDescription": f"{name} needs {other}: {meaning}"}
        ],
    }


def pascal(value):
    """Keys as CloudFormation spells them: `taskRoleArn` is `TaskRoleArn`. Options of a log driver stay as they are."""
    if isinstance(value, dict):
        keep = lambda name: name[:1].upper() + name[1:]
        return {keep(name): entry if name == "options" else pascal(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [pascal(entry) for entry in value]
    return value


def task_definition():
    task = pascal(json.loads((ECS / "task-definition.json").read_text()))
    [probe] = task.pop("ContainerDefinitions")
    task["RuntimePlatform"]["CpuArchitecture"] = ref("CpuArchitecture")
    task["TaskRoleArn"], task["ExecutionRoleArn"] = att("TaskRole.Arn"), att("ExecutionRole.Arn")
    task["Cpu"] = either("HasRemoteWriteUrl", "512", task["Cpu"])
    task["Memory"] = either("HasRemoteWriteUrl", "1024", task["Memory"])
    probe["Image"] = ref("Image")
    options = probe["LogConfiguration"]["Options"]
    options["awslogs-group"], options["awslogs-region"] = ref("LogGroup"), ref("AWS::Region")
    probe["Environment"].append(
        either("HasStoreFileSystemId", {"Name": "TRACEPROBE_STORE_PATH", "Value": "/var/lib/traceprobe/traceprobe.db"})
    )
    for condition, name, parameter in [
        ("HasHttpsProxy", "HTTPS_PROXY", "HttpsProxy"),
        ("HasNoProxy", "NO_PROXY", "NoProxy"),
    ]:
        probe["Environment"].append(either(condition, {"Name": name, "Value": ref(parameter)}))
    key, configuration = (secret["Name"] for secret in probe["Secrets"])
    probe["Secrets"] = [
        {"Name": key, "ValueFrom": ref("TagKey")},
        either("HasConfigurationSecretArn", {"Name": configuration, "ValueFrom": ref("ConfigurationSecretArn")}),
        either("HasConfigurationParameterArn", {"Name": configuration, "ValueFrom": ref("ConfigurationParameterArn")}),
        either(
            "HasAcceptedTagKeysArn", {"Name": "TRACEPROBE_TAG_KEYS_ACCEPTED", "ValueFrom": ref("AcceptedTagKeysArn")}
        ),
    ]
    mount = {"SourceVolume": "store", "ContainerPath": "/var/lib/traceprobe", "ReadOnly": False}
    probe["MountPoints"] = [either("HasStoreFileSystemId", mount)]
    collector = {
        "Name": "collector",
        "Image": ref("CollectorImage"),
        Note("If it fails, it is started again and the probe goes on; TraceprobeDown fires meanwhile."): None,
        "Essential": False,
        "RestartPolicy": {"Enabled": True, "RestartAttemptPeriod": 60},
        "Command": ["--config=env:AOT_CONFIG_CONTENT"],
        "Environment": [
            {"Name": "AOT_CONFIG_CONTENT", "Value": Tag("Sub", COLLECTOR)},
            either("HasHttpsProxy", {"Name": "HTTPS_PROXY", "Value": ref("HttpsProxy")}),
            either(
                "HasHttpsProxy",
                {
                    "Name": "NO_PROXY",
                    "Value": either("HasNoProxy", sub(ON_THE_TASK + ",${NoProxy}"), ON_THE_TASK),
                },
            ),
        ],
        "LinuxParameters": {"Capabilities": {"Drop": ["ALL"]}},
        "LogConfiguration": {
            "LogDriver": "awslogs",
            "Options": {**options, "awslogs-stream-prefix": "collector"},
        },
    }
    task["ContainerDefinitions"] = [probe, either("HasRemoteWriteUrl", collector)]
    volume = {
        "Name": "store",
        "EFSVolumeConfiguration": {
            "FilesystemId": ref("StoreFileSystemId"),
            "TransitEncryption": "ENABLED",
            "AuthorizationConfig": {"AccessPointId": ref("StoreAccessPoint"), "IAM": "ENABLED"},
        },
    }
    task["Volumes"] = either("HasStoreFileSystemId", [volume])
    return {"Type": "AWS::ECS::TaskDefinition", "Properties": task}


def service():
    shape = pascal(json.loads((ECS / "service.json").read_text()))
    shape["TaskDefinition"] = ref("TaskDefinition")
    shape["Cluster"], shape["DesiredCount"] = ref("Cluster"), ref("DesiredCount")
    shape["NetworkConfiguration"]["AwsvpcConfiguration"] = {
        "Subnets": ref("SubnetIds"),
        "SecurityGroups": [att("SecurityGroup.GroupId")],
        "AssignPublicIp": ref("AssignPublicIp"),
    }
    shape["ServiceRegistries"] = either("HasDnsNamespaceId", [{"RegistryArn": att("Discovery.Arn")}])
    return {"Type": "AWS::ECS::Service", "Properties": shape}


def role(name, description, files, conditions):
    """A role, and the managed policies that it has.

    Statements that grow with the tenants are managed policies, which have room for 6,144 characters each; the others
    are inside the role, which has room for 10,240 characters in all (IAM and STS quotas). A role may have 10 managed
    policies. It names them, so that they are there before a task runs with it.
    """
    managed, arns, inline = {}, [], []
    for made, needs in (pair for file in files for pair in converted(file)):
        sid, condition = made["Sid"], needs.condition(made["Sid"], conditions)
        if needs.is_per_tenant():
            properties = {"PolicyDocument": document([made])}
            managed[sid] = {"Type": "AWS::IAM::ManagedPolicy", "Condition": condition, "Properties": properties}
            arns.append(either(condition, ref(sid)))
        else:
            policy = {"PolicyName": sid, "PolicyDocument": document([made])}
            inline.append(either(condition, policy) if condition else policy)
    properties = {
        "RoleName": name,
        "Description": description,
        "AssumeRolePolicyDocument": whole("task-role-trust.json"),
        "PermissionsBoundary": either("HasPermissionsBoundaryArn", ref("PermissionsBoundaryArn")),
        **({"ManagedPolicyArns": arns} if arns else {}),
        "Policies": inline,
    }
    return {"Type": "AWS::IAM::Role", "Properties": properties}, managed


def resources(conditions):
    port = {"IpProtocol": "tcp", "FromPort": 9464, "ToPort": 9464}
    pages = lambda condition, **peer: either(condition, {**port, **peer, "Description": "Prometheus and the pages"})
    https = {
        "IpProtocol": "tcp",
        "FromPort": 443,
        "ToPort": 443,
        "CidrIp": "0.0.0.0/0",
        "Description": "AWS and Google",
    }
    proxy = {
        "IpProtocol": "tcp",
        "FromPort": ref("ProxyPort"),
        "ToPort": ref("ProxyPort"),
        "CidrIp": "0.0.0.0/0",
        "Description": "Proxy",
    }
    nfs = {"IpProtocol": "tcp", "FromPort": 2049, "ToPort": 2049, "Description": "Store of the probe"}
    task_role, managed = role("traceprobe-task", "What the probe may do", TASK_POLICIES, conditions)
    execution_role, _ = role(
        "traceprobe-execution", "What ECS may do to start the probe", EXECUTION_POLICIES, conditions
    )
    return {
        "LogGroup": {
            "Type": "AWS::Logs::LogGroup",
            **KEPT,
            "Properties": {"LogGroupName": "/ecs/traceprobe", "RetentionInDays": ref("LogRetentionDays")},
        },
        Note(
            "32 random bytes as hexadecimal digits, which nobody has to see. To rotate it: docs/permissions.md#secrets."
        ): None,
        "TagKey": {
            "Type": "AWS::SecretsManager::Secret",
            **KEPT,
            "Properties": {
                "Name": "traceprobe/tag-key",
                "Description": "Signs the tags of canaries",
                "GenerateSecretString": {
                    "PasswordLength": 64,
                    "ExcludeUppercase": True,
                    "ExcludePunctuation": True,
                    "ExcludeCharacters": "ghijklmnopqrstuvwxyz",
                },
            },
        },
        **managed,
        "TaskRole": task_role,
        "ExecutionRole": execution_role,
        "SecurityGroup": {
            "Type": "AWS::EC2::SecurityGroup",
            "Properties": {
                "GroupDescription": "traceprobe",
                "VpcId": ref("VpcId"),
                "SecurityGroupIngress": [
                    pages("HasScraperSecurityGroupId", SourceSecurityGroupId=ref("ScraperSecurityGroupId")),
                    pages("HasScraperCidr", CidrIp=ref("ScraperCidr")),
                ],
                "SecurityGroupEgress": [
                    https,
                    either("HasHttpsProxy", proxy),
                    either(
                        "HasStoreSecurityGroupId", {**nfs, "DestinationSecurityGroupId": ref("StoreSecurityGroupId")}
                    ),
                ],
            },
        },
        "StoreIngress": {
            "Type": "AWS::EC2::SecurityGroupIngress",
            "Condition": "HasStoreSecurityGroupId",
            "Properties": {
                "GroupId": ref("StoreSecurityGroupId"),
                "SourceSecurityGroupId": att("SecurityGroup.GroupId"),
                **nfs,
            },
        },
        Note("A folder of its own on the file system, which whoever mounts it uses as the probe's user."): None,
        "StoreAccessPoint": {
            "Type": "AWS::EFS::AccessPoint",
            "Condition": "HasStoreFileSystemId",
            "Properties": {
                "FileSystemId": ref("StoreFileSystemId"),
                "PosixUser": {"Uid": "65532", "Gid": "65532"},
                "RootDirectory": {
                    "Path": "/traceprobe",
                    "CreationInfo": {"OwnerUid": "65532", "OwnerGid": "65532", "Permissions": "0700"},
                },
            },
        },
        "TaskDefinition": task_definition(),
        "Service": service(),
        Note("A name that Prometheus' dns_sd_configs finds: traceprobe.<namespace>, port 9464."): None,
        "Discovery": {
            "Type": "AWS::ServiceDiscovery::Service",
            "Condition": "HasDnsNamespaceId",
            "Properties": {
                "Name": "traceprobe",
                "DnsConfig": {
                    "NamespaceId": ref("DnsNamespaceId"),
                    "DnsRecords": [{"Type": "A", "TTL": 15}],
                    "RoutingPolicy": "MULTIVALUE",
                },
                "HealthCheckCustomConfig": {"FailureThreshold": 1},
            },
        },
        **alarms(),
    }


def template():
    conditions = {}
    made = resources(conditions)
    optional = [name for name, of in PARAMETERS.items() if of.get("Default") == ""]
    conditions = {
        **{f"Has{name}": is_set(name) for name in optional},
        "Runs": Tag("Equals", [ref("DesiredCount"), 1]),
        "HasPeekIntoQueue": Tag("Equals", [ref("PeekIntoQueue"), "true"]),
        "TellsIncidents": Tag("Equals", [ref("IncidentAlarm"), "true"]),
        **conditions,
    }
    groups = [{"Label": {"default": label}, "Parameters": names} for label, names in GROUPS.items()]
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(PARAMETERS)
    return {
        Note(HEAD): None,
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "traceprobe: one task on Fargate with its roles, log, secret, discovery and alarms",
        "Metadata": {"AWS::CloudFormation::Interface": {"ParameterGroups": groups}},
        "Parameters": PARAMETERS,
        "Rules": {
            "OneConfiguration": {
                "Assertions": [
                    {
                        "Assert": Tag(
                            "Or",
                            [
                                Tag("Equals", [ref("ConfigurationSecretArn"), ""]),
                                Tag("Equals", [ref("ConfigurationParameterArn"), ""]),
                            ],
                        ),
                        "AssertDescription": "set ConfigurationSecretArn or ConfigurationParameterArn, not both",
                    }
                ],
            },
            "WorkspaceOfTheCollector": together(
                "RemoteWriteUrl", "RemoteWriteWorkspaceArn", "the workspace that the task role may write to"
            ),
            "WayToTheStore": together("StoreFileSystemId", "StoreSecurityGroupId", "that of its mount targets"),
        },
        "Conditions": conditions,
        "Resources": made,
        "Outputs": {
            "TaskRoleArn": {
                "Description": "What the trust policies of the tenants' roles name",
                "Value": att("TaskRole.Arn"),
            },
            "TaskDefinition": {"Description": "For `aws ecs run-task`", "Value": ref("TaskDefinition")},
            "SecurityGroup": {"Description": "For `aws ecs run-task`", "Value": att("SecurityGroup.GroupId")},
            "AlarmTopic": {"Description": "Subscribe the pager to it", "Value": ref("AlarmTopic")},
        },
    }
