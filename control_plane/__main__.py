"""`tritonplane` and `python -m control_plane`."""

from __future__ import annotations

import os

# Children are started by exec alone; without this, gRPC writes a line about each of them.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from control_plane.cli.app import run


def main() -> None:
    run()


if __name__ == "__main__":
    main()
