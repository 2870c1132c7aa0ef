"""`tritonplane` and `python -m control_plane`."""

from __future__ import annotations

from control_plane.cli.app import run


def main() -> None:
    run()


if __name__ == "__main__":
    main()
