"""Images drawn through a real Triton: pixels against a loop of our own, the same bytes each time, and who leaves."""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import onnxruntime
import pytest
from tritonclient.grpc import InferInput
from tritonclient.utils import InferenceServerException

from tests.backends.conftest import RunningTriton
from tests.backends.streams import TritonStream, opened, text_tensor
from tests.doubles.image_models import (
    ALPHAS,
    CONDITIONS,
    SIZE,
    unet,
    write_diffusion,
    write_encoder,
    write_facts,
    write_hybrid,
    write_unet,
)
from tests.triton import MODELS

SHAPES, PAINTER, NARROW = "shapes", "painter", "narrow-shapes"
UNET, ENCODER, GATED = "tiny-unet", "tiny-encoder", "gated-unet"
CALLS_MAX = 50 * 16  # of one drawing


@pytest.fixture(scope="module")
def server(triton_server: RunningTriton) -> RunningTriton:
    write_unet(triton_server.repository / UNET)
    write_encoder(triton_server.repository / ENCODER)
    write_diffusion(triton_server.repository / SHAPES, UNET)
    shutil.copytree(MODELS / "gated_unet", triton_server.repository / GATED)
    os.mkfifo(triton_server.repository / GATED / "gate")
    write_diffusion(triton_server.repository / NARROW, GATED, threads="1", queue="1")
    write_hybrid(triton_server.repository / PAINTER, UNET, ENCODER)
    for name in (UNET, ENCODER, GATED, SHAPES, NARROW, PAINTER):
        triton_server.load(name)
    return triton_server


class Stream(TritonStream):
    """With one drawing on it."""

    def send(self, model: str, seed: int, text: bytes | None = None, **parameters: Any) -> Stream:
        given = _seed(seed)
        self.ask(model, [given] if text is None else [given, text_tensor(text)], parameters)
        return self

    def cancel(self, model: str, cancel_id: str) -> None:
        self.ask_more(model, [_seed(0)], {"cancel": cancel_id})

    def images(self, model: str, seed: int, text: bytes | None = None, **parameters: Any) -> list[bytes]:
        images: list[bytes] = self.send(model, seed, text, stream=False, **parameters).all()[-1]["images"]
        return images


def _seed(seed: int) -> InferInput:
    given = InferInput("seed", [1], "INT64")
    given.set_data_from_numpy(np.array([seed], np.int64))
    return given


class Gate:
    """Before the UNet of NARROW: shut, but for the calls that it is told to let through."""

    def __init__(self, pipe: Path) -> None:
        self._pipe = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)

    def let(self, calls: int) -> None:
        os.write(self._pipe, bytes(calls))

    def shut(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._pipe, CALLS_MAX):
                pass

    def close(self) -> None:
        """Let through what may still wait, so that nothing hangs when a test has failed."""
        self.let(2 * CALLS_MAX)
        os.close(self._pipe)


@pytest.fixture
def gate(server: RunningTriton) -> Iterator[Gate]:
    gate = Gate(server.repository / GATED / "gate")
    gate.shut()
    yield gate
    gate.close()


@pytest.fixture
def streams(server: RunningTriton) -> Iterator[list[Stream]]:
    with opened(Stream, server.address, 8) as streams:
        yield streams


