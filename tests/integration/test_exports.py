"""The model in the box leaves in every format, and what left comes back and answers as it did (T-REST-14)."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from control_plane.bootstrap import has_gpu
from tests.product import CONVERTER_PYTHON, TRITONPLANE, ServerProcess

MODEL, PROMPT = "stdlib-coder", "def read_json(path):"
BOX = Path(__file__).parents[2] / "model_repository" / MODEL
TRACED = """
import json, sys, torch
from transformers import AutoModelForCausalLM
ids = torch.tensor([[5, 9, 200, 31, 7]])
source = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
answer = torch.jit.load(sys.argv[2])(ids, torch.ones_like(ids))
print(json.dumps({"shape": list(answer.shape), "gap": (answer - source(ids).logits).abs().max().item()}))
"""


@pytest.fixture(scope="module")
def http(product: ServerProcess) -> Iterator[httpx.Client]:
    """As an admin; the models that these tests import are gone afterwards."""
    with product.client() as client:
        yield client
        for name in [one["name"] for one in client.get("/models").json() if one["name"].startswith("back-")]:
            assert client.delete(f"/models/{name}", params={"purge": "true"}).status_code == httpx.codes.OK


def export(http: httpx.Client, wanted: str, model: str = MODEL) -> tuple[dict[str, Any], bytes]:
    reply = http.post(f"/models/{model}/export", params={"export_format": wanted}, timeout=300)
    assert reply.status_code == httpx.codes.OK, reply.text
    told: dict[str, Any] = reply.json()
    file = http.get(told["download_url"])
    assert file.status_code == httpx.codes.OK
    assert (len(file.content), hashlib.sha256(file.content).hexdigest()) == (told["size_bytes"], told["sha256"])
    assert file.headers["ETag"] == f'"{told["sha256"]}"'
    return told, file.content


def import_again(http: httpx.Client, name: str, **how: Any) -> dict[str, Any]:
    reply = http.post(f"/models/{name}/import", timeout=300, **how)
    assert reply.status_code == httpx.codes.OK, reply.text
    assert http.post(f"/native/v1/models/{name}/load").status_code == httpx.codes.OK
    return dict(http.get(f"/native/v1/models/{name}/revisions").json()["revisions"][-1])


def generate(http: httpx.Client, model: str) -> str:
    body = {"model_id": model, "input_data": {"text": PROMPT}, "max_length": 16, "temperature": 0}
    return str(http.post("/inference", json=body).json()["output"]["text"])


def test_t_rest_14_the_whole_model_leaves_as_a_zip_and_comes_back_the_same(http: httpx.Client) -> None:
    told, content = export(http, "triton")
    assert told["file_path"] == f"exports/{told['export_id']}/{MODEL}.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        packed = {name.removeprefix(f"{MODEL}/"): archive.read(name) for name in archive.namelist()}
    for file in ("1/model.onnx", "source/model.safetensors", "1/tokenizer.json"):
        assert packed[file] == (BOX / file).read_bytes()

    revision = import_again(http, "back-triton", files={"file": ("model.zip", content)})

    first = http.get(f"/native/v1/models/{MODEL}/revisions").json()["revisions"][0]
    assert (revision["backend"], revision["precision"]) == (first["backend"], first["precision"])
    # The directory's name is in config.pbtxt.
    assert revision["size_bytes"] - len("back-triton") == first["size_bytes"] - len(MODEL)
    assert generate(http, "back-triton") == generate(http, MODEL) != ""
    assert export(http, "triton")[0]["sha256"] == told["sha256"]


def test_t_rest_14_the_graph_leaves_as_it_is_and_comes_back_by_its_path(http: httpx.Client) -> None:
    told, content = export(http, "onnx")
    assert content == (BOX / "1/model.onnx").read_bytes()

    revision = import_again(http, "back-onnx", params={"file_path": told["file_path"]})

    assert revision["backend"] == "onnxruntime"
    # Of a mere graph its own weights leave, each under its name.
    _, weights = export(http, "safetensors", "back-onnx")
    header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    assert header.pop("__metadata__") == {"format": "onnx"}
    assert sum(one["dtype"] in ("I8", "U8") for one in header.values()) > 5


def test_t_rest_14_the_weights_leave_as_they_came_and_are_converted_again(http: httpx.Client) -> None:
    told, content = export(http, "safetensors")
    assert content == (BOX / "source/model.safetensors").read_bytes()

    revision = import_again(http, "back-safetensors", params={"file_path": told["file_path"]})

    assert revision["backend"] == "text_generation"
    assert generate(http, "back-safetensors").strip()


def test_t_rest_14_the_model_leaves_as_torchscript_that_answers_as_its_source(
    http: httpx.Client, tmp_path: Path
) -> None:
    _, content = export(http, "torchscript")
    file = tmp_path / "model.pt"
    file.write_bytes(content)

    command = [CONVERTER_PYTHON, "-W", "ignore", "-c", TRACED, str(BOX / "source"), str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)

    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["shape"][:2] == [1, 5]
    assert found["gap"] < 1e-3


def test_t_rest_14_what_cannot_leave_is_refused(http: httpx.Client) -> None:
    reply = http.post(f"/models/{MODEL}/export", params={"export_format": "gguf"})
    assert (reply.status_code, reply.json()["code"]) == (400, "UNSUPPORTED_FORMAT")
    if not has_gpu():
        reply = http.post(f"/models/{MODEL}/export", params={"export_format": "tensorrt"})
        assert (reply.status_code, reply.json()["code"]) == (501, "NOT_SUPPORTED_HERE")
    assert http.post("/models/nobody/export").status_code == httpx.codes.NOT_FOUND


def test_the_command_line_fetches_an_export(product: ServerProcess, tmp_path: Path) -> None:
    environment = {**product.environment(), "TRITONPLANE_URL": product.url, "TRITONPLANE_API_KEY": product.admin_key}
    command = [TRITONPLANE, "models", "export", MODEL, "--format", "onnx", "--output", str(tmp_path)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(f"exported {MODEL} to {tmp_path}/model.onnx (")
    assert (tmp_path / "model.onnx").read_bytes() == (BOX / "1/model.onnx").read_bytes()
