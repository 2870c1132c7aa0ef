"""A golden inference after every start: numpy 2 or a foreign libpython in the stub corrupts tensors in silence."""

from __future__ import annotations

import filecmp
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from control_plane.domain.errors import DomainError, EngineFailed, Unsupported
from control_plane.domain.tensors import Inference, Tensor, pack
from control_plane.gateways.triton.channel import Channel
from control_plane.gateways.triton.configuration import TritonConfig
from control_plane.gateways.triton.control import Control
from control_plane.gateways.triton.installation import package_folder
from control_plane.gateways.triton.interpreter import look
from control_plane.gateways.triton.stub import unary

PROBE = "tritonplane-probe"
SHIPPED = "model_repository"
INFERENCE_TIMEOUT_S = 10


async def selftest(config: TritonConfig, control: Control, channel: Channel, environment: Mapping[str, str]) -> None:
    """Raises: EngineFailed when a tensor does not come back as it must; what loading raises."""
    golden = json.loads((probe_folder(config) / "1" / "golden.json").read_text())
    await control.load(PROBE, config.selftest_timeout_s)
    inputs = tuple(_tensor(entry) for entry in golden["inputs"])
    try:
        answer = await unary(channel, Inference(PROBE, inputs, INFERENCE_TIMEOUT_S))
    except DomainError as error:
        raise EngineFailed(f"the self-test inference failed: {error.message}") from error
    given = {tensor.name: tensor for tensor in answer.outputs}
    for expected in map(_tensor, golden["outputs"]):
        if given.get(expected.name) != expected:
            view = await look(environment)
            cause = view.fault or f"tensors do not survive the way into {view.told}"
            raise EngineFailed(f"the self-test's output {expected.name!r} is wrong: {cause}")


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


def _tensor(entry: dict[str, object]) -> Tensor:
    shape, values = entry["shape"], entry["data"]
    assert isinstance(shape, list)
    assert isinstance(values, list)
    return pack(str(entry["name"]), str(entry["datatype"]), shape, values)


def _same(left: Path, right: Path) -> bool:
    names = [str(path.relative_to(left)) for path in left.rglob("*") if path.is_file()]
    return right.is_dir() and filecmp.cmpfiles(left, right, names, shallow=False)[0] == names
