#!/usr/bin/env python3
"""Checks the files for a deployment with the programs and shapes of others. Prints every fault, and fails if any.

* cfn-lint and hadolint are run on the templates and the Dockerfile, and the schema of Compose on the compose file.
* Stacks are evaluated with nothing that is optional, with everything for 50 tenants, and with as many tenants as the
  parameters have room for. The task definition and the service must have the shapes of the ECS API, and the policies
  must fit into what IAM allows.
* What neither a schema nor an emulator refuses but AWS does, or would do wrong, is checked by rules of our own.
"""

import fnmatch
import json
import pathlib
import re
import subprocess
import sys

import botocore.session
import yaml
from botocore.validate import ParamValidator
from parameters import AWS, ENTRIES, EVERYTHING, LEAST, LONGEST, MOST, OF_A_TENANT, capacity, example, statements
from templates import Stack, load

ROOT = pathlib.Path(__file__).resolve().parents[2]
ECS, COMPOSE = ROOT / "config" / "ecs", ROOT / "config" / "compose"
PROBE, TENANT = (ECS / "cloudformation" / name for name in ("probe.yaml", "tenant.yaml"))
BIN = pathlib.Path(sys.executable).parent

# Characters without white space (IAM and STS quotas).
MANAGED_POLICY, INLINE_POLICIES, MANAGED_POLICIES = 6144, 10240, 10
# Bytes of a template in a request (CloudFormation quotas); a larger one has to be in a bucket.
TEMPLATE = 51_200


