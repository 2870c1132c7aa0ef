"""The models in the box that draw, behind the real product: T-REST-19, T-REST-20, and each way to ask for an image."""

from __future__ import annotations

import base64
import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from tritonplane_client import ApiClient, DrawingStep, Drawn

from control_plane.pb import optimization_pb2 as pb
from control_plane.pb.optimization_pb2_grpc import OptimizationServiceStub
from tests.product import TRITONPLANE, ServerProcess

ROOT = Path(__file__).parents[2]
DIFFUSION, HYBRID = "digits-diffusion", "digits-text-to-image"
WANTED = {DIFFUSION: {"label": "7", "num_steps": 4, "seed": 1}, HYBRID: {"text": "a seven", "num_steps": 4, "seed": 1}}


@pytest.fixture(scope="module")
def rest(product: ServerProcess) -> Iterator[httpx.Client]:
    with product.client() as client:
        yield client


def drawn(rest: httpx.Client, model: str, **wanted: Any) -> dict[str, Any]:
    reply = rest.post("/inference", json={"model_id": model, "input_data": {**WANTED[model], **wanted}}, timeout=60)
    assert reply.status_code == 200, reply.text
    output: dict[str, Any] = reply.json()["output"]
    for image in output["images"]:
        file = base64.b64decode(image, validate=True)
        assert file.startswith(b"\x89PNG\r\n\x1a\n")
        assert struct.unpack(">II", file[16:24]) == (output["width"], output["height"]) == (32, 32)
    return output


@pytest.mark.parametrize(("model", "kind"), [(DIFFUSION, "diffusion"), (HYBRID, "hybrid")])
def test_t_rest_19_and_20_a_model_of_each_type_is_in_the_box_and_its_parts_are_in_no_list(
    rest: httpx.Client, model: str, kind: str
) -> None:
    listed = rest.get("/models", params={"model_type": kind}).json()
    assert [(one["name"], one["status"], one["type"]) for one in listed] == [(model, "loaded", kind)]
    internal = {one["name"] for one in rest.get("/models", params={"internal": True}).json()}
    public = {one["name"] for one in rest.get("/models").json()}
    assert {"digits-unet", "digits-text-encoder"} <= internal - public


@pytest.mark.parametrize("model", [DIFFUSION, HYBRID])
def test_t_rest_19_and_20_the_same_seed_gives_the_same_bytes_and_another_one_others(
    rest: httpx.Client, model: str
) -> None:
    first, again, other = drawn(rest, model), drawn(rest, model), drawn(rest, model, seed=2)
    assert first["images"] == again["images"]
    assert other["images"] != first["images"]
    many = drawn(rest, model, num_images=3)
    assert many["images"][0] == first["images"][0], "an image does not depend on how many are drawn beside it"
    assert len(set(many["images"])) == 3
    assert (first["num_steps"], first["seed"], first["unit"]) == (4, 1, "steps")


def test_t_rest_20_the_text_says_what_is_drawn_and_two_stages_say_how_long_they_took(rest: httpx.Client) -> None:
    seven, zero = drawn(rest, HYBRID), drawn(rest, HYBRID, text="the digit zero")
    assert seven["images"] != zero["images"]
    parts = [stage["model"].partition(":")[0] for stage in seven["stages"]]
    assert {"digits-text-encoder", "digits-unet"} <= set(parts)
    assert all(stage["time_ms"] > 0 for stage in seven["stages"])


@pytest.mark.parametrize("model", [DIFFUSION, HYBRID])
def test_every_way_to_ask_gives_the_same_image(
    product: ServerProcess, rest: httpx.Client, model: str, tmp_path: Path
) -> None:
    wanted: Any = dict(WANTED[model])
    image = base64.b64decode(drawn(rest, model)["images"][0])
    with grpc.insecure_channel(product.grpc_target) as channel:
        stub, admin = OptimizationServiceStub(channel), [("x-api-key", product.admin_key)]
        text = json.dumps(wanted)
        answer = stub.RunInference(pb.InferenceRequest(model_id=model, input_text=text), metadata=admin)
        *steps, last = stub.StreamInference(pb.StreamInferenceRequest(model_id=model, input_text=text), metadata=admin)
    for output in (answer.output_text, last.token):
        assert base64.b64decode(json.loads(output)["images"][0]) == image
    assert [json.loads(step.token)["step"] for step in steps] == [1, 2, 3, 4]
    prompt = wanted.pop("text", None)
    with ApiClient(product.url, product.admin_key) as client:
        assert client.draw(model, prompt, **wanted).images == (image,)
        *told, result = client.stream_drawing(model, prompt, **wanted)
    assert told == [DrawingStep(step, 4) for step in (1, 2, 3, 4)]
    assert isinstance(result, Drawn)
    assert result.images == (image,)
    options = ["--steps", "4", "--seed", "1", *(["--label", "7"] if prompt is None else [prompt])]
    place = tmp_path / "here.png"
    command = [TRITONPLANE, "infer", model, *options, "--output", str(place)]
    environment = {**product.environment(), "TRITONPLANE_URL": product.url}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == f"{place}\n"
    assert place.read_bytes() == image
    assert ran.stderr.endswith("seed 1\n")


@pytest.mark.parametrize(
    ("model", "wanted", "said"),
    [
        (DIFFUSION, {"label": "eleven"}, "eleven"),
        (DIFFUSION, {"text": "a seven"}, "takes no text"),
        (HYBRID, {"text": ""}, "text"),
        (HYBRID, {"num_steps": 101}, "num_steps"),
    ],
)
def test_t_rest_19_and_20_what_cannot_be_drawn_is_refused(
    rest: httpx.Client, model: str, wanted: dict[str, Any], said: str
) -> None:
    reply = rest.post("/inference", json={"model_id": model, "input_data": {**WANTED[model], **wanted}})
    assert reply.status_code == 400
    assert said in reply.json()["error"]


def test_the_python_of_the_documentation_runs(product: ServerProcess, tmp_path: Path) -> None:
    for code in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "images.md").read_text(), re.DOTALL):
        ran = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={
                **os.environ,
                "TRITONPLANE_URL": product.url,
                "TRITONPLANE_API_KEY": product.admin_key,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.endswith("\n2\n")
    assert (tmp_path / "seven.png").read_bytes().startswith(b"\x89PNG")
