"""Starts bqemulator (BigQuery) so that it needs no internet and keeps its tables over a restart.

Two functions of bqemulator are replaced:

* It downloads DuckDB's `spatial` extension when it starts. No table here has a GEOGRAPHY column.
* It copies the whole table after every insert, for time travel, which takes gigabytes after some hundred inserts.
  Snapshots that a user requests are still taken.

The tables are in one DuckDB file below DIR, so a process that is restarted with the same DIR has the same tables.

usage: bqemulator_launcher.py PORT DIR PROJECT
"""

import os
import sys
import tempfile
from pathlib import Path


def main() -> None:
    port, home, project = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(home / "tmp")

    from bqemulator.config import LogLevel, PersistenceMode, Settings
    from bqemulator.server import run_forever
    from bqemulator.storage.engine import DuckDBEngine
    from bqemulator.versioning.snapshots import SnapshotManager

    DuckDBEngine._load_spatial = lambda self: None
    capture = SnapshotManager.capture

    def capture_on_request(self, project_id, dataset_id, table_id, *, kind="AUTO"):
        if kind == "AUTO":
            return None
        return capture(self, project_id, dataset_id, table_id, kind=kind)

    SnapshotManager.capture = capture_on_request

    run_forever(
        Settings(
            rest_host="127.0.0.1",
            rest_port=port,
            grpc_host="127.0.0.1",
            grpc_port=0,
            persistence_mode=PersistenceMode.PERSISTENT,
            data_dir=home / "data",
            default_project_id=project,
            enable_format_extensions=False,
            upload_staging_dir=home / "uploads",
            log_level=LogLevel.WARNING,
        )
    )


if __name__ == "__main__":
    main()