def run(*command):
    """The output of a program if it finds something."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, text=True, capture_output=True)
    if done.returncode:
        yield f"{pathlib.Path(command[0]).name} ended with {done.returncode}:\n{done.stdout}{done.stderr}"


# What CloudFormation spells in another way than the ECS API.
SPELLINGS = {"EFSVolumeConfiguration": "efsVolumeConfiguration", "FilesystemId": "fileSystemId", "IAM": "iam"}


def as_the_api_spells(value):
    """`TaskRoleArn` is `taskRoleArn`; options of a log driver stay as they are."""
    if isinstance(value, list):
        return [as_the_api_spells(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    spelt = lambda name: SPELLINGS.get(name, name[:1].lower() + name[1:])
    return {spelt(name): entry if name == "Options" else as_the_api_spells(entry) for name, entry in value.items()}


class Shapes:
    """The shapes of the ECS API."""

    def __init__(self):
        self.ecs = botocore.session.get_session().get_service_model("ecs")

    def check(self, what, operation, parameters):
        shape = self.ecs.operation_model(operation).input_shape
        report = ParamValidator().validate(parameters, shape)
        if report.has_errors():
            yield f"{what}, {operation}: {report.generate_report()}"
        yield from self.values(what, parameters, shape)

    def values(self, where, value, shape):
        """Values that are none of those that the API names, at which botocore does not look."""
        if shape.type_name == "structure" and isinstance(value, dict):
            for name in value.keys() & shape.members.keys():
                yield from self.values(f"{where}.{name}", value[name], shape.members[name])
        elif shape.type_name == "list" and isinstance(value, list):
            for entry in value:
                yield from self.values(where, entry, shape.member)
        elif (allowed := getattr(shape, "enum", None)) and value not in allowed:
            yield f"{where}: {value!r} is none of {allowed}"


def size(policy):
    return len("".join(json.dumps(policy).split()))


def policy_faults(what, resources):
    managed = [
        properties["PolicyDocument"] for kind, properties in resources.values() if kind == "AWS::IAM::ManagedPolicy"
    ]
    for policy in managed:
        [statement] = policy["Statement"]
        if size(policy) > MANAGED_POLICY:
            yield f"{what}: {statement['Sid']} has {size(policy)} characters, more than {MANAGED_POLICY}"
    if len(managed) > MANAGED_POLICIES:
        yield f"{what}: {len(managed)} managed policies, more than {MANAGED_POLICIES}"
    for name, (kind, properties) in resources.items():
        if kind != "AWS::IAM::Role":
            continue
        inline = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        total = sum(map(size, inline))
        if total > INLINE_POLICIES:
            yield f"{what}: the policies inside {name} have {total} characters, more than {INLINE_POLICIES}"
        for statement in (statement for policy in [*managed, *inline] for statement in policy["Statement"]):
            for key in ("Resource", "Action"):
                named = statement.get(key) or ""
                if not all(named if isinstance(named, list) else [named]):
                    yield f"{what}: {statement['Sid']} has an empty {key}: {named}"
            for tests in statement.get("Condition", {}).values():
                yield from (f"{what}: {statement['Sid']} has an empty {key}" for key, test in tests.items() if not test)


def stack_faults(shapes):
    for what, parameters in [("least", LEAST), ("everything", EVERYTHING), ("most", MOST)]:
        stack = Stack(PROBE, **parameters)
        yield from (f"{what}: {broken}" for broken in stack.broken_rules())
        resources = stack.resources()
        yield from policy_faults(what, resources)
        yield from shapes.check(what, "RegisterTaskDefinition", as_the_api_spells(resources["TaskDefinition"][1]))
        yield from shapes.check(what, "CreateService", as_the_api_spells(resources["Service"][1]))
        for name, value in parameters.items():
            if len(value) > LONGEST:
                yield f"{what}: the value of {name} has {len(value)} bytes, more than {LONGEST}"
    both = {"ConfigurationParameterArn": f"arn:aws:ssm:{AWS}:parameter/traceprobe/configuration"}
    if not list(Stack(PROBE, **EVERYTHING, **both).broken_rules()):
        yield "no rule forbids two configurations"
    tenant = Stack(TENANT, **OF_A_TENANT).resources()
    yield from policy_faults("tenant", tenant)
    written = json.dumps(tenant["InjectRole"])
    for expected in (
        "log-group:/ecs/acme/app:log-stream:traceprobe/*",
        "log-group:/ecs/acme/jobs:log-stream:traceprobe/*",
        '/ecs/acme/jobs:*"',
    ):
        if expected not in written:
            yield f"tenant: {expected} is missing: {written}"


# What a stack names itself, as the files of config/iam name it in their example.
NAMES = {
    "LogGroup.Arn-of-the-resource": f"arn:aws:logs:{AWS}:log-group:/ecs/traceprobe:*",
    "ref-of-TagKey": f"arn:aws:secretsmanager:{AWS}:secret:traceprobe/tag-key-??????",
    "StoreAccessPoint.Arn-of-the-resource": f"arn:aws:elasticfilesystem:{AWS}:access-point/fsap-0123456789abcdef0",
}


def as_set(value):
    return {NAMES.get(entry, entry) for entry in (value if isinstance(value, list) else [value])}


def granted(made):
    """What statements grant: Sid -> effect, actions, resources, conditions. The parts of a statement are one again."""
    grants = {}
    for statement in made:
        sid = statement["Sid"].split("Of")[0] if statement["Sid"].endswith(("Bucket", "Arns")) else statement["Sid"]
        conditions = {
            (operator, key): as_set(value)
            for operator, keys in statement.get("Condition", {}).items()
            for key, value in keys.items()
        }
        resources = as_set(statement["Resource"]) | grants.get(sid, ("", 0, set()))[2]
        grants[sid] = (statement["Effect"], as_set(statement["Action"]), resources, conditions)
    return grants


def example_faults():
    """The stack of the example has to grant what the files of config/iam do: nothing more, nothing less."""
    resources = Stack(PROBE, **example()).resources()
    made = [policy["PolicyDocument"] for kind, policy in resources.values() if kind == "AWS::IAM::ManagedPolicy"]
    for kind, properties in resources.values():
        if kind == "AWS::IAM::Role":
            made += [policy["PolicyDocument"] for policy in properties["Policies"]]
    stack = granted(statement for policy in made for statement in policy["Statement"])
    files = [file.name for of in ("task", "execution") for file in (ROOT / "config" / "iam").glob(f"{of}-role*.json")]
    files.remove("task-role-trust.json")
    wanted = granted(statement for file in files for statement in statements(file))
    # One of the two is set.
    wanted.pop("ReadTheConfigurationParameter")
    for sid in sorted(stack.keys() | wanted.keys()):
        if stack.get(sid) != wanted.get(sid):
            yield f"{sid}: the stack grants\n  {stack.get(sid)}\nand config/iam\n  {wanted.get(sid)}"


def topic_faults():
    """EventBridge supports no condition in the policy of a topic, and would publish nothing (its user guide)."""
    for statement in Stack(PROBE, **EVERYTHING).resources()["AlarmTopicPolicy"][1]["PolicyDocument"]["Statement"]:
        if statement["Principal"]["Service"] == "events.amazonaws.com" and "Condition" in statement:
            yield f"{statement['Sid']} has a condition, with which EventBridge cannot publish"


def proxy_faults():
    """The collector needs the proxy as the probe does, and must reach probe, credentials and metadata without it."""
    for parameters in (EVERYTHING, {**EVERYTHING, "NoProxy": ""}):
        _, collector = Stack(PROBE, **parameters).resources()["TaskDefinition"][1]["ContainerDefinitions"]
        variables = {variable["Name"]: variable["Value"] for variable in collector["Environment"]}
        direct = {"127.0.0.1", "169.254.170.2", *filter(None, parameters["NoProxy"].split(","))}
        if variables.get("HTTPS_PROXY") != parameters["HttpsProxy"]:
            yield "the collector does not have the proxy"
        elif set(variables["NO_PROXY"].split(",")) != direct:
            yield f"the collector has NO_PROXY={variables['NO_PROXY']}, which is not {direct}"


def name_faults():
    """What outlives the stack under a fixed name must not outlive its failed creation, which could not be repeated."""
    for name, resource in load(PROBE)["Resources"].items():
        if resource.get("DeletionPolicy", "Delete") not in ("Delete", "RetainExceptOnCreate"):
            yield f"{name} has DeletionPolicy: {resource['DeletionPolicy']}, so it blocks a second attempt"


def secret_faults():
    """Each secret of the task definition must be one that the execution role may read, and one the configuration."""
    files = ("execution-role.json", "execution-role-configuration.json")
    readable = [statement["Resource"] for file in files for statement in statements(file)]
    [probe] = json.loads((ECS / "task-definition.json").read_text())["containerDefinitions"]
    secrets = {secret["name"]: secret["valueFrom"] for secret in probe["secrets"]}
    if "TRACEPROBE_CONFIG_TEXT" not in secrets:
        yield "task-definition.json gives the probe no configuration"
    for name, arn in secrets.items():
        if not any(fnmatch.fnmatchcase(arn, resource) for resource in readable if resource != "*"):
            yield f"task-definition.json: the execution role may not read {name}, {arn}"


def capacity_faults():
    """The guide has to say for how many tenants each list has room."""
    guide = (ROOT / "docs" / "deploy.md").read_text()
    said = {name: int(tenants) for name, tenants in re.findall(r"^\| `(\w+)` \| (\d+) \|", guide, re.MULTILINE)}
    real = {name: capacity(name) for name in ENTRIES}
    if said != real:
        yield f"docs/deploy.md says that the lists have room for {said}, and they have for {real}"


def mount_faults():
    """Files that the compose file mounts and that are not there: Docker would make folders of these names."""
    for name, service in yaml.safe_load((COMPOSE / "compose.yml").read_text())["services"].items():
        for volume in service.get("volumes", []):
            if not (COMPOSE / volume.split(":")[0]).exists():
                yield f"compose.yml: {name} mounts {volume}, which does not exist"


def faults():
    yield from run(BIN / "cfn-lint", PROBE, TENANT)
    yield from run(BIN / "hadolint", ROOT / "Dockerfile", COMPOSE / "demo.Dockerfile")
    yield from run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE / "compose.yml")
    yield from mount_faults()
    shapes = Shapes()
    for file, operation in [("task-definition.json", "RegisterTaskDefinition"), ("service.json", "CreateService")]:
        yield from shapes.check(file, operation, json.loads((ECS / file).read_text()))
    yield from stack_faults(shapes)
    yield from example_faults()
    yield from topic_faults()
    yield from proxy_faults()
    yield from name_faults()
    yield from secret_faults()
    yield from capacity_faults()
    for name in re.findall(r'^  "(\w+)=', (ROOT / "docs" / "deploy.md").read_text(), re.MULTILINE):
        if name not in EVERYTHING and name not in Stack(PROBE, **LEAST).parameters:
            yield f"docs/deploy.md sets {name}, which is no parameter of {PROBE.name}"
    if (bytes_used := PROBE.stat().st_size) > TEMPLATE:
        yield f"{PROBE.name} has {bytes_used} bytes, more than {TEMPLATE}, so it could not be deployed without a bucket"


found = list(faults())
print("\n".join(found) if found else "the files for a deployment are as their programs want them")
sys.exit(1 if found else 0)
