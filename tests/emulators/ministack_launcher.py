"""Starts MiniStack (AWS) with a limit on concurrent function calls.

MiniStack starts one thread, and on a cold start one process, for every PutLogEvents that a subscription filter matches.
A burst of canaries would fill the machine with Python interpreters, so the calls that log groups trigger share a few
slots. MiniStack's own setting, LAMBDA_ACCOUNT_CONCURRENCY, drops calls over the limit, which the tests would see as
lost events.

Event source mappings are not affected: one thread of MiniStack runs them one by one.

usage: ministack_launcher.py PORT DIR
"""

import os
import sys
import threading
from pathlib import Path

FUNCTION_SLOTS = 4


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
    from ministack.services import lambda_svc

    run = lambda_svc._execute_function_with_config_scope
    slots = threading.BoundedSemaphore(FUNCTION_SLOTS)

    def run_in_a_slot(func, event):
        with slots:
            return run(func, event)

    lambda_svc._execute_function_with_config_scope = run_in_a_slot
    sys.argv = ["ministack"]
    app.main()


if __name__ == "__main__":
    main()
