#!/usr/bin/env python3
"""Creates the stacks of config/ecs/cloudformation/ on MiniStack, with everything optional, and checks what came of it.
The first attempt fails, and must not block the second one.

MiniStack differs from AWS in two things, for which the template is changed: it has no AWS::EC2::SecurityGroupIngress,
and takes the parameter of a number for a text.

usage: stacks.py, with the Python of tests/emulators/setup.sh
"""

import json
import pathlib
import re
import sys
import tempfile
import time

import botocore.session

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "emulators"))
from parameters import OF_A_TENANT, example
from processes import Child, Port

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "config" / "ecs" / "cloudformation"
SRE, ACME = "999999999999", "111111111111"
SECONDS = 60


class Cloud:
    def __init__(self, port):
        self.session = botocore.session.Session()
        self.address = f"http://127.0.0.1:{port}"

    def client(self, service, account):
        # An access key id that is a number is the root of that account.
        return self.session.create_client(
            service, "eu-central-1", endpoint_url=self.address, aws_access_key_id=account, aws_secret_access_key="test"
        )

    def is_ready(self):
        try:
            self.client("sts", SRE).get_caller_identity()
        except Exception:
            return False
        return True

    def attempt(self, account, name, text, parameters):
        """Begins to create a stack, and returns it once that has ended in some way."""
        client = self.client("cloudformation", account)
        given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
        client.create_stack(StackName=name, TemplateBody=text, Capabilities=["CAPABILITY_NAMED_IAM"], Parameters=given)
        deadline = time.monotonic() + SECONDS
        while True:
            [stack] = client.describe_stacks(StackName=name)["Stacks"]
            if not stack["StackStatus"].endswith("IN_PROGRESS"):
                return stack
            if time.monotonic() > deadline:
                sys.exit(f"{name}: still {stack['StackStatus']} after {SECONDS} s")
            time.sleep(0.1)

    def create(self, account, name, text, parameters):
        """Creates a stack and returns its outputs."""
        client = self.client("cloudformation", account)
        stack = self.attempt(account, name, text, parameters)
        if stack["StackStatus"] != "CREATE_COMPLETE":
            events = client.describe_stack_events(StackName=name)["StackEvents"]
            failed = [event for event in events if "FAILED" in event["ResourceStatus"]]
            sys.exit(f"{name}: {stack['StackStatus']}: {json.dumps(failed, default=str, indent=1)}")
        made = client.describe_stack_resources(StackName=name)["StackResources"]
        print(f"{name}: {len(made)} resources")
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def surroundings(self):
        """What a platform has before the stack, as parameters."""
        ec2 = self.client("ec2", SRE)
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
        group = ec2.create_security_group(GroupName="prometheus", Description="it", VpcId=vpc)["GroupId"]
        self.client("ecs", SRE).create_cluster(clusterName="sre")
        names = self.client("servicediscovery", SRE)
        names.create_private_dns_namespace(Name="sre.internal", Vpc=vpc)
        deadline = time.monotonic() + SECONDS
        while not (namespaces := names.list_namespaces()["Namespaces"]) and time.monotonic() < deadline:
            time.sleep(0.1)
        return {
            "VpcId": vpc,
            "SubnetIds": subnet,
            "ScraperSecurityGroupId": group,
            "DnsNamespaceId": namespaces[0]["Id"],
            "StoreFileSystemId": self.client("efs", SRE).create_file_system()["FileSystemId"],
            "StoreSecurityGroupId": group,
        }


def fail_once(cloud, probe, parameters):
    """A creation that ends halfway leaves nothing behind that would block the next one."""
    mistaken = {**parameters, "StoreFileSystemId": "fs-none"}
    status = cloud.attempt(SRE, "traceprobe", probe, mistaken)["StackStatus"]
    assert status == "ROLLBACK_COMPLETE", status
    cloud.client("cloudformation", SRE).delete_stack(StackName="traceprobe")
    groups = cloud.client("logs", SRE).describe_log_groups()["logGroups"]
    secrets = cloud.client("secretsmanager", SRE).list_secrets()["SecretList"]
    assert not groups and not secrets, (groups, secrets)


def check(cloud):
    probe = (TEMPLATES / "probe.yaml").read_text()
    probe = re.sub(r"\n  StoreIngress:.*?(?=\n\n)", "", probe, flags=re.DOTALL)
    probe = probe.replace("DesiredCount: !Ref DesiredCount", "DesiredCount: 0")
    parameters = {**example(), **cloud.surroundings()}
    fail_once(cloud, probe, parameters)
    outputs = cloud.create(SRE, "traceprobe", probe, parameters)
    of_a_tenant = {**OF_A_TENANT, "ProbeRoleArn": outputs["TaskRoleArn"]}
    cloud.create(ACME, "traceprobe-acme", (TEMPLATES / "tenant.yaml").read_text(), of_a_tenant)

    task = cloud.client("ecs", SRE).describe_task_definition(taskDefinition=outputs["TaskDefinition"])["taskDefinition"]
    names = [container["name"] for container in task["containerDefinitions"]]
    assert names == ["traceprobe", "collector"], names
    [service] = cloud.client("ecs", SRE).describe_services(cluster="sre", services=["traceprobe"])["services"]
    assert service["deploymentConfiguration"]["maximumPercent"] == 200, service
    attached = cloud.client("iam", SRE).list_attached_role_policies(RoleName="traceprobe-task")["AttachedPolicies"]
    assert len(attached) == 8, attached
    key = cloud.client("secretsmanager", SRE).get_secret_value(SecretId="traceprobe/tag-key")["SecretString"]
    assert len(key) == 64, len(key)


def main():
    with tempfile.TemporaryDirectory(prefix="traceprobe-stacks-") as folder:
        home, port = pathlib.Path(folder), Port()
        cloud = Cloud(port.number)
        ministack = Child("ministack", "ministack_launcher.py", [str(port.number), folder], home, {})
        ministack.start()
        try:
            ministack.wait_until(cloud.is_ready, SECONDS)
            check(cloud)
        finally:
            ministack.stop()


main()
