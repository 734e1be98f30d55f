"""Starts MiniStack (AWS) with a limit on concurrent function calls, and with credentials for one ECS task.

MiniStack starts one thread, and on a cold start one process, for every PutLogEvents that a subscription filter matches.
A burst of canaries would fill the machine with Python interpreters, so the calls that log groups trigger share a few
slots. MiniStack's own setting, LAMBDA_ACCOUNT_CONCURRENCY, drops calls over the limit, which the tests would see as
lost events.

Event source mappings are not affected: one thread of MiniStack runs them one by one.

Its endpoint for the credentials of containers gives keys that belong to nobody. Here it gives a session of the role
`traceprobe-task`, as ECS does, if the trust policy of that role lets the ECS tasks of the account assume it.

A subscription of enhanced fan-out ends after seconds and not after five minutes, so that tests see it renewed.

usage: ministack_launcher.py PORT DIR
"""

import os
import sys
import threading
import time
from pathlib import Path

FUNCTION_SLOTS = 4
SRE, REGION = "999999999999", "eu-central-1"
TASK_ROLE = f"arn:aws:iam::{SRE}:role/traceprobe-task"
SESSION_SECONDS = 3600
SUBSCRIPTION_SECONDS = 20


def task_credentials() -> dict:
    """The document of `/v2/credentials/...`."""
    from ministack.core.iam_evaluator import EvalContext, evaluate_trust_policy
    from ministack.services import iam, imds, sts

    role = iam._roles.get_scoped(SRE, None, TASK_ROLE.rpartition("/")[2])
    # MiniStack takes the root of an account for the services of AWS. It sets neither key of the condition itself.
    service = f"arn:aws:iam::{SRE}:root"
    context = EvalContext(
        principal_arn=service, principal_type="Root", principal_account=SRE, action="sts:AssumeRole",
        resource_arn=TASK_ROLE, region=REGION,
        service_context={"aws:sourceaccount": SRE, "aws:sourcearn": f"arn:aws:ecs:{REGION}:{SRE}:task/sre/1"})
    if role is None or not evaluate_trust_policy(role["AssumeRolePolicyDocument"], service, context):
        return {"code": "CredentialsNotAvailable", "message": "ECS was unable to assume the role"}
    document = {**imds._credentials_doc(), "RoleArn": TASK_ROLE}
    sts.register_session(document["AccessKeyId"], {
        "Arn": f"arn:aws:sts::{SRE}:assumed-role/traceprobe-task/1",
        "UserId": "AROATASK:1",
        "SecretAccessKey": document["SecretAccessKey"],
        "SessionToken": document["Token"],
        "Expiration": time.time() + SESSION_SECONDS,
        "AccountId": SRE,
        "PrincipalType": "AssumedRole",
    })
    return document


def main() -> None:
    port, home = int(sys.argv[1]), Path(sys.argv[2])
    settings = {
        "GATEWAY_PORT": str(port),
        # By default MiniStack listens on every interface.
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "MINISTACK_REGION": os.environ.get("MINISTACK_REGION", "eu-central-1"),
        # Signatures, sessions, trust policies and identity policies are checked.
        "AUTH": "true",
        # The secret of the root of every account, whose access key id is the account's number.
        "AWS_SECRET_ACCESS_KEY": "test",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "TMPDIR": str(home / "tmp"),
        "S3_DATA_DIR": str(home / "s3"),
        "STATE_DIR": str(home / "state"),
    }
    for key in ("TMPDIR", "S3_DATA_DIR", "STATE_DIR"):
        Path(settings[key]).mkdir(parents=True, exist_ok=True)
    # MiniStack reads most of these when it is imported.
    os.environ.update(settings)

    from ministack import app
    from ministack.services import imds, kinesis, lambda_svc

    run = lambda_svc._execute_function_with_config_scope
    slots = threading.BoundedSemaphore(FUNCTION_SLOTS)

    def run_in_a_slot(func, event):
        with slots:
            return run(func, event)

    lambda_svc._execute_function_with_config_scope = run_in_a_slot
    imds._ecs_task_credentials_doc = task_credentials
    kinesis.SUBSCRIPTION_SECONDS = SUBSCRIPTION_SECONDS
    sys.argv = ["ministack"]
    app.main()


if __name__ == "__main__":
    main()
