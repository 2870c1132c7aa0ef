"""A load's settings make a new revision of the same files, or are refused where they mean nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.domain.errors import Conflict, DomainError, InvalidRequest, NotFound, Unsupported
from control_plane.domain.models import Description, LoadOptions, Revision, TensorSpec
from tests.unit.repository.directories import MLP_CONFIG, ONNX, PYTHON_CONFIG, Workshop, write_directory

ENSEMBLE_CONFIG = """
platform: "ensemble"
input [ { name: "features" data_type: TYPE_FP32 dims: [ 8 ] } ]
output [ { name: "scores" data_type: TYPE_FP32 dims: [ 3 ] } ]
ensemble_scheduling { step [ {
  model_name: "mlp--r1" model_version: -1
  input_map { key: "features" value: "features" } output_map { key: "scores" value: "scores" }
} ] }
"""


async def test_a_derived_revision_shares_its_files_and_has_its_own_configuration(workshop: Workshop, mlp: Path) -> None:
    base = await workshop.publish(mlp, description=Description(labels={"level": "basic"}))

    changes = LoadOptions(instance_count=2, max_batch_size=4, queue_delay_us=100)
    derived = await workshop.repository.derive(base, 2, changes, "key_2")

    assert (derived.directory, derived.source, derived.created_by) == ("mlp--r2", "mlp:1", "key_2")
    assert (derived.instance_count, derived.signature.max_batch_size, derived.queue_delay_us) == (2, 4, 100)
    assert derived.description == base.description
    assert 'name: "mlp--r2"' in workshop.config(derived)
    files = [workshop.folder(revision) / "1/model.onnx" for revision in (base, derived)]
    assert files[0].samefile(files[1])
    assert await workshop.repository.revisions() == (base, derived)
    assert await workshop.repository.verify(derived) == ()


async def test_deleting_the_base_leaves_the_derived_revision_whole(workshop: Workshop, mlp: Path) -> None:
    base = await workshop.publish(mlp)
    derived = await workshop.repository.derive(base, 2, LoadOptions(instance_count=2), "key_1")

    await workshop.repository.delete(base)

    assert await workshop.repository.revisions() == (derived,)
    assert await workshop.repository.verify(derived) == ()


async def test_the_batch_axis_can_be_given_up_and_claimed_again(workshop: Workshop, mlp: Path) -> None:
    base = await workshop.publish(mlp)

    without = await workshop.repository.derive(base, 2, LoadOptions(max_batch_size=0), "key_1")
    again = await workshop.repository.derive(without, 3, LoadOptions(max_batch_size=8), "key_1")

    assert (without.signature.max_batch_size, without.queue_delay_us) == (0, None)
    assert without.signature.inputs == base.signature.inputs == (TensorSpec("features", "FP32", (-1, 8)),)
    assert "max_batch_size: 0" in workshop.config(without)
    assert (again.signature.max_batch_size, again.queue_delay_us) == (8, 0)
    assert again.signature.inputs == base.signature.inputs


async def test_preferred_batch_sizes_beyond_the_new_limit_go(workshop: Workshop, tmp_path: Path) -> None:
    config = MLP_CONFIG + "dynamic_batching { preferred_batch_size: [ 4, 16 ] max_queue_delay_microseconds: 7 }"
    base = await workshop.publish(write_directory(tmp_path / "m", {"config.pbtxt": config, "1/model.onnx": ONNX}))

    derived = await workshop.repository.derive(base, 2, LoadOptions(max_batch_size=8), "key_1")

    assert "preferred_batch_size: 4\n" in workshop.config(derived)
    assert "preferred_batch_size: 16" not in workshop.config(derived)
    assert derived.queue_delay_us == 7


async def test_the_device_of_a_model_can_be_pinned(tmp_path: Path, mlp: Path) -> None:
    workshop = Workshop.open(tmp_path / "gpu", has_gpu=True)
    base = await workshop.publish(mlp)

    pinned = await workshop.repository.derive(base, 2, LoadOptions(device="cpu", instance_count=3), "key_1")

    assert (base.device, pinned.device, pinned.instance_count) == ("cuda", "cpu", 3)
    assert "kind: KIND_CPU" in workshop.config(pinned)


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        (LoadOptions(device="cuda"), Unsupported, "no NVIDIA GPU"),
        (LoadOptions(device="tpu"), InvalidRequest, "device must be cpu or cuda"),
        (LoadOptions(instance_count=0), InvalidRequest, "instance_count must be 1 to 64, got 0"),
        (LoadOptions(max_batch_size=-1), InvalidRequest, "max_batch_size must be 0 to 4096"),
        (LoadOptions(queue_delay_us=2_000_000), InvalidRequest, "dynamic_batching_delay_us must be"),
        (LoadOptions(max_batch_size=0, queue_delay_us=5), InvalidRequest, "without batches nothing waits"),
    ],
)
async def test_a_change_that_cannot_be_is_refused_and_nothing_is_left(
    workshop: Workshop, mlp: Path, changes: LoadOptions, error: type[DomainError], sentence: str
) -> None:
    base = await workshop.publish(mlp)

    with pytest.raises(error, match=sentence):
        await workshop.repository.derive(base, 2, changes, "key_1")

    assert workshop.names("repository") == ["mlp--r1"]
    assert workshop.names("staging") == []


async def test_a_model_with_a_fixed_first_axis_takes_no_batches(workshop: Workshop, tmp_path: Path) -> None:
    config = MLP_CONFIG.replace("16", "0").replace("[ 8 ]", "[ 1, 8 ]").replace("[ 3 ]", "[ -1, 3 ]")
    base = await workshop.publish(write_directory(tmp_path / "m", {"config.pbtxt": config, "1/model.onnx": ONNX}))

    with pytest.raises(InvalidRequest, match="the first axis of 'features' is not free"):
        await workshop.repository.derive(base, 2, LoadOptions(max_batch_size=4), "key_1")


async def test_a_python_model_decides_itself_on_batches(workshop: Workshop, tmp_path: Path) -> None:
    source = write_directory(tmp_path / "m", {"config.pbtxt": PYTHON_CONFIG, "1/model.py": "x = 1\n"})
    base = await workshop.with_code_allowed().publish(source)

    assert (await workshop.repository.derive(base, 2, LoadOptions(max_batch_size=2), "k")).signature.max_batch_size == 2
    with pytest.raises(InvalidRequest, match="a python model decides itself"):
        await workshop.repository.derive(base, 3, LoadOptions(max_batch_size=0), "key_1")


async def test_a_number_in_use_is_not_given_again(workshop: Workshop, mlp: Path) -> None:
    base = await workshop.publish(mlp)

    with pytest.raises(Conflict):
        await workshop.repository.derive(base, 1, LoadOptions(instance_count=2), "key_1")


async def test_nothing_is_derived_from_a_revision_that_is_gone(workshop: Workshop, mlp: Path) -> None:
    base = await workshop.publish(mlp)
    await workshop.repository.delete(base)

    with pytest.raises(NotFound, match="mlp:1 is not in the repository"):
        await workshop.repository.derive(base, 2, LoadOptions(instance_count=2), "key_1")


async def ensemble(workshop: Workshop, tmp_path: Path, config: str = ENSEMBLE_CONFIG) -> Revision:
    return await workshop.publish(write_directory(tmp_path / "chain", {"config.pbtxt": config}), model="chain")


async def test_an_ensemble_names_revisions_that_are_here(workshop: Workshop, mlp: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="a step 'mlp--r1', which is no revision here"):
        await ensemble(workshop, tmp_path)
    await workshop.publish(mlp)

    revision = await ensemble(workshop, tmp_path)

    assert revision.backend == "ensemble"
    assert (workshop.folder(revision) / "1").is_dir()
    with pytest.raises(InvalidRequest, match="asks for version 2"):
        await ensemble(workshop, tmp_path, ENSEMBLE_CONFIG.replace("-1", "2"))


@pytest.mark.parametrize(
    "changes", [LoadOptions(instance_count=2), LoadOptions(max_batch_size=2), LoadOptions(queue_delay_us=2)]
)
async def test_an_ensemble_is_configured_through_its_steps(
    workshop: Workshop, mlp: Path, tmp_path: Path, changes: LoadOptions
) -> None:
    await workshop.publish(mlp)
    base = await ensemble(workshop, tmp_path)

    with pytest.raises(InvalidRequest, match="steps"):
        await workshop.repository.derive(base, 2, changes, "key_1")
