"""Child processes that cannot outlive their driver, and loopback ports that no other program can take."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
PR_SET_PDEATHSIG = 1
STOP_SECONDS = 10

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def say(text: str) -> None:
    print(f"pipeline: {text}", file=sys.stderr, flush=True)


def ministack_is_up(endpoint: str) -> bool:
    try:
        with urllib.request.urlopen(f"{endpoint}/_ministack/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


class Port:
    """A free port of 127.0.0.1 that stays reserved while the program that listens on it is stopped.

    The socket is bound but never listens: connections are refused as if the program did not run, and the kernel gives
    the port to no other program or outgoing connection. The program binds it with SO_REUSEADDR (uvicorn, hypercorn and
    Go do), which the kernel allows beside this socket.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]


class Child:
    """A Python program of this folder, in its own process group, with its output in a log file."""

    def __init__(self, name: str, script: str, arguments: list[str], home: Path, environment: dict[str, str]) -> None:
        self.name = name
        self._command = [sys.executable, "-u", str(HERE / script), *arguments]
        self._log = home / "logs" / f"{name}.log"
        # The caller's credentials and settings must not reach the emulators.
        inherited = {key: value for key, value in os.environ.items()
                if not key.startswith(("AWS_", "BQEMU_", "MINISTACK_", "GOOGLE_", "LAMBDA_", "OTEL_", "STORAGE_"))}
        self._environment = {**inherited, **environment}
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self._environment, start_new_session=True, preexec_fn=_die_with_parent,
            )

    def has_died(self) -> bool:
        """True if it was started, not stopped, and has ended."""
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> None:
        """Ends it, by SIGKILL if necessary, with its whole process group, and waits for that."""
        process, self._process = self._process, None
        if process is None:
            return
        for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            _signal_group(process.pid, number)
            try:
                process.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                say(f"{self.name} did not end within {seconds} s of signal {number}")
        # Workers of a program may outlive its regular end.
        _signal_group(process.pid, signal.SIGKILL)

    def tail(self) -> str:
        try:
            return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])
        except OSError as error:
            return f"no log: {error}"

    def wait_until(self, is_ready, seconds: float) -> None:
        """Waits until `is_ready()` is true. Raises if the program ends or takes longer."""
        deadline = time.monotonic() + seconds
        while not is_ready():
            if self.has_died():
                raise RuntimeError(f"{self.name} ended with {self._process.returncode}; its log ends:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} is not ready after {seconds} s; its log ends:\n{self.tail()}")
            time.sleep(0.05)


def _signal_group(leader: int, number: int) -> None:
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        pass


def _die_with_parent() -> None:
    # A driver killed with SIGKILL cannot clean up, so the kernel ends its children.
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
