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

# The policies of the task role. Those of remote write and of the store are for other programs: see docs/permissions.md.
TASK_POLICIES = [
    "task-role", "task-role-log-group-stage", "task-role-dead-letter-stage", "task-role-dead-letter-queue",
    "task-role-observer",
]


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
        if "Resource" in statement:
            statement["Resource"] = _as_ministack_checks(statement["Resource"])
    return document


def _as_ministack_checks(resource):
    if isinstance(resource, list):
        return sorted({_as_ministack_checks(one) for one in resource})
    match = OF_LOG_GROUP.fullmatch(resource)
    return match[1] if match else resource


def grant(iam, role: str, policies: list[str], trust: str, without: Without | None = None, names: dict = {}) -> None:
    """Gives a role these policies and this trust policy, with other names in place of the example's."""
    trusted = _text(policy(trust, without), names)
    if role in {one["RoleName"] for one in iam.list_roles()["Roles"]}:
        iam.update_assume_role_policy(RoleName=role, PolicyDocument=trusted)
    else:
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=trusted)
    for name in policies:
        document = policy(name, without)
        if document["Statement"]:
            iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=_text(document, names))
        elif name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            iam.delete_role_policy(RoleName=role, PolicyName=name)


def grant_task(iam, without: Without | None = None) -> None:
    grant(iam, TASK_ROLE, TASK_POLICIES, "task-role-trust", without)


def grant_tenant(iam, account: str, external_id: str, log_groups: list[str], without: Without | None = None) -> None:
    names = {EXAMPLE_ACCOUNT: account, EXAMPLE_EXTERNAL_ID: external_id}
    policies = [name for name in ("tenant-inject", "tenant-inject-check") if (IAM / f"{name}.json").exists()]
    grant(iam, "traceprobe-inject", policies, "tenant-inject-trust", without,
          {**names, f'"arn:aws:logs:eu-central-1:{EXAMPLE_ACCOUNT}:log-group:{EXAMPLE_LOG_GROUP}"':
           json.dumps([f"arn:aws:logs:eu-central-1:{account}:log-group:{name}" for name in log_groups])})


def grant_observer(iam, without: Without | None = None) -> None:
    grant(iam, "traceprobe-observe", ["observer-role"], "observer-role-trust", without)


def _text(document: dict, names: dict) -> str:
    text = json.dumps(document)
    # The longest first: it contains others.
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, names[name])
    return text
