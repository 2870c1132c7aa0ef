"""What the diffusion backend is made of: the arithmetic against a plain loop, PNG files, files and options refused."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.doubles.image_models import ALPHAS, TEXT_LENGTH, write_diffusion, write_facts, write_hybrid
from triton_backends.diffusion.model_files import read_facts
from triton_backends.diffusion.options import read_options, read_seed
from triton_backends.diffusion.parts import Stages
from triton_backends.diffusion.png import png
from triton_backends.diffusion.prompts import Prompts
from triton_backends.diffusion.sampler import Guide, first_samples, sample
from triton_backends.diffusion.schedule import steps
from triton_backends.runtime.model_files import BrokenModel
from triton_backends.runtime.parameters import InvalidParameter
from triton_backends.runtime.triton import Array

NULL, WANTED = np.zeros(2, np.float32), np.array([0.3, -0.2], np.float32)


def predict(one: Array, timestep: int, conditions: Array) -> Array:
    """Some function of all three, in place of a UNet."""
    rows = [np.tanh(one * 0.7 + timestep / 100 + condition.sum()) for condition in conditions]
    return np.stack(rows).astype(np.float32)


def by_the_book(noise: Array, num_steps: int, guidance: float) -> Array:
    """DDIM as the paper has it, in 64 bits and without any of the code under test."""
    x, trained = noise.astype(np.float64), len(ALPHAS)
    for place in range(num_steps, 0, -1):
        now = round(trained * place / num_steps) - 1
        after = round(trained * (place - 1) / num_steps) - 1
        alpha, alpha_after = ALPHAS[now], ALPHAS[after] if after >= 0 else 1.0
        null, wanted = (np.tanh(x * 0.7 + now / 100 + float(condition.sum())) for condition in (NULL, WANTED))
        seen = null + guidance * (wanted - null)
        image = np.clip((x - np.sqrt(1 - alpha) * seen) / np.sqrt(alpha), -1, 1)
        left = (x - np.sqrt(alpha) * image) / np.sqrt(1 - alpha)
        x = np.sqrt(alpha_after) * image + np.sqrt(1 - alpha_after) * left
    return x


@pytest.mark.parametrize("num_steps", [1, 3, 16, 50])
@pytest.mark.parametrize("guidance", [0.0, 1.0, 2.5])
def test_the_steps_are_those_of_the_paper(num_steps: int, guidance: float) -> None:
    noise = first_samples(7, 1, (1, 8, 8))
    *_, (drawn,) = sample(noise, tuple(ALPHAS), num_steps, Guide(WANTED, NULL, guidance), predict)
    np.testing.assert_allclose(drawn, by_the_book(noise[0], num_steps, guidance), atol=2e-5)


def test_steps_go_evenly_from_the_noisiest_to_the_image_itself() -> None:
    told = steps(ALPHAS, 5)
    assert [step.timestep for step in told] == [49, 39, 29, 19, 9]
    assert [step.signal for step in told] == [ALPHAS[step.timestep] for step in told]
    assert [step.signal_after for step in told] == [*(step.signal for step in told[1:]), 1.0]


def test_an_image_does_not_depend_on_how_many_are_drawn() -> None:
    def drawn(count: int) -> list[Array]:
        *_, images = sample(first_samples(3, count, (1, 8, 8)), tuple(ALPHAS), 4, Guide(WANTED, NULL, 2), predict)
        return images

    assert np.array_equal(drawn(1)[0], drawn(5)[0])
    assert not np.array_equal(drawn(2)[0], drawn(2)[1])


@pytest.mark.parametrize(
    ("guidance", "condition", "rows"), [(2, WANTED, 2), (1, WANTED, 1), (0, WANTED, 1), (2, NULL, 1)]
)
def test_the_null_condition_is_asked_for_only_where_it_counts(guidance: float, condition: Array, rows: int) -> None:
    assert len(Guide(condition, NULL, guidance).conditions) == rows


@pytest.mark.parametrize(("channels", "colour"), [(1, 0), (3, 2)])
def test_a_png_holds_the_pixels_and_nothing_else(channels: int, colour: int) -> None:
    image = np.linspace(-1.2, 1.2, channels * 6, dtype=np.float32).reshape(channels, 2, 3)
    told = dict(_chunks(png(image)))
    assert list(told) == [b"IHDR", b"IDAT", b"IEND"]
    assert struct.unpack(">IIBBBBB", told[b"IHDR"]) == (3, 2, 8, colour, 0, 0, 0)
    rows = np.frombuffer(zlib.decompress(told[b"IDAT"]), np.uint8).reshape(2, -1)
    pixels = rows[:, 1:].reshape(2, 3, channels).transpose(2, 0, 1)
    expected = np.clip(np.round((image + 1) * 127.5), 0, 255)
    assert not rows[:, 0].any()
    assert np.array_equal(pixels, expected)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        kind, data = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert struct.unpack(">I", content[at + 8 + length : at + 12 + length]) == (zlib.crc32(kind + data),)
        yield kind, data
        at += 12 + length


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_size": 0}, "image_size must be a whole number from 1 to 512"),
        ({"image_size": True}, "image_size must be a whole number"),
        ({"channels": 2}, "channels must be 1 .grey. or 3 .RGB."),
        ({"alphas_cumprod": []}, "alphas_cumprod must be 1 to 10000 falling numbers"),
        ({"alphas_cumprod": [0.5, 0.5]}, "must fall from each training step"),
        ({"alphas_cumprod": [1.0]}, "between 0 and 1"),
        ({"alphas_cumprod": ["0.5"]}, "between 0 and 1"),
        ({"labels": ["a", "a"]}, "labels must be a list of different texts"),
        ({"labels": ["a", "b", "c", "d"]}, "names 4 labels, conditions.npy has 3 rows"),
        ({"null_condition_row": 3}, "null_condition_row must be a whole number from 0 to 2"),
        ({"guidance": 21}, "guidance must be a number from 0 to 20"),
        ({"pad_token_id": "no"}, "pad_token_id must be a whole number from 0 where there is a part.text_encoder"),
        ({"pad_token_id": 0}, "pad_token_id must be .* else null"),
        ({"text_length": 4}, "text_length must be a number where there is a part.text_encoder, else null"),
        ({"surprise": 1}, "must have exactly the keys"),
    ],
)
def test_a_fact_that_cannot_be_is_said_with_its_name(tmp_path: Path, change: dict[str, object], said: str) -> None:
    folder = write_diffusion(tmp_path / "m", "unet")
    write_facts(folder, **change)
    with pytest.raises(BrokenModel, match=said):
        read_facts(folder / "1", takes_text=False)


@pytest.mark.parametrize("pad", [None, True, -1, "0"])
def test_a_model_that_takes_text_names_the_token_that_fills(tmp_path: Path, pad: object) -> None:
    folder = write_hybrid(tmp_path / "m", "unet", "encoder")
    assert read_facts(folder / "1", takes_text=True).text_length == TEXT_LENGTH
    write_facts(folder, labels=[], text_length=TEXT_LENGTH, pad_token_id=pad)
    with pytest.raises(BrokenModel, match="pad_token_id must be a whole number from 0"):
        read_facts(folder / "1", takes_text=True)


@pytest.mark.parametrize("conditions", [np.zeros((3, 4)), np.zeros(3, np.float32), np.full((3, 4), np.nan, np.float32)])
def test_conditions_are_finite_numbers_of_32_bits_in_rows(tmp_path: Path, conditions: Array) -> None:
    folder = write_diffusion(tmp_path / "m", "unet")
    np.save(folder / "1/conditions.npy", conditions)
    with pytest.raises(BrokenModel, match=r"conditions\.npy"):
        read_facts(folder / "1", takes_text=False)


def test_a_pickle_in_place_of_the_conditions_is_not_opened(tmp_path: Path) -> None:
    folder = write_diffusion(tmp_path / "m", "unet")
    np.save(folder / "1/conditions.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(BrokenModel, match=r"conditions\.npy cannot be read"):
        read_facts(folder / "1", takes_text=False)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"num_steps": 0}, "num_steps must be an integer from 1 to 100, got 0"),
        ({"num_steps": 101}, "num_steps"),
        ({"num_steps": "many"}, "num_steps"),
        ({"num_images": 17}, "num_images must be an integer from 1 to 16"),
        ({"guidance": float("nan")}, "guidance must be a number from 0 to 20"),
        ({"guidance": -0.1}, "guidance"),
        ({"label": 7}, "label must be one of the model's labels"),
        ({"label": ""}, "label"),
        ({"stream": "perhaps"}, "stream must be true or false"),
        ({"steps": 5}, "unknown parameter 'steps'; the parameters are guidance, label, num_images, num_steps, stream"),
    ],
)
def test_an_option_that_cannot_be_is_refused_not_clamped(bad: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidParameter, match=said):
        read_options(bad)


@pytest.mark.parametrize("seed", [None, np.array([1, 2]), np.array([-1]), np.array([], np.int64)])
def test_a_seed_is_one_number_from_zero(seed: Array | None) -> None:
    with pytest.raises(InvalidParameter, match="seed must"):
        read_seed(seed)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff", "not UTF-8"),
        (b"one " * 7, "7 tokens; the model reads at most 6 tokens"),
        (b"one " * 100_000, "400000 characters"),
    ],
)
def test_a_prompt_that_cannot_be_read_is_refused(text: bytes, said: str) -> None:
    tokenizer = {"model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "one": 1}, "unk_token": "[UNK]"}}
    tokenizer |= {"version": "1.0", "pre_tokenizer": {"type": "Whitespace"}}
    prompts = Prompts(json.dumps(tokenizer), 6)
    assert prompts.read(np.array([b"one two"], object)) == [1, 0]
    with pytest.raises(InvalidParameter, match=said):
        prompts.read(np.array([text], object))


def test_stages_add_up_by_model_in_the_order_of_their_first_use() -> None:
    stages = Stages()
    for model in ("encoder", "unet", "unet"):
        stages.add(model, 0.0)
    told = json.loads(stages.as_json())
    assert [stage["model"] for stage in told] == ["encoder", "unet"]
    assert told[1]["time_ms"] > told[0]["time_ms"] > 0
