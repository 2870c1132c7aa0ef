"""What the repository publishes, a real Triton loads and serves as the manifest says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from control_plane.domain.models import LoadOptions, Revision
from control_plane.domain.tensors import Inference, pack, unpack
from control_plane.gateways.processes.converter import ConverterInspector
from tests.doubles.onnx_files import adder, relu, tensor
from tests.triton import LOAD_S, RunningTriton, running_triton
from tests.unit.repository.directories import Workshop, write_directory

FIXTURES = Path(__file__).parents[2] / "fixtures"
ROWS = np.linspace(-1, 1, 3 * 8, dtype=np.float32).reshape(3, 8)


@pytest.fixture(scope="module")
async def triton(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningTriton]:
    async with running_triton(tmp_path_factory.mktemp("served") / "state") as running:
        yield running


@pytest.fixture
def workshop(triton: RunningTriton) -> Workshop:
    return Workshop.open(triton.repository.parent, ConverterInspector())


async def answer(triton: RunningTriton, revision: Revision, rows: np.ndarray) -> np.ndarray:
    """Load the revision, see that Triton says of it what the manifest says, and ask it."""
    await triton.control.load(revision.directory, LOAD_S)
    assert await triton.control.signature(revision.directory) == revision.signature
    given = revision.signature.inputs[0]
    inputs = (pack(given.name, given.datatype, rows.shape, rows.ravel().tolist()),)
    (output,) = (await triton.stub.infer(Inference(revision.directory, inputs, timeout_s=20))).outputs
    return np.array(unpack(output), np.float32).reshape(output.shape)


async def test_a_bare_onnx_file_and_what_is_derived_from_it_answer_as_onnxruntime_does(
    triton: RunningTriton, workshop: Workshop
) -> None:
    session = onnxruntime.InferenceSession(FIXTURES / "mlp/model.onnx", providers=["CPUExecutionProvider"])
    (expected,) = session.run(["scores"], {"features": ROWS})

    base = await workshop.publish(FIXTURES / "mlp/model.onnx")
    unbatched = await workshop.repository.derive(base, 2, LoadOptions(max_batch_size=0), "key_1")
    doubled = await workshop.repository.derive(base, 3, LoadOptions(instance_count=2, queue_delay_us=200), "key_1")

    for revision in (base, unbatched, doubled):
        np.testing.assert_allclose(await answer(triton, revision, ROWS), expected, rtol=1e-5)


async def test_weights_beside_the_graph_are_served(triton: RunningTriton, workshop: Workshop, tmp_path: Path) -> None:
    weights = np.arange(4, dtype=np.float32)
    files = {"1/model.onnx": adder(tensor("w", [4], location="w.data")), "1/w.data": weights.tobytes()}

    revision = await workshop.publish(write_directory(tmp_path / "m", files), model="adder")

    np.testing.assert_array_equal(await answer(triton, revision, np.ones((2, 4), np.float32)), [weights + 1] * 2)


async def test_a_model_of_one_axis_is_served_without_batches(
    triton: RunningTriton, workshop: Workshop, tmp_path: Path
) -> None:
    revision = await workshop.publish(write_directory(tmp_path / "m", {"1/model.onnx": relu(("n",))}), model="relu")

    np.testing.assert_array_equal(await answer(triton, revision, np.array([-1, 2], np.float32)), [0, 2])


async def test_triton_leaves_a_loaded_revision_as_it_was_published(triton: RunningTriton, workshop: Workshop) -> None:
    revision = await workshop.publish(FIXTURES / "mlp/model.onnx", model="kept")
    await answer(triton, revision, ROWS)

    assert await workshop.repository.verify(revision) == ()
    assert revision in await workshop.repository.revisions()
    assert "tritonplane-probe" in workshop.names("repository")
    await triton.control.unload(revision.directory, LOAD_S)
    await workshop.repository.delete(revision)
    assert revision not in await workshop.repository.revisions()
