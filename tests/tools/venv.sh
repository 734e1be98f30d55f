#!/bin/sh
# Installs the requirements.txt of a folder of tests into a virtual environment below target/, named like the folder,
# and prints the path of its Python on the last line of stdout. A stamp with the hash of requirements.txt makes further
# runs take milliseconds. With a lock, a run that starts during another one waits for it.
#
# usage: venv.sh FOLDER
#
# Environment: PYTHON (default python3, 3.11 or newer), CARGO_TARGET_DIR (default: target).
set -eu

here=$(cd "$1" && pwd)
name=$(basename "$here")
target=${CARGO_TARGET_DIR:-$(cd "$(dirname "$0")/../.." && pwd)/target}
python=${PYTHON:-python3}

fail() {
    echo "$name: $*" >&2
    exit 1
}

command -v "$python" >/dev/null 2>&1 || fail "no $python on PATH; install Python 3.11 or newer with its venv module, or set PYTHON"
"$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail "$python is older than 3.11 or lacks venv; install Python 3.11 or newer with its venv module, or set PYTHON"

mkdir -p "$target/$name"
home=$(cd "$target/$name" && pwd)
venv=$home/venv

# Python takes the lock, because flock(1) is not available on every system. The kernel releases it however the process
# ends.
exec "$python" - "$home" "$venv" "$here/requirements.txt" "$name" <<'PY'
import fcntl, hashlib, pathlib, shutil, subprocess, sys, time

home, venv, requirements = (pathlib.Path(p) for p in sys.argv[1:4])
name = sys.argv[4]
python = venv / "bin" / "python"
stamp = home / "venv.stamp"
wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()


def is_ready():
    return python.exists() and stamp.exists() and stamp.read_text() == wanted


with open(home / "venv.lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not is_ready():
        started = time.monotonic()
        print(f"{name}: installing {requirements} into {venv}", file=sys.stderr)
        stamp.unlink(missing_ok=True)
        shutil.rmtree(venv, ignore_errors=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                   "--no-input", "--require-hashes", "--requirement", requirements]
        for command in ([sys.executable, "-m", "venv", venv], install):
            # stdout is only for the path of the Python.
            done = subprocess.run([str(part) for part in command], stdout=sys.stderr)
            if done.returncode:
                sys.exit(f"{name}: `{' '.join(map(str, command))}` failed with {done.returncode}")
        stamp.write_text(wanted)
        print(f"{name}: installed in {time.monotonic() - started:.0f} s", file=sys.stderr)
print(python)
PY
