"""Writes the Python code of our .proto files into control_plane/pb: `python proto/generate.py`."""

from __future__ import annotations

import re
import sys
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from grpc_tools import protoc  # type: ignore[import-untyped]

PROTO = Path(__file__).parent
PB = PROTO.parent / "control_plane" / "pb"
SCRIPTS = Path(sys.executable).parent  # where this environment has mypy-protobuf's plugins


def generate(source: Path, target: Path) -> list[Path]:
    """The generated files, in `target`.

    The descriptor keeps the bare file name, as in code that clients generate from the same text: two descriptors
    of one package under different file names cannot live in one process.
    """
    with TemporaryDirectory() as scratch:
        arguments = [
            "protoc",
            f"--proto_path={source.parent}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            *(f"--plugin=protoc-gen-{plugin}={SCRIPTS}/protoc-gen-{plugin}" for plugin in ("mypy", "mypy_grpc")),
            *(f"--{plugin}_out={scratch}" for plugin in ("python", "grpc_python", "mypy", "mypy_grpc")),
            source.name,
        ]
        if protoc.main(arguments) != 0:
            raise SystemExit(f"protoc refused {source}")
        return [_placed(file, target) for file in sorted(Path(scratch).iterdir())]


def _placed(generated: Path, target: Path) -> Path:
    # protoc writes top-level imports; ours is a package.
    text = re.sub(r"^import (\w+_pb2)\b", r"from control_plane.pb import \1", generated.read_text(), flags=re.MULTILINE)
    placed = target / generated.name
    placed.write_text(text)
    return placed


if __name__ == "__main__":
    for proto in sorted(PROTO.glob("*.proto")):
        generate(proto, PB)
