"""A golden inference after every start: numpy 2 or a foreign libpython in the stub corrupts tensors in silence."""

from __future__ import annotations

import filecmp
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from control_plane.domain.errors import DomainError, EngineFailed, Unsupported
from control_plane.domain.tensors import Inference, Tensor, pack, text_tensor, unpack
from control_plane.gateways.triton.channel import Channel
from control_plane.gateways.triton.configuration import TritonConfig
from control_plane.gateways.triton.control import Control
from control_plane.gateways.triton.installation import package_folder
from control_plane.gateways.triton.interpreter import look
from control_plane.gateways.triton.stub import TritonStub, unary

PROBE = "tritonplane-probe"
SHIPPED = "model_repository"
INFERENCE_TIMEOUT_S = 10


async def selftest(config: TritonConfig, control: Control, channel: Channel, environment: Mapping[str, str]) -> None:
    """Raises: EngineFailed when a tensor does not come back as it must; what loading raises."""
    golden = json.loads((probe_folder(config) / "1" / "golden.json").read_text())
    expected = _tensors(golden["outputs"])
    await control.load(PROBE, config.selftest_timeout_s)
    try:
        names = tuple(tensor.name for tensor in expected)
        answer = await unary(channel, Inference(PROBE, _tensors(golden["inputs"]), INFERENCE_TIMEOUT_S, names))
    except DomainError as error:
        raise EngineFailed(f"the self-test inference failed: {error.message}") from error
    wrong = [tensor.name for tensor in expected if answer.output(tensor.name) != tensor]
    if wrong:
        view = await look(environment)
        cause = view.fault or f"tensors do not survive the way into {view.told}"
        raise EngineFailed(f"the self-test's output {wrong[0]!r} is wrong: {cause}")


async def stub_environment(triton: TritonStub) -> Mapping[str, str | None]:
    """What a stub itself says of its Python: `python`, `prefix`, `numpy` and the packages that backends need."""
    inputs = (pack("X", "FP32", [1], [0]), text_tensor("T", ""))
    answer = await triton.infer(Inference(PROBE, inputs, INFERENCE_TIMEOUT_S, ("environment",)))
    told: Mapping[str, str | None] = json.loads(unpack(answer.outputs[0])[0])
    return told


def install_probe(config: TritonConfig) -> None:
    """Copy the probe model into the live repository, unless the same is there; no server runs yet."""
    source, target = probe_folder(config), config.repository / PROBE
    config.repository.mkdir(parents=True, exist_ok=True)
    if not _same(source, target):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))


def probe_folder(config: TritonConfig) -> Path:
    shipped = package_folder(SHIPPED)
    folder = config.probe or (None if shipped is None else shipped / PROBE)
    if folder is None or not folder.is_dir():
        raise Unsupported("the self-test model is not installed", requires=PROBE)
    return folder


def _tensors(values: Mapping[str, list[Any]]) -> tuple[Tensor, ...]:
    """The golden file names vectors of numbers (FP32) and of texts (BYTES)."""
    return tuple(
        text_tensor(name, *vector) if isinstance(vector[0], str) else pack(name, "FP32", [len(vector)], vector)
        for name, vector in values.items()
    )


def _same(left: Path, right: Path) -> bool:
    names = [str(path.relative_to(left)) for path in left.rglob("*") if path.is_file()]
    return right.is_dir() and filecmp.cmpfiles(left, right, names, shallow=False)[0] == names
