"""A client of the seed's .proto, unmodified: its text compiled by protoc, the code used as it comes out."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
from grpc_tools import protoc

PROTO = Path(__file__).parents[3] / "proto" / "optimization.proto"


@dataclass(frozen=True)
class GeneratedClient:
    """The two modules that protoc writes."""

    messages: ModuleType
    stubs: ModuleType

    def on(self, channel: grpc.aio.Channel) -> Any:
        return self.stubs.OptimizationServiceStub(channel)


def generate_client(folder: Path) -> GeneratedClient:
    arguments = ["protoc", f"--proto_path={PROTO.parent}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    assert protoc.main([*arguments, PROTO.name]) == 0
    sys.path.insert(0, str(folder))
    try:
        return GeneratedClient(
            importlib.import_module("optimization_pb2"), importlib.import_module("optimization_pb2_grpc")
        )
    finally:
        sys.path.remove(str(folder))


def trailers(call: Any) -> dict[str, str]:
    """The trailing metadata of a call that has ended, or of the error it raised."""
    return {key: value for key, value in call if isinstance(value, str)}
