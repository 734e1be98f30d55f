"""Turns the policies of config/iam/ into CloudFormation: what names the example becomes a parameter."""

import json
import pathlib
import re
import sys

from yaml_text import Tag, att, either, ref, sub

IAM = pathlib.Path(__file__).resolve().parents[2] / "config" / "iam"

# Values of which there is one for each tenant become one parameter that is a list.
LISTS = [
    (r"arn:aws:iam::\d{12}:role/traceprobe-inject", "TenantRoleArns"),
    (r"arn:aws:iam::\d{12}:role/traceprobe-observe", "ObserverRoleArns"),
    (r"arn:aws:kinesis:eu-central-1:999999999999:stream/logs-[^/]*", "StreamArns"),
    (r"arn:aws:kinesis:eu-central-1:999999999999:stream/logs-[^/]*/consumer/.*", "StreamConsumerArns"),
    (r"archive/tenant=.*", "ArchivePrefixes"),
    (r"arn:aws:s3:::sre-archive/archive/tenant=.*", "ArchiveObjectArns"),
]

# Parts of other values, replaced one after the other.
PARTS = [
    ("log-group:/aws/lambda/export", "log-group:${StageLogGroup}"),
    (":aggregator-dead-letters", ":${DeadLetterQueue}"),
    ("sre-archive/dlq/", "${DeadLetterBucket}/${DeadLetterPrefix}"),
    ("dlq/", "${DeadLetterPrefix}"),
    ("sre-archive", "${ArchiveBucket}"),
    ("sre-transit", "${TransitBucket}"),
    ("transit/", "${TransitPrefix}"),
    ("repository/traceprobe", "repository/${Repository}"),
    ("fs-0123456789abcdef0", "${StoreFileSystemId}"),
    ("arn:aws:", "arn:${AWS::Partition}:"),
    ("eu-central-1", "${AWS::Region}"),
    ("999999999999", "${AWS::AccountId}"),
]

# Whole values that are resources of the template.
RESOURCES = {
    "arn:aws:logs:eu-central-1:999999999999:log-group:/ecs/traceprobe:*": att("LogGroup.Arn"),
    "arn:aws:elasticfilesystem:eu-central-1:999999999999:access-point/fsap-0123456789abcdef0": att(
        "StoreAccessPoint.Arn"
    ),
    "arn:aws:iam::999999999999:role/traceprobe-task": ref("ProbeRoleArn"),
}
# The secret's name in a policy ends in six characters that Secrets Manager chose, or in wildcards for them.
TAG_KEY = re.compile(r"arn:aws:secretsmanager:eu-central-1:999999999999:secret:traceprobe/tag-key-.*")
SECRETS = [
    (r"arn:aws:secretsmanager:eu-central-1:999999999999:secret:traceprobe/configuration-.*", "ConfigurationSecretArn"),
    (r"arn:aws:secretsmanager:eu-central-1:999999999999:secret:traceprobe/tag-keys-accepted-.*", "AcceptedTagKeysArn"),
]
CONFIGURATION_PARAMETER = "arn:aws:ssm:eu-central-1:999999999999:parameter/traceprobe/configuration"
WORKSPACE = "arn:aws:aps:eu-central-1:999999999999:workspace/ws-00000000-0000-0000-0000-000000000000"
KEY = "arn:aws:kms:eu-central-1:999999999999:key/00000000-0000-0000-0000-000000000000"

# Statements that need more than the parameters that they name.
MORE = {
    "PeekAtDeadLetters": {"PeekIntoQueue"},
    "DecryptTheDeadLetterQueue": {"DeadLetterQueue", "PeekIntoQueue"},
    "SubscribeToTheTenantStreams": {"StreamConsumerArns"},
}
# What must not be left of the example.
LEFT_OVER = re.compile(r"acme|globex|sre-|eu-central-1|\d{12}|0{8}-|0123456789abcdef|dlq|aggregator")


# The parameter with the key, by the service through which it is used.
KEYS = [("kinesis", "StreamKeyArn"), ("s3", "ObjectKeyArn"), ("sqs", "DeadLetterQueueKeyArn")]


class Example:
    """What the same name stands for in different statements."""

    def __init__(self, file, statement):
        text = json.dumps(statement)
        self.key = next((key for service, key in KEYS if f'"{service}.eu-central-1' in text), None)
        self.parts = [("sre-archive", "${DeadLetterBucket}")] if "dead-letter-stage" in file else []


PARAMETER = re.compile(r"\$\{([A-Za-z]+)\}")


def converted(file):
    """The statements of a file as CloudFormation, each with its conditions."""
    for statement in json.loads((IAM / file).read_text())["Statement"]:
        yield from convert(statement, Example(file, statement))


def expression(value, example):
    """A text of a policy as CloudFormation."""
    for pattern, name in LISTS:
        if re.fullmatch(pattern, value):
            return ref(name)
    if value in RESOURCES:
        return RESOURCES[value]
    if TAG_KEY.fullmatch(value):
        return ref("TagKey")
    for pattern, name in SECRETS:
        if re.fullmatch(pattern, value):
            return ref(name)
    whole = {
        CONFIGURATION_PARAMETER: "ConfigurationParameterArn",
        KEY: example.key,
        WORKSPACE: "RemoteWriteWorkspaceArn",
    }
    if value in whole:
        return ref(whole[value])
    for part, parameter in [*example.parts, *PARTS]:
        value = value.replace(part, parameter)
    return sub(value)