def pixels(image: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    (length,) = struct.unpack(">I", image[33:37])
    assert image[37:41] == b"IDAT"
    rows = np.frombuffer(zlib.decompress(image[41 : 41 + length]), np.uint8).reshape(SIZE, SIZE + 1)
    return rows[:, 1:]


def drawn_here(seed: int, condition: np.ndarray[Any, np.dtype[np.float32]], num_steps: int, guidance: float) -> Any:
    """The same image without Triton and without the backend's code, in 64 bits but for the graph."""
    session = onnxruntime.InferenceSession(unet(), providers=["CPUExecutionProvider"])

    def seen(x: Any, timestep: int, given: Any) -> Any:
        inputs = {
            "sample": x[np.newaxis].astype(np.float32),
            "timestep": np.array([timestep]),
            "condition": given[None],
        }
        return session.run(None, inputs)[0][0].astype(np.float64)

    x = np.random.Generator(np.random.PCG64(seed)).standard_normal((1, SIZE, SIZE), np.float32).astype(np.float64)
    for place in range(num_steps, 0, -1):
        now, after = (round(len(ALPHAS) * at / num_steps) - 1 for at in (place, place - 1))
        alpha, alpha_after = ALPHAS[now], ALPHAS[after] if after >= 0 else 1.0
        null = seen(x, now, CONDITIONS[2])
        noise = null + guidance * (seen(x, now, condition) - null)
        image = np.clip((x - np.sqrt(1 - alpha) * noise) / np.sqrt(alpha), -1, 1)
        noise = (x - np.sqrt(alpha) * image) / np.sqrt(1 - alpha)
        x = np.sqrt(alpha_after) * image + np.sqrt(1 - alpha_after) * noise
    return np.round((x[0] + 1) * 127.5)


@pytest.mark.parametrize(("label", "row", "guidance"), [("circle", 0, 2.0), ("square", 1, 3.5), (None, 2, 2.0)])
def test_the_pixels_are_those_of_a_plain_loop(
    streams: list[Stream], label: str | None, row: int, guidance: float
) -> None:
    wanted = {} if label is None else {"label": label, "guidance": guidance}
    (image,) = streams[0].images(SHAPES, 7, num_steps=6, **wanted)
    assert (
        np.abs(pixels(image) - drawn_here(7, CONDITIONS[row], 6, guidance)).max() <= 1
    )  # half a grey rounds either way


def test_each_step_is_told_and_the_last_response_holds_the_images(streams: list[Stream]) -> None:
    *steps, last = streams[0].send(SHAPES, 1, num_steps=5, num_images=2).all()
    assert steps == [{"step": [step], "num_steps": [5]} for step in range(1, 6)]
    assert (len(last["images"]), last["size"], set(last)) == (2, [SIZE, SIZE], {"images", "size", "stages"})
    (stage,) = json.loads(last["stages"][0])
    assert stage["model"] == UNET
    assert stage["time_ms"] > 0


def test_the_same_seed_gives_the_same_bytes_whatever_is_drawn_beside_it(streams: list[Stream]) -> None:
    alone = streams[0].images(SHAPES, 5, num_steps=8, num_images=3, label="circle")
    others = [streams[1 + at].send(SHAPES, 50 + at, num_steps=40, num_images=4, label="square") for at in range(3)]
    beside = streams[4].images(SHAPES, 5, num_steps=8, num_images=3, label="circle")
    for other in others:
        other.all()
    assert beside == alone
    assert streams[5].images(SHAPES, 5, num_steps=8, label="circle") == alone[:1]
    assert streams[6].images(SHAPES, 5, num_steps=8, num_images=16, label="circle")[:3] == alone
    assert len(set(alone)) == 3
    assert streams[7].images(SHAPES, 6, num_steps=8, label="circle") != alone[:1]


def test_a_hybrid_draws_what_the_text_says_and_tells_both_stages(streams: list[Stream]) -> None:
    *_, last = streams[0].send(PAINTER, 3, b"a seven", num_steps=4).all()
    assert [stage["model"] for stage in json.loads(last["stages"][0])] == [ENCODER, UNET]
    assert streams[1].images(PAINTER, 3, b"a seven", num_steps=4) == last["images"]
    assert streams[2].images(PAINTER, 3, b"zero", num_steps=4) != last["images"]


@pytest.mark.parametrize(
    ("model", "seed", "text", "parameters", "said"),
    [
        (SHAPES, -1, None, {}, "seed must be 0 or more"),
        (SHAPES, 0, None, {"num_steps": 0}, "num_steps must be an integer from 1 to 100"),
        (SHAPES, 0, None, {"num_steps": 51}, "num_steps must be 1 to 50"),
        (SHAPES, 0, None, {"label": "star"}, "label 'star' is not one of this model's: its labels are circle, square"),
        (SHAPES, 0, None, {"sampler": "ddpm"}, "unknown parameter 'sampler'"),
        (PAINTER, 0, b"", {}, "text_input is empty"),
        (PAINTER, 0, b"one one one one one one one", {}, "7 tokens; the model reads at most 6"),
        (PAINTER, 0, b"one", {"label": "circle"}, "it has none"),
    ],
)
def test_a_request_that_cannot_be_drawn_is_refused(
    streams: list[Stream], model: str, seed: int, text: bytes | None, parameters: dict[str, Any], said: str
) -> None:
    with pytest.raises(InferenceServerException, match=said):
        streams[0].send(model, seed, text, **parameters).all()


def test_what_does_not_fit_the_queue_is_refused(streams: list[Stream], gate: Gate) -> None:
    first = streams[0].send(NARROW, 1, num_steps=50)
    gate.let(1)
    first.next()
    # Whichever arrives first has the place in the queue.
    others = streams[1:5]
    for other in others:
        other.arrived = others[0].arrived
        other.send(NARROW, 2, num_steps=1)
    for _ in others[1:]:
        with pytest.raises(InferenceServerException, match="Exceeds maximum queue size: 2 drawings"):
            others[0].next()
    first.client.stop_stream(cancel_requests=True)
    gate.let(CALLS_MAX)
    assert others[0].all()[-1]["images"]


@pytest.mark.parametrize("in_band", [False, True])
def test_a_caller_who_leaves_frees_the_thread_within_a_step(
    server: RunningTriton, streams: list[Stream], gate: Gate, in_band: bool
) -> None:
    before = measured(server, NARROW)
    leaving = streams[0].send(NARROW, 1, num_steps=50, num_images=16, cancel_id="mine")
    gate.let(16)
    leaving.next()
    if in_band:
        leaving.cancel(NARROW, "mine")
    else:
        leaving.client.stop_stream(cancel_requests=True)

    assert _drawn_call_by_call(streams[1].send(NARROW, 2, num_steps=1, stream=False), gate)["images"]

    after = measured(server, NARROW)
    assert after["cancelled"] - before["cancelled"] == 1
    assert after["busy"] == after["waiting"] == 0
    assert after["steps"] - before["steps"] < 50 * 16 / 2


def _drawn_call_by_call(stream: Stream, gate: Gate) -> dict[str, list[Any]]:
    """So slowly that what is drawn before it cannot come to its end before its caller is seen to have left."""
    for _ in range(CALLS_MAX):
        gate.let(1)
        with suppress(queue.Empty):
            return stream.next(timeout_s=0.05)[0]
    pytest.fail("it was not drawn")


def measured(server: RunningTriton, model: str) -> dict[str, float]:
    """The backend's numbers, once no drawing is under way."""
    for _ in range(100):
        with urlopen(server.metrics_url) as page:
            text = page.read().decode()
        found = re.findall(rf'^diffusion_(\w+){{[^}}]*model="{model}"[^}}]*}} (\S+)$', text, re.MULTILINE)
        numbers = {name: float(value) for name, value in found}
        if numbers.get("busy", 0) == numbers.get("waiting", 0) == 0:
            break
        time.sleep(0.02)
    return {"cancelled": 0, "busy": 0, "waiting": 0, "steps": 0} | numbers


def test_a_part_that_is_not_loaded_is_named_and_drawing_goes_on_once_it_is_back(
    server: RunningTriton, streams: list[Stream]
) -> None:
    write_unet(server.repository / "other-unet")
    write_diffusion(server.repository / "other", "other-unet")
    client = server.load("other")
    with pytest.raises(InferenceServerException, match="the model 'other-unet', which this one calls, is not loaded"):
        streams[0].images("other", 1, num_steps=1)
    client.load_model("other-unet")
    assert streams[1].images("other", 1, num_steps=1)
    client.unload_model("other")
    client.unload_model("other-unet")


@pytest.mark.parametrize(
    ("change", "said"),
    [({"guidance": "much"}, "guidance must be a number from 0 to 20"), ({"labels": ["a"] * 2}, "different texts")],
)
def test_a_broken_model_says_what_is_wrong_when_it_is_loaded(
    server: RunningTriton, change: dict[str, object], said: str
) -> None:
    name = "broken-" + next(iter(change))
    write_facts(write_diffusion(server.repository / name, UNET), **change)
    with pytest.raises(InferenceServerException, match=said):
        server.load(name)
