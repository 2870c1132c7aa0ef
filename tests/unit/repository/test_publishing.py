"""What is published is whole, known by its digest, read-only, and there at once or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from control_plane.domain.errors import Conflict, InvalidRequest, PayloadTooLarge, UnsupportedFormat
from control_plane.domain.models import Description, ModelKind, Signature, TensorSpec
from control_plane.gateways.repository.safety import ImportLimits
from control_plane.ports import OnnxModel
from tests.doubles.inspector import MLP, KnownInspector
from tests.unit.repository.directories import MLP_CONFIG, ONNX, PYTHON_CONFIG, Workshop, write_directory


async def test_a_model_directory_becomes_a_revision_named_after_model_and_number(workshop: Workshop, mlp: Path) -> None:
    revision = await workshop.publish(mlp, number=3)

    assert (revision.model, revision.number, revision.directory) == ("mlp", 3, "mlp--r3")
    assert (revision.backend, revision.device, revision.instance_count) == ("onnxruntime", "cpu", 1)
    assert revision.signature.inputs == (TensorSpec("features", "FP32", (-1, 8)),)
    assert revision.signature.max_batch_size == 16
    assert revision.description == Description(ModelKind.GENERIC, (), 195, "float32")
    assert (revision.source, revision.created_by, revision.created_at) == ("mlp", "key_1", workshop.clock.now())
    assert 'name: "mlp--r3"' in workshop.config(revision)


async def test_what_was_published_is_read_back_equal(workshop: Workshop, mlp: Path) -> None:
    second = await workshop.publish(mlp, number=2)
    first = await workshop.publish(mlp, number=1)
    other = await workshop.publish(mlp, model="a-model")

    assert await workshop.repository.revisions() == (other, first, second)


async def test_the_digest_is_that_of_sha256sum_over_the_sorted_files(workshop: Workshop, mlp: Path) -> None:
    revision = await workshop.publish(mlp)

    folder = workshop.folder(revision)
    paths = ["1/model.onnx", "config.pbtxt"]
    lines = [f"{hashlib.sha256((folder / path).read_bytes()).hexdigest()}  {path}\n" for path in paths]
    assert [artifact.path for artifact in revision.artifacts] == paths
    assert revision.digest == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert revision.size_bytes == sum((folder / path).stat().st_size for path in paths)


async def test_files_of_a_revision_are_read_only_and_new(workshop: Workshop, mlp: Path) -> None:
    os.utime(mlp / "1/model.onnx", (0, 0))

    revision = await workshop.publish(mlp)

    files = [path for path in workshop.folder(revision).rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o444}
    # Triton compares times: files of the past would look unchanged to it.
    assert min(path.stat().st_mtime for path in files) > 0


async def test_the_manifest_says_with_what_it_was_made(workshop: Workshop, mlp: Path) -> None:
    revision = await workshop.publish(mlp)

    manifest = json.loads((workshop.folder(revision) / "tritonplane.json").read_text())
    assert manifest["schema"] == 1
    assert {"python", "tritonplane", "nvidia-pytriton", "onnxruntime"} <= manifest["toolchain"].keys()


async def test_max_batch_size_0_is_written_out(workshop: Workshop, tmp_path: Path) -> None:
    """protobuf text drops zeros, and Triton takes an absent max_batch_size differently."""
    config = MLP_CONFIG.replace("16", "0").replace("[ 8 ]", "[ -1, 8 ]").replace("[ 3 ]", "[ -1, 3 ]")
    source = write_directory(tmp_path / "m", {"config.pbtxt": config, "1/model.onnx": ONNX})

    revision = await workshop.publish(source)

    assert "max_batch_size: 0\n" in workshop.config(revision)


async def test_the_one_version_becomes_version_1(workshop: Workshop, tmp_path: Path) -> None:
    source = write_directory(tmp_path / "m", {"config.pbtxt": MLP_CONFIG, "7/model.onnx": ONNX, "README.md": "hello"})

    revision = await workshop.publish(source)

    assert [artifact.path for artifact in revision.artifacts] == ["1/model.onnx", "README.md", "config.pbtxt"]


async def test_a_configuration_without_tensors_is_completed_from_the_graph(workshop: Workshop, tmp_path: Path) -> None:
    config = 'platform: "onnxruntime_onnx"\nmax_batch_size: 4\n'
    source = write_directory(tmp_path / "m", {"config.pbtxt": config, "1/model.onnx": ONNX})

    revision = await workshop.publish(source)

    assert revision.backend == "onnxruntime"
    assert "platform" not in workshop.config(revision)
    assert revision.signature == replace(MLP.signature, max_batch_size=4)


async def test_a_bare_onnx_file_gets_a_whole_configuration(workshop: Workshop, tmp_path: Path) -> None:
    source = tmp_path / "net.ONNX"
    source.write_bytes(ONNX)

    revision = await workshop.publish(source)

    assert revision.signature == MLP.signature
    assert (revision.backend, revision.queue_delay_us) == ("onnxruntime", 0)
    assert "dynamic_batching" in workshop.config(revision)
    assert (workshop.folder(revision) / "1/model.onnx").read_bytes() == ONNX


async def test_a_bare_onnx_file_without_batch_axis_gets_no_batching(tmp_path: Path) -> None:
    fixed = Signature((TensorSpec("x", "INT64", (1, 4)),), (TensorSpec("y", "BYTES", (-1,)),))
    workshop = Workshop.open(tmp_path / "state", KnownInspector(OnnxModel(fixed, 0, "int64", 17)))
    (tmp_path / "net.onnx").write_bytes(ONNX)

    revision = await workshop.publish(tmp_path / "net.onnx")

    assert revision.signature == fixed
    assert revision.queue_delay_us is None


async def test_an_import_may_describe_itself(workshop: Workshop, mlp: Path) -> None:
    carried = {"kind": "diffusion", "tasks": ["image"], "parameters": 12, "dtype": "int8", "license": "MIT"}
    carried |= {"internal": True, "labels": {"level": "basic"}, "source": {"path": "source"}, "digest": "forged"}
    (mlp / "tritonplane.json").write_text(json.dumps(carried))

    revision = await workshop.publish(mlp)

    labels = {"level": "basic", "license": "MIT"}
    assert revision.description == Description(ModelKind.DIFFUSION, ("image",), 12, "int8", labels=labels)
    assert revision.digest != "forged"
    assert "tritonplane.json" not in [artifact.path for artifact in revision.artifacts]


async def test_the_publisher_s_description_beats_the_import_s_own(workshop: Workshop, mlp: Path) -> None:
    (mlp / "tritonplane.json").write_text('{"kind": "diffusion"}')

    revision = await workshop.publish(mlp, description=Description(is_internal=True))

    assert revision.description == Description(ModelKind.GENERIC, (), 195, "float32", is_internal=True)


async def test_a_revision_can_be_imported_again_as_another_model(workshop: Workshop, mlp: Path) -> None:
    first = await workshop.publish(mlp, description=Description(ModelKind.HYBRID, labels={"level": "max"}))

    again = await workshop.publish(workshop.folder(first), model="other", number=9)

    assert (again.directory, again.description) == ("other--r9", first.description)


async def test_a_number_is_published_once(workshop: Workshop, mlp: Path) -> None:
    revision = await workshop.publish(mlp)

    with pytest.raises(Conflict, match="published already"):
        await workshop.publish(mlp)

    assert await workshop.repository.revisions() == (revision,)
    assert workshop.names("staging") == []


@pytest.mark.parametrize("name", ["b$(touch x)", "a--r1", "../up", "a b", "", "-a"])
async def test_a_name_that_a_shell_would_take_apart_is_refused(workshop: Workshop, mlp: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match="name"):
        await workshop.publish(mlp, model=name)

    assert workshop.is_untouched()


async def test_what_is_no_model_is_refused_by_its_kind(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "weights.h5").write_bytes(b"x")

    with pytest.raises(UnsupportedFormat, match=r"'weights\.h5' cannot be imported"):
        await workshop.publish(tmp_path / "weights.h5")
    with pytest.raises(InvalidRequest, match="nothing to import at 'absent'"):
        await workshop.publish(tmp_path / "absent")


@pytest.mark.parametrize("limits", [ImportLimits(files=1), ImportLimits(file_bytes=10), ImportLimits(total_bytes=10)])
async def test_an_import_over_its_limits_is_refused(tmp_path: Path, mlp: Path, limits: ImportLimits) -> None:
    workshop = Workshop.open(tmp_path / "state", limits=limits)

    with pytest.raises(PayloadTooLarge):
        await workshop.publish(mlp)

    assert workshop.is_untouched()


async def test_a_cancelled_publication_leaves_nothing(tmp_path: Path, mlp: Path) -> None:
    class SlowInspector(KnownInspector):
        started = asyncio.Event()

        async def inspect(self, path: Path) -> OnnxModel:
            self.started.set()
            await asyncio.sleep(60)
            return await super().inspect(path)

    workshop = Workshop.open(tmp_path / "state", SlowInspector())
    publishing = asyncio.create_task(workshop.publish(mlp))
    await SlowInspector.started.wait()
    publishing.cancel()

    with pytest.raises(asyncio.CancelledError):
        await publishing
    assert workshop.is_untouched()


async def test_a_listing_does_not_disturb_a_publication_under_way(tmp_path: Path, mlp: Path) -> None:
    class ListingInspector(KnownInspector):
        async def inspect(self, path: Path) -> OnnxModel:
            assert await workshop.repository.revisions() == ()
            return await super().inspect(path)

    workshop = Workshop.open(tmp_path / "state", ListingInspector())

    revision = await workshop.publish(mlp)

    assert await workshop.repository.verify(revision) == ()


async def test_a_state_directory_that_triton_s_shell_would_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot be used"):
        Workshop.open(tmp_path / "my state")


async def test_code_is_published_where_it_is_allowed(workshop: Workshop, tmp_path: Path) -> None:
    source = write_directory(tmp_path / "m", {"config.pbtxt": PYTHON_CONFIG, "1/model.py": "class Model: pass\n"})

    revision = await workshop.with_code_allowed().publish(source)

    assert revision.backend == "python"
    assert await workshop.repository.revisions() == (revision,)
