"""Models that call others: their parts are named by revision when they are published, and publicly when they leave."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.models import Description, LoadOptions, ModelKind, Revision, TensorSpec
from control_plane.gateways.repository.pbtxt import parse_config
from control_plane.ports import Publication
from tests.doubles.image_models import LABELS, write_diffusion, write_facts, write_hybrid
from tests.doubles.repository import tensor_revision
from tests.unit.repository.directories import Workshop


def _part(model: str, takes: dict[str, str], gives: str, parameters: int = 1000) -> Revision:
    base = tensor_revision(model, 2)
    inputs = tuple(TensorSpec(name, datatype, (-1,)) for name, datatype in takes.items())
    signature = replace(base.signature, inputs=inputs, outputs=(TensorSpec(gives, "FP32", (-1,)),), max_batch_size=0)
    return replace(base, signature=signature, description=Description(parameters=parameters, dtype="float32"))


UNET = _part("unet", {"sample": "FP32", "timestep": "INT64", "condition": "FP32"}, "noise")
ENCODER = _part("encoder", {"input_ids": "INT64", "attention_mask": "INT64"}, "condition", 30)
KNOWN = {name: part for part in (UNET, ENCODER) for name in (part.model, f"{part.model}:2")} | {
    "mlp": tensor_revision("mlp")
}


async def publish(workshop: Workshop, source: Path, model: str = "pictures", **more: bool) -> Revision:
    find: Callable[[str], Revision] = KNOWN.__getitem__
    publication = Publication(model, 1, source, source.name, "key_1", find_part=find, **more)
    return await workshop.repository.publish(publication)


async def test_a_pipeline_names_its_parts_by_revision(workshop: Workshop, tmp_path: Path) -> None:
    revision = await publish(workshop, write_hybrid(tmp_path / "m", "unet", "encoder"))

    assert revision.parts == ("encoder--r2", "unet--r2")
    config = parse_config(workshop.config(revision).encode())
    assert config.parameters["part.unet"].string_value == "unet--r2"
    assert await workshop.repository.revisions() == (revision,)


async def test_it_is_described_by_its_files_and_has_the_weights_of_its_parts(
    workshop: Workshop, tmp_path: Path
) -> None:
    drawing = await publish(workshop, write_diffusion(tmp_path / "d", "unet"))
    painting = await publish(workshop, write_hybrid(tmp_path / "h", "unet", "encoder"), "paintings")

    expected = Description(ModelKind.DIFFUSION, ("image_generation",), 1000, "float32", classes=LABELS)
    assert drawing.description == expected
    assert (painting.description.kind, painting.description.parameters) == (ModelKind.HYBRID, 1030)
    assert (drawing.draws_images, drawing.takes_prompt, painting.takes_prompt) == (True, False, True)


async def test_the_same_directory_has_the_same_digest_each_time(workshop: Workshop, tmp_path: Path) -> None:
    source = write_hybrid(tmp_path / "m", "unet", "encoder", queue="4", threads="2")
    first = await publish(workshop, source)
    await workshop.repository.delete(first)

    assert (await publish(workshop, source)).digest == first.digest


async def test_a_reference_with_a_number_and_a_directory_name_a_revision_too(
    workshop: Workshop, tmp_path: Path
) -> None:
    numbered = await publish(workshop, write_diffusion(tmp_path / "numbered", "unet:2"), "numbered")
    placed = await publish(workshop, write_diffusion(tmp_path / "placed", "unet--r2"), "placed")
    assert (numbered.parts, placed.parts) == (("unet--r2",), ("unet--r2",))


async def test_an_exported_pipeline_names_its_parts_as_another_triton_would(workshop: Workshop, tmp_path: Path) -> None:
    revision = await publish(workshop, write_hybrid(tmp_path / "m", "unet", "encoder"))

    await workshop.repository.package(revision, tmp_path / "package")

    config = parse_config((tmp_path / "package/config.pbtxt").read_bytes())
    assert config.name == "pictures"
    names = {name: config.parameters[name].string_value for name in ("part.unet", "part.text_encoder")}
    assert names == {"part.unet": "unet", "part.text_encoder": "encoder"}


async def test_a_new_configuration_of_a_pipeline_has_the_same_parts(workshop: Workshop, tmp_path: Path) -> None:

    base = await publish(workshop, write_diffusion(tmp_path / "m", "unet"))
    derived = await workshop.repository.derive(base, 2, LoadOptions(instance_count=2), "key_1")
    assert (derived.parts, derived.instance_count) == (base.parts, 2)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"part.unet"', '"part.vae"', "must name part.unet among its parameters, and no other part; it names part.vae"),
        ("decoupled: true", "decoupled: false", "a diffusion model answers with a stream"),
        ('"seed"', '"sead"', "a diffusion model takes seed INT64 .1."),
        ('name: "size" data_type: TYPE_INT32', 'name: "size" data_type: TYPE_INT64', "a diffusion model gives step"),
        (
            '"unet"',
            '"mlp"',
            "names mlp:1 as its part.unet, which must take sample FP32, timestep INT64, condition FP32",
        ),
    ],
)
async def test_a_configuration_that_cannot_draw_is_refused(
    workshop: Workshop, tmp_path: Path, old: str, new: str, said: str
) -> None:
    source = write_diffusion(tmp_path / "m", "unet")
    config = source / "config.pbtxt"
    config.write_text(config.read_text().replace(old, new))

    with pytest.raises(InvalidRequest, match=said):
        await publish(workshop, source)

    assert workshop.is_untouched()


@pytest.mark.parametrize("path", ["1/diffusion.json", "1/conditions.npy", "1/tokenizer.json"])
async def test_a_missing_file_is_named(workshop: Workshop, tmp_path: Path, path: str) -> None:
    source = write_hybrid(tmp_path / "m", "unet", "encoder")
    (source / path).unlink()

    with pytest.raises(InvalidRequest, match=Path(path).name):
        await publish(workshop, source)


async def test_labels_that_are_no_texts_are_refused(workshop: Workshop, tmp_path: Path) -> None:
    source = write_diffusion(tmp_path / "m", "unet")
    write_facts(source, labels=[1, 2])

    with pytest.raises(InvalidRequest, match="'labels' must be a list of texts"):
        await publish(workshop, source)


@pytest.mark.parametrize("is_builtin", [True, False])
async def test_only_what_ships_may_call_itself_internal(workshop: Workshop, tmp_path: Path, is_builtin: bool) -> None:
    source = write_diffusion(tmp_path / "m", "unet")
    (source / "tritonplane.json").write_text(json.dumps({"kind": "diffusion", "internal": True}))

    revision = await publish(workshop, source, is_builtin=is_builtin)

    assert revision.description.is_internal is is_builtin
