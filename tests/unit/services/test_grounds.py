"""What an optimization begins with, by the whole workflow on doubles, in virtual time."""

from __future__ import annotations

from dataclasses import replace

from control_plane.domain.jobs import Job
from control_plane.domain.models import Artifact, Description
from control_plane.domain.optimization import Level
from tests.doubles.optimizing import FULL, Place, candidate, in_no_time, level, recipes

LABELS = {"license": "MIT", "quantization": "int8 dynamic", "weight_bits": "8", "kept": "head"}
QUANTIZED = replace(
    FULL,
    artifacts=(*FULL.artifacts, Artifact("source/model.pt", 1000, "d" * 64)),
    description=Description(dtype="int8", parameters=12, labels=LABELS),
)


def labels_of_the_winner(place: Place) -> dict[str, str]:
    async def one() -> None:
        await (await place.open()).optimized(Level.BASIC)

    in_no_time(one())
    description = place.repository.packages[0][0].description
    assert description is not None
    return dict(description.labels)


def test_a_graph_that_is_made_anew_of_the_source_does_not_bear_the_labels_of_the_old_one() -> None:
    place = Place(level("basic", candidate("fast")), revision=QUANTIZED, fast=0.01)
    assert labels_of_the_winner(place) == {"license": "MIT"}


def test_nor_does_a_candidate_that_begins_with_the_source() -> None:
    full = replace(QUANTIZED, description=replace(QUANTIZED.description, dtype="float32"))
    place = Place(level("basic", candidate("built", "source")), revision=full, built=0.01)
    assert labels_of_the_winner(place) == {"license": "MIT"}


def test_one_that_begins_with_the_revisions_own_graph_keeps_them() -> None:
    full = replace(QUANTIZED, description=replace(QUANTIZED.description, dtype="float32"))
    place = Place(level("basic", candidate("fast")), revision=full, fast=0.01)
    assert labels_of_the_winner(place) == LABELS


def test_a_quantized_revision_without_a_source_is_its_own_baseline_and_that_is_said() -> None:
    place = Place(level("basic", candidate("fast")), revision=replace(QUANTIZED, artifacts=FULL.artifacts), fast=0.01)

    async def one() -> Job:
        return await (await place.open()).optimized(Level.BASIC)

    told = recipes(in_no_time(one()))
    assert told["baseline"] == ("applied", "the baseline itself is in int8, not in full precision")
