"""The stack in a tenant's account: the role that the probe assumes to write canaries."""

from parameters import parameter
from policies import whole
from yaml_text import Note, att, ref

HEAD = """\
The role in a client's account with which traceprobe writes canaries. Generated from config/iam/tenant-inject*.json:
change those or .ci/cloudformation, then `make ecs-files`. How to use it: docs/deploy.md."""


def template():
    return {
        Note(HEAD): None,
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "traceprobe: lets the probe write canaries into its own log streams of the named log groups",
        "Parameters": {
            "ProbeRoleArn": parameter(
                "The task role of the probe, an output of its stack.",
                AllowedPattern="arn:aws[a-z-]*:iam::[0-9]{12}:role/.+",
            ),
            "ExternalId": parameter(
                "What the operator of the probe made for this tenant; external_id of its configuration.",
                MinLength=8,
                MaxLength=1224,
            ),
            "LogGroupArns": parameter(
                "ARNs of the log groups that get canaries, without :* at the end.",
                kind="CommaDelimitedList",
            ),
            "RoleName": parameter("Name of the role; the configuration's role_arn ends in it.", "traceprobe-inject"),
        },
        "Resources": {
            "InjectRole": {
                "Type": "AWS::IAM::Role",
                "Properties": {
                    "RoleName": ref("RoleName"),
                    "Description": "traceprobe writes canaries with it",
                    "AssumeRolePolicyDocument": whole("tenant-inject-trust.json"),
                    "Policies": [{"PolicyName": "WriteCanaries", "PolicyDocument": whole("tenant-inject.json")}],
                },
            },
        },
        "Outputs": {
            "RoleArn": {"Description": "role_arn of this tenant in the configuration", "Value": att("InjectRole.Arn")}
        },
    }
