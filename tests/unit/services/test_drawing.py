"""Images from a model that draws: what is asked of Triton, what comes back, what is refused, what is counted."""

from __future__ import annotations

import pytest

from control_plane.domain.errors import EngineFailed, InvalidRequest
from control_plane.domain.generation import Generation
from control_plane.domain.images import Drawing, DrawingStep, Drawn, Stage
from control_plane.domain.tensors import unpack
from tests.doubles.images import SIZE
from tests.doubles.repository import diffusion_revision, hybrid_revision, tensor_revision, text_revision
from tests.doubles.services import World, make_world


async def _world() -> World:
    world = await make_world(diffusion_revision("digits"), hybrid_revision("painter"), text_revision("coder"))
    for name in ("digits", "painter", "coder"):
        await world.services.models.load(name)
    return world


async def test_images_come_as_many_as_asked_for_with_their_size_and_seed() -> None:
    world = await _world()

    drawn = await world.services.drawings.draw(Drawing("digits", num_steps=4, num_images=3, seed=7, label="5"))

    assert (len(drawn.images), drawn.width, drawn.height, drawn.num_steps, drawn.seed) == (3, SIZE, SIZE, 4, 7)
    assert all(image.startswith(b"\x89PNG\r\n\x1a\n") for image in drawn.images)
    assert drawn.steps_per_second * drawn.inference_time_s == pytest.approx(12)


async def test_a_stream_tells_each_step_and_ends_with_the_images() -> None:
    world = await _world()

    items = [item async for item in world.services.drawings.stream(Drawing("digits", num_steps=3, seed=1))]

    assert items[:-1] == [DrawingStep(1, 3), DrawingStep(2, 3), DrawingStep(3, 3)]
    assert isinstance(items[-1], Drawn)
    assert items[-1].images == (await world.services.drawings.draw(Drawing("digits", num_steps=3, seed=1))).images


async def test_the_options_travel_as_inputs_and_parameters_of_the_image_interface() -> None:
    world = await _world()

    await world.services.drawings.draw(Drawing("painter", "a seven", 4, 2, seed=9, guidance=3, request_id="req-1"))

    (request,) = world.triton.requests
    assert {tensor.name: unpack(tensor) for tensor in request.inputs} == {"seed": [9], "text_input": ["a seven"]}
    assert dict(request.parameters) == {"num_steps": 4, "num_images": 2, "stream": True, "guidance": 3.0}
    assert request.request_id == "req-1"


async def test_a_seed_is_drawn_where_none_is_given_and_told() -> None:
    world = await _world()
    drawings = world.services.drawings

    first, second = await drawings.draw(Drawing("digits")), await drawings.draw(Drawing("digits"))

    assert first.seed != second.seed
    assert (await drawings.draw(Drawing("digits", seed=first.seed))).images == first.images


async def test_stages_name_the_parts_as_callers_know_them() -> None:
    world = await _world()

    drawn = await world.services.drawings.draw(Drawing("painter", "a seven"))

    assert drawn.stages == (Stage("parts-encoder:1", 1.5), Stage("parts-unet:1", 1.5))


@pytest.mark.parametrize(
    ("drawing", "said"),
    [
        (Drawing("coder", "a seven"), "draws no images"),
        (Drawing("digits", "a seven"), "takes no text; it draws by label: '0', '1'"),
        (Drawing("digits", label="ten"), "no label 'ten'; its labels are '0', '1'"),
        (Drawing("painter"), "send it one"),
        (Drawing("painter", ""), "send it one"),
        (Drawing("painter", "a seven", label="7"), "takes no label"),
    ],
)
async def test_what_the_model_cannot_draw_is_refused_before_triton_is_asked(drawing: Drawing, said: str) -> None:
    world = await _world()

    with pytest.raises(InvalidRequest, match=said):
        await world.services.drawings.draw(drawing)

    assert world.triton.requests == []


async def test_text_from_a_model_that_draws_names_the_route_that_works() -> None:
    world = await _world()

    with pytest.raises(InvalidRequest, match="draws images and generates no text; ask it for images: POST /inference"):
        await world.services.inference.generate(Generation("painter", "a seven"))


async def test_who_has_looked_a_model_up_is_drawn_by_what_he_has_seen() -> None:
    world = await make_world(diffusion_revision("digits"), diffusion_revision("digits", 2))
    for reference in ("digits:1", "digits:2"):
        await world.services.models.load(reference)
    found = world.services.catalog.resolve("digits")
    await world.services.models.promote("digits:2")

    await world.services.drawings.draw(Drawing("digits"), found)
    await world.services.drawings.draw(Drawing("digits"))

    assert [request.directory for request in world.triton.requests] == ["digits--r1", "digits--r2"]


async def test_images_from_a_tensor_model_are_refused() -> None:
    world = await make_world(tensor_revision("mlp"))
    await world.services.models.load("mlp")

    with pytest.raises(InvalidRequest, match="'mlp' draws no images"):
        await world.services.drawings.draw(Drawing("mlp"))


async def test_leaving_a_stream_closes_the_one_inside_triton() -> None:
    world = await _world()
    stream = world.services.drawings.stream(Drawing("digits", num_steps=10))
    await anext(stream)

    await stream.aclose()

    assert world.triton.closed_early == 1
    tally = world.services.inference.tallies["digits"]
    assert (tally.in_flight, tally.tokens, tally.successes) == (0, 1, 1)


async def test_steps_times_images_are_counted_beside_the_tokens_of_text() -> None:
    world = await _world()
    drawings = world.services.drawings
    await drawings.draw(Drawing("digits", num_steps=4, num_images=3))
    world.triton.fail_at = (2, EngineFailed("boom"))
    with pytest.raises(EngineFailed):
        _ = [item async for item in drawings.stream(Drawing("digits", num_steps=5, num_images=2))]

    tally = world.services.inference.tallies["digits"]
    assert (tally.successes, tally.failures, tally.tokens, tally.in_flight) == (1, 1, 12 + 4, 0)
