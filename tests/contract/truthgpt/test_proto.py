"""The generated gRPC code: importable, the seed's own interface, and what the committed .proto says today."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
PB = ROOT / "control_plane" / "pb"
SEED_TEXT = "6fbf41bd8a3e846584f8c2d33cd85c89ffb2215ef8721c592d514e5c5d4d2b88"
METHODS = {
    "LoadModel", "UnloadModel", "ListModels", "GetModel", "OptimizeModel", "GetOptimizationStatus",
    "CancelOptimization", "RunInference", "StreamInference", "BenchmarkModel", "HealthCheck",
}  # fmt: skip


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "proto" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_proto_is_the_text_that_its_users_have() -> None:
    assert hashlib.sha256((ROOT / "proto" / "optimization.proto").read_bytes()).hexdigest() == SEED_TEXT


def test_t_grpc_15_the_generated_code_is_importable_and_has_every_method() -> None:
    messages = importlib.import_module("control_plane.pb.optimization_pb2")
    stubs = importlib.import_module("control_plane.pb.optimization_pb2_grpc")
    service = messages.DESCRIPTOR.services_by_name["OptimizationService"]
    assert service.full_name == "truthgpt.optimization.OptimizationService"
    assert {method.name for method in service.methods} == METHODS
    assert {name for name in vars(stubs.OptimizationServiceServicer) if not name.startswith("_")} == METHODS
    token = messages.InferenceToken(token="x", index=3, probability=0.5, is_final=True)
    assert token.SerializeToString() == b"\n\x01x\x10\x03\x1d\x00\x00\x00?\x20\x01"


def test_the_committed_code_is_what_the_generator_writes_today(generator: ModuleType, tmp_path: Path) -> None:
    written = [file.name for proto in (ROOT / "proto").glob("*.proto") for file in generator.generate(proto, tmp_path)]
    committed = {file.name for file in PB.iterdir() if file.suffix in (".py", ".pyi")}
    committed -= {"__init__.py", "inference.py"}  # which is tritonclient's door
    assert set(written) == committed
    for name in written:
        assert (tmp_path / name).read_text() == (PB / name).read_text(), f"run: python proto/generate.py ({name})"