def parameters(value):
    """The names of the parameters in a value; those of AWS and of resources are none."""
    if isinstance(value, Tag):
        if value.name == "Ref":
            return set() if value.value in ("TagKey", "AWS::NoValue") else {value.value}
        if value.name == "Sub":
            template, inner = value.value if isinstance(value.value, list) else (value.value, {})
            return (set(PARAMETER.findall(template)) - set(inner)) | parameters(inner)
        if value.name == "GetAtt":
            return {"StoreFileSystemId"} if value.value.startswith("Store") else set()
        return set().union(*map(parameters, value.value))
    if isinstance(value, dict):
        return set().union(set(), *map(parameters, value.values()))
    if isinstance(value, list):
        return set().union(set(), *map(parameters, value))
    return set()


LIST_PARAMETERS = {name for _, name in LISTS}
# The template always knows them, so nothing depends on whether they are set.
ALWAYS = {"Repository", "ProbeRoleArn", "ExternalId", "LogGroupArns", "TransitPrefix", "DeadLetterPrefix"}
# The log groups of a tenant, with what follows the name of one in an ARN.
TENANT_LOG_GROUP = re.compile(r"arn:aws:logs:eu-central-1:111111111111:log-group:/ecs/acme/app(:.*)?")


def is_list(value):
    return isinstance(value, Tag) and value.name == "Ref" and value.value in LIST_PARAMETERS


def log_groups(suffixes):
    """The parameter LogGroupArns once for each suffix, as one list."""
    whole = ref("LogGroupArns")
    each = []
    for suffix in suffixes:
        # A delimiter with the suffix puts it behind all but the last.
        joined = Tag("Join", [f"{suffix},", whole])
        each.append(Tag("Sub", ["${All}" + suffix, {"All": joined}]) if suffix else joined)
    return Tag("Split", [",", each[0] if len(each) == 1 else Tag("Join", [",", each])])


def values(value, example):
    """A text or a list of texts, as groups: one for each list of tenants, and one for all single values."""
    texts = value if isinstance(value, list) else [value]
    matches = [TENANT_LOG_GROUP.fullmatch(text) for text in texts]
    if all(matches):
        return [log_groups([match.group(1) or "" for match in matches])]
    groups = []
    for text in texts:
        found = expression(text, example)
        if found not in groups:
            groups.append(found)
    lists = [found for found in groups if is_list(found)]
    single = [found for found in groups if not is_list(found)]
    return [*lists, *([single if len(single) > 1 else single[0]] if single else [])]


def common(value):
    """The names of the parameters without which nothing of a value is left: of several single ones, any will do."""
    each = [parameters(entry) for entry in value] if isinstance(value, list) else [parameters(value)]
    return set.intersection(*each)


def optional(value, needs):
    """Single values of a list are left out if what they need is not set, unless the statement needs it anyway."""
    if not isinstance(value, list):
        return value
    kept, own = [], set()
    for entry in value:
        more = sorted(parameters(entry) - needs.all - ALWAYS)
        own |= set(more)
        kept.append(either(f"Has{more[0]}", entry) if more else entry)
    if own and not any(entry.name != "If" for entry in kept if isinstance(entry, Tag)):
        # A policy may not have an empty list.
        needs.one_of = own
    return kept


class Needs:
    """Which parameters have to be set for a statement to be there: all of some, and one of some."""

    def __init__(self, names):
        self.all, self.one_of = set(names), set()

    def is_per_tenant(self):
        return bool(self.all & LIST_PARAMETERS)

    def condition(self, sid, conditions):
        """The name of the condition, or None; a new one is added to `conditions`."""
        names = [f"Has{name}" for name in sorted(self.all - ALWAYS)]
        tests = [{"Condition": name} for name in names]
        if len(self.one_of) > 1:
            tests.append(Tag("Or", [{"Condition": f"Has{name}"} for name in sorted(self.one_of)]))
        else:
            names += [f"Has{name}" for name in self.one_of]
            tests = [{"Condition": name} for name in names]
        if len(tests) < 2:
            return names[0] if names else None
        conditions[f"May{sid}"] = Tag("And", tests)
        return f"May{sid}"


def convert(statement, example):
    """A statement as CloudFormation. One that names several kinds of resources becomes several statements."""
    resources = values(statement["Resource"], example) if "Resource" in statement else [None]
    for number, resource in enumerate(resources):
        made = {name: entry for name, entry in statement.items() if name not in ("Resource", "Condition")}
        needs = Needs(MORE.get(statement["Sid"], ()))
        if number:
            single = resource[0] if isinstance(resource, list) else resource
            made["Sid"] += "Of" + min(parameters(single))
        if "Principal" in made:
            made["Principal"] = {name: expression(entry, example) for name, entry in made["Principal"].items()}
        if resource is not None:
            needs.all |= common(resource)
            made["Resource"] = optional(resource, needs)
        for operator, keys in statement.get("Condition", {}).items():
            tests = made.setdefault("Condition", {}).setdefault(operator, {})
            for name, entry in keys.items():
                groups = [ref("ExternalId")] if name == "sts:ExternalId" else values(entry, example)
                if len(groups) > 1:
                    sys.exit(f"{statement['Sid']}: {name} mixes {groups}")
                needs.all |= common(groups[0])
                tests[name] = optional(groups[0], needs)
        left = LEFT_OVER.search(repr({name: entry for name, entry in made.items() if name != "Sid"}))
        if left:
            sys.exit(f"{statement['Sid']}: no parameter stands for {left.group()}; see LISTS and PARTS in policies.py")
        yield made, needs


def document(made):
    return {"Version": "2012-10-17", "Statement": made}


def whole(file):
    """A policy all of whose statements are always there."""
    return document([made for made, _ in converted(file)])
