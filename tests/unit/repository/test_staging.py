"""Laying a model directory out for another Triton, and publishing with other settings than its own."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from control_plane.domain.errors import InvalidRequest, Unsupported
from control_plane.domain.models import Description, LoadOptions, Revision, TensorSpec
from control_plane.gateways.repository.pbtxt import ModelConfig, parse_config
from control_plane.ports import Publication
from tests.doubles.inspector import MLP, KnownInspector
from tests.unit.repository.directories import MLP_CONFIG, ONNX, PYTHON_CONFIG, Workshop, write_directory
from tests.unit.repository.test_text_encoders import directory as encoder_directory
from tests.unit.repository.test_text_encoders import graph as encoder_graph
from tests.unit.repository.test_text_models import decoder, text_directory

CHANGES = LoadOptions(
    instance_count=2, max_batch_size=4, queue_delay_us=100, threads=3, spinning=False, memory_arena=True
)
OURS = {"evidence.json": "{}", "reproduce.sh": "#!/bin/sh\n", "evaluation.jsonl": '{"inputs": {}}\n'}


def read(folder: Path) -> ModelConfig:
    return parse_config((folder / "config.pbtxt").read_bytes())


def parameters(config: ModelConfig) -> dict[str, str]:
    return {name: value.string_value for name, value in config.parameters.items()}


def zipped(folder: Path, file: Path) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for path in folder.rglob("*"):
            archive.write(path, f"mlp/{path.relative_to(folder)}")
    return file


async def publish_own(workshop: Workshop, source: Path, settings: LoadOptions | None = None) -> Revision:
    publication = Publication("mlp", 1, source, "a job", "key_1", is_own=True, settings=settings)
    return await workshop.repository.publish(publication)


async def test_a_staged_directory_is_linked_and_has_its_own_name_and_settings(
    workshop: Workshop, mlp: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "scratch" / "repository"
    signature = await workshop.repository.stage(mlp, "dynamic-int8", Description(), CHANGES, folder)

    assert (signature.max_batch_size, signature.inputs) == (4, (TensorSpec("features", "FP32", (-1, 8)),))
    staged = folder / "dynamic-int8"
    config = read(staged)
    assert (config.name, config.max_batch_size, config.instance_group[0].count) == ("dynamic-int8", 4, 2)
    assert config.dynamic_batching.max_queue_delay_microseconds == 100
    assert parameters(config) == {
        "intra_op_thread_count": "3",
        "session.intra_op.allow_spinning": "0",
        "enable_mem_arena": "1",
    }
    assert (staged / "1" / "model.onnx").samefile(mlp / "1" / "model.onnx")
    assert (mlp / "config.pbtxt").read_text() == MLP_CONFIG
    assert workshop.is_untouched()


async def test_a_graph_without_a_configuration_gets_one(workshop: Workshop, tmp_path: Path) -> None:
    source = write_directory(tmp_path / "made", {"1/model.onnx": ONNX})
    signature = await workshop.repository.stage(source, "made", Description(), LoadOptions(), tmp_path / "scratch")
    assert signature == MLP.signature
    assert read(tmp_path / "scratch" / "made").backend == "onnxruntime"
    assert not (source / "config.pbtxt").exists()


async def test_what_was_staged_under_a_name_is_replaced(workshop: Workshop, mlp: Path, tmp_path: Path) -> None:
    other = write_directory(tmp_path / "other", {"1/model.onnx": ONNX, "1/more.bin": b"x"})
    for source in (other, mlp):
        await workshop.repository.stage(source, "one", Description(), LoadOptions(), tmp_path / "scratch")
    files = [path.name for path in (tmp_path / "scratch" / "one").rglob("*") if path.is_file()]
    assert sorted(files) == ["config.pbtxt", "model.onnx"]
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["one"]


async def test_a_published_revision_is_staged_without_its_manifest_and_stays_as_it_is(
    workshop: Workshop, mlp: Path, tmp_path: Path
) -> None:
    revision = await workshop.publish(mlp)
    await workshop.repository.stage(
        workshop.folder(revision), "baseline", revision.description, LoadOptions(threads=1), tmp_path / "scratch"
    )
    assert not (tmp_path / "scratch" / "baseline" / "tritonplane.json").exists()
    assert await workshop.repository.verify(revision) == ()


async def test_settings_that_do_not_fit_stage_nothing(workshop: Workshop, mlp: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="max_batch_tokens does not apply to this model"):
        await workshop.repository.stage(
            mlp, "one", Description(), LoadOptions(max_batch_tokens=64), tmp_path / "scratch"
        )
    with pytest.raises(Unsupported, match="no NVIDIA GPU"):
        await workshop.repository.stage(mlp, "one", Description(), LoadOptions(device="cuda"), tmp_path / "scratch")
    assert not (tmp_path / "scratch").exists()
    assert workshop.is_untouched()


async def test_a_text_encoder_takes_all_of_them(tmp_path: Path) -> None:
    workshop = Workshop.open(tmp_path / "state", KnownInspector(encoder_graph()))
    changes = replace(CHANGES, threads=0, spinning=True, memory_arena=False, max_batch_tokens=512)
    source = encoder_directory(tmp_path / "m")
    signature = await workshop.repository.stage(source, "one", Description(), changes, tmp_path / "scratch")
    assert signature.inputs == (TensorSpec("text_input", "BYTES", (-1, 1)),)
    config = read(tmp_path / "scratch" / "one")
    assert (config.max_batch_size, config.dynamic_batching.max_queue_delay_microseconds) == (4, 100)
    assert parameters(config) == {
        "threads": "0",
        "max_batch_tokens": "512",
        "session.intra_op.allow_spinning": "1",
        "enable_mem_arena": "0",
    }
    with pytest.raises(InvalidRequest, match="decides itself whether it takes batches"):
        await workshop.repository.stage(
            source, "two", Description(), LoadOptions(max_batch_size=0), tmp_path / "scratch"
        )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (LoadOptions(threads=-1), "threads must be 0 to 1024, got -1"),
        (LoadOptions(threads=1025), "threads must be 0 to 1024, got 1025"),
        (LoadOptions(max_batch_tokens=0), "max_batch_tokens must be 1 to 1048576, got 0"),
    ],
)
async def test_a_value_out_of_bounds_is_refused(
    workshop: Workshop, mlp: Path, changes: LoadOptions, sentence: str
) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        await publish_own(workshop, mlp, changes)
    assert workshop.is_untouched()


@pytest.mark.parametrize(
    "changes", [LoadOptions(threads=1), LoadOptions(spinning=True), LoadOptions(memory_arena=True)]
)
async def test_a_backend_that_opens_no_session_has_no_settings_of_one(
    workshop: Workshop, tmp_path: Path, changes: LoadOptions
) -> None:
    source = write_directory(tmp_path / "m", {"config.pbtxt": PYTHON_CONFIG, "1/model.py": "x = 1\n"})
    base = await workshop.with_code_allowed().publish(source)
    with pytest.raises(InvalidRequest, match="does not apply to this model: the python backend opens no session"):
        await workshop.repository.derive(base, 2, changes, "key_1")


async def test_what_is_ours_is_published_with_its_settings_and_its_evidence(workshop: Workshop, mlp: Path) -> None:
    revision = await publish_own(workshop, write_directory(mlp, OURS), CHANGES)
    assert {artifact.path for artifact in revision.artifacts} == {"config.pbtxt", "1/model.onnx", *OURS}
    assert (revision.instance_count, revision.signature.max_batch_size, revision.queue_delay_us) == (2, 4, 100)
    assert parameters(read(workshop.folder(revision)))["intra_op_thread_count"] == "3"
    assert await workshop.repository.verify(revision) == ()


@pytest.mark.parametrize("is_zipped", [False, True])
async def test_a_stranger_s_evidence_is_left_behind_and_its_inputs_are_taken(
    workshop: Workshop, mlp: Path, tmp_path: Path, is_zipped: bool
) -> None:
    source = write_directory(mlp, {**OURS, "notes/evidence.json": "{}"})
    if is_zipped:
        source = zipped(mlp, tmp_path / "mlp.zip")
    revision = await workshop.publish(source)
    assert [artifact.path for artifact in revision.artifacts] == [
        "1/model.onnx",
        "config.pbtxt",
        "evaluation.jsonl",
        "notes/evidence.json",
    ]


async def test_what_left_with_its_evidence_can_be_imported_again(workshop: Workshop, mlp: Path, tmp_path: Path) -> None:
    revision = await publish_own(workshop, write_directory(mlp, OURS))
    await workshop.repository.package(revision, tmp_path / "left")
    assert json.loads((tmp_path / "left" / "tritonplane.json").read_text())["model"] == "mlp"
    again = await workshop.publish(tmp_path / "left", model="again")
    assert "evidence.json" not in {artifact.path for artifact in again.artifacts}


async def test_the_settings_of_a_text_model_are_its_session_s_alone(tmp_path: Path) -> None:
    workshop = Workshop.open(tmp_path / "state", KnownInspector(decoder()))
    source = text_directory(tmp_path / "m")
    changes = LoadOptions(threads=4, spinning=False, memory_arena=False)
    await workshop.repository.stage(source, "one", Description(), changes, tmp_path / "scratch")
    assert parameters(read(tmp_path / "scratch" / "one"))["threads"] == "4"
    for wrong in (LoadOptions(max_batch_size=4), LoadOptions(queue_delay_us=4), LoadOptions(max_batch_tokens=4)):
        with pytest.raises(InvalidRequest, match="does not apply to this model"):
            await workshop.repository.stage(source, "two", Description(), wrong, tmp_path / "scratch")
