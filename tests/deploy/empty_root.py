#!/usr/bin/env python3
"""Runs the program as it runs in its image: with a read-only root that holds nothing but the program, its libraries and
certificates, as user 65532, without any capability and without a way to get one.

It validates a configuration from the environment, starts the daemon, asks it with the health check, and stops it.

Needs root, or a kernel that lets users make namespaces. Without root, the user is 0 in a namespace of its own and keeps
the one capability there that entering the folder needs.

usage: empty_root.py PROGRAM
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

SECONDS = 30
# Where Debian and the image have them.
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# capabilities(7), CAP_SYS_CHROOT.
SYS_CHROOT = 1 << 18
CONFIGURATION = """
[probe]
listen = "127.0.0.1:{port}"
stop_grace = "1s"
[aws]
region = "eu-central-1"
auth = "none"
endpoint = "http://127.0.0.1:1"
[[tenant]]
name = "acme"
log_group = "/ecs/acme/app"
[[stage]]
name = "stream"
kind = "kinesis"
stream = "logs-{{tenant}}"
end = true
"""


def fill(root, program):
    """Puts the program and what it is linked with into an empty folder."""
    shutil.copy(program, root / "traceprobe")
    linked = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    for library in [CERTIFICATES, *re.findall(r"(/\S+)", linked)]:
        place = root / library.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, place)
    for path in [root, *root.rglob("*")]:
        path.chmod(0o555)


def inside(root, arguments):
    """The command that runs the program in the folder."""
    read_only = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    if os.geteuid() == 0:
        namespace = ["unshare", "--mount"]
        # To become another user and to enter the folder needs rights, which are gone with the user.
        enter = ["setpriv", "--no-new-privs", "chroot", "--userspec=65532:65532", root]
    else:
        namespace = ["unshare", "--user", "--map-root-user", "--mount"]
        enter = ["setpriv", "--no-new-privs", "--bounding-set=-all,+sys_chroot", "chroot", root]
    return [*namespace, "sh", "-c", read_only, root, *enter, "/traceprobe", *arguments]


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="traceprobe-root-") as folder:
        root = pathlib.Path(folder) / "root"
        root.mkdir()
        fill(root, program)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {
            "PATH": os.environ["PATH"],
            "TRACEPROBE_CONFIG_TEXT": CONFIGURATION.format(port=port),
            "TRACEPROBE_TAG_KEY": "0123456789abcdef0123456789abcdef",
        }

        def run(*arguments):
            done = subprocess.run(
                inside(root, arguments), env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
            )
            return done.returncode, done.stdout + done.stderr

        code, said = run("check", "--offline")
        assert code == 0, f"check --offline ended with {code}: {said}"
        print(said.splitlines()[0])
        daemon = subprocess.Popen(
            inside(root, ["run"]), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            deadline = time.monotonic() + SECONDS
            while (answer := run("healthcheck"))[0] != 0:
                assert daemon.poll() is None, f"the daemon ended with {daemon.returncode}: {daemon.stdout.read()}"
                assert time.monotonic() < deadline, f"the daemon does not answer: {answer}"
                time.sleep(0.1)
            status = pathlib.Path(f"/proc/{daemon.pid}/status").read_text()
            rights = 0 if os.geteuid() == 0 else SYS_CHROOT
            for field, wanted in [("CapEff", rights), ("CapPrm", rights), ("NoNewPrivs", 1)]:
                value = re.search(rf"^{field}:\s*(\S+)", status, re.MULTILINE)[1]
                assert int(value, 16) == wanted, f"{field} is {value}"
            print("the daemon runs without rights and answers its health check")
            daemon.send_signal(signal.SIGTERM)
            said, _ = daemon.communicate(timeout=SECONDS)
            assert daemon.returncode == 0, f"the daemon ended with {daemon.returncode}: {said}"
            print("stopped in order")
        finally:
            daemon.kill()


main()
