"""The rights of the probe: the policies of `config/iam/`, as MiniStack gets them.

Nothing else is granted to it anywhere. The names in the files are those of the example; those of other tenants are put
in their place. One thing is replaced: MiniStack checks calls of CloudWatch Logs against the ARN of the log group, without
the end `:*` or `:log-stream:...` of an ARN, where AWS documents those (Service Authorization Reference, "Actions,
resources, and condition keys for Amazon CloudWatch Logs").

MiniStack also checks GetRecords against `*` unless the request names the stream. The probe always does, so nothing is
replaced for that.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

IAM = Path(__file__).resolve().parents[2] / "config" / "iam"
SRE = "999999999999"
TASK_ROLE = "traceprobe-task"
# The tenant and the log group that the files name.
EXAMPLE_ACCOUNT, EXAMPLE_LOG_GROUP, EXAMPLE_EXTERNAL_ID = "111111111111", "/ecs/acme/app", "acme-7f3a9c"
OF_LOG_GROUP = re.compile(r"(arn:aws:logs:[^:]*:[^:]*:log-group:[^:]*):.*")

# Those of the task role but for the store and remote write, with which the file system and the sidecar are reached.
TASK_POLICIES = [
    "task-role", "task-role-enhanced-fan-out", "task-role-log-group-stage", "task-role-dead-letter-stage", "task-role-dead-letter-queue",
    "task-role-observer",
]
TENANT_POLICIES = ["tenant-inject", "tenant-inject-check"]
OBSERVER_POLICIES = ["observer-role", "observer-role-trust"]


@dataclass(frozen=True)
class Without:
    """A statement that is left out."""

    file: str
    sid: str


def policy(name: str, without: Without | None = None) -> dict:
    document = json.loads((IAM / f"{name}.json").read_text())
    if without and without.file == name:
        kept = [statement for statement in document["Statement"] if statement["Sid"] != without.sid]
        if len(kept) == len(document["Statement"]):
            raise ValueError(f"{name}.json has no statement {without.sid}")
        document["Statement"] = kept
    for statement in document["Statement"]:
        if "kinesis:SubscribeToShard" in statement["Action"]:
            # MiniStack does not see which consumer a call names.
            statement["Resource"] = "*"
        elif "Resource" in statement:
            statement["Resource"] = sorted({OF_LOG_GROUP.sub(r"\1", one) for one in _list(statement["Resource"])})
    return document


def _list(value) -> list:
    return value if isinstance(value, list) else [value]


def _grant(iam, role: str, policies: dict[str, dict], trust: dict) -> None:
    """Makes the role if it is not there, and gives it these policies and this trust policy."""
    if role in {one["RoleName"] for one in iam.list_roles()["Roles"]}:
        iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(trust))
    else:
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(trust))
    for name, document in policies.items():
        if document["Statement"]:
            iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))
        elif name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            iam.delete_role_policy(RoleName=role, PolicyName=name)


def grant_task(iam, without: Without | None = None) -> None:
    policies = {name: policy(name, without) for name in TASK_POLICIES}
    _grant(iam, TASK_ROLE, policies, policy("task-role-trust", without))


def grant_tenant(iam, account: str, external_id: str, log_groups: list[str], without: Without | None = None) -> None:
    policies = {name: policy(name, without) for name in TENANT_POLICIES}
    for document in policies.values():
        for statement in document["Statement"]:
            # Each log group is listed, as docs/recipes/log-groups.md says.
            statement["Resource"] = sorted({
                one.replace(EXAMPLE_LOG_GROUP, log_group).replace(EXAMPLE_ACCOUNT, account)
                for one in statement["Resource"] for log_group in log_groups})
    trust = json.dumps(policy("tenant-inject-trust", without)).replace(EXAMPLE_EXTERNAL_ID, external_id)
    _grant(iam, "traceprobe-inject", policies, json.loads(trust))


def grant_observer(iam, without: Without | None = None) -> None:
    policies = {"observer-role": policy("observer-role", without)}
    _grant(iam, "traceprobe-observe", policies, policy("observer-role-trust", without))
