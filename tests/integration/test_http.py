"""The HTTP APIs of the real server, with a real Triton below: what doubles cannot show."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.product import ServerProcess

FIXTURES = Path(__file__).parents[1] / "fixtures"
MODEL = "stdlib-coder"
ASK: dict[str, Any] = {
    "model_id": MODEL,
    "input_data": {"text": "def read_json(path):\n"},
    "max_length": 24,
    "temperature": 0,
}


@pytest.fixture
def client(product: ServerProcess) -> Iterator[httpx.Client]:
    with product.client() as client:
        yield client


def tokens(body: str) -> list[dict[str, Any]]:
    lines = body.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


def test_t_rest_02_the_models_in_the_box_are_listed_and_loaded(client: httpx.Client) -> None:
    reply = client.get("/v1/models")
    (coder,) = (model for model in reply.json() if model["name"] == MODEL)
    assert (coder["status"], coder["type"], coder["backend"]) == ("loaded", "transformer", "text_generation")
    assert coder["parameters"] > 1_000_000
    assert coder["size_bytes"] > 1_000_000
    assert coder["memory_bytes"] > 1_000_000
    assert not any(model["name"].startswith("tritonplane-") for model in reply.json())


def test_t_rest_08_text_tokens_and_probabilities_agree(client: httpx.Client) -> None:
    output = client.post("/inference", json=ASK).raise_for_status().json()["output"]
    assert output["text"] == "".join(output["tokens"])
    assert 0 < len(output["tokens"]) <= 24
    assert len(output["probabilities"]) == len(output["tokens"])
    assert all(0 < probability <= 1 for probability in output["probabilities"])
    assert output["finish_reason"] in ("stop", "length")


def test_t_rest_09_a_stream_gives_the_same_text_token_by_token(client: httpx.Client) -> None:
    whole = client.post("/inference", json=ASK).json()["output"]
    streamed = tokens(client.post("/inference/stream", json=ASK).raise_for_status().text)
    assert [token["index"] for token in streamed] == list(range(len(streamed)))
    assert "".join(token["token"] for token in streamed) == whole["text"]
    assert [token.get("is_final", False) for token in streamed] == [False] * (len(streamed) - 1) + [True]
    assert streamed[-1]["finish_reason"] == whole["finish_reason"]


def test_the_same_seed_gives_the_same_text_and_another_one_another(client: httpx.Client) -> None:
    def text(seed: int) -> str:
        ask = {**ASK, "temperature": 1.2, "seed": seed, "max_length": 40}
        generated: str = client.post("/inference", json=ask).json()["output"]["text"]
        return generated

    assert text(1) == text(1)
    assert len({text(seed) for seed in range(4)}) > 1


def test_a_prompt_longer_than_the_context_is_refused_with_the_contexts_size(client: httpx.Client) -> None:
    for path in ("/inference", "/inference/stream"):
        reply = client.post(path, json={**ASK, "input_data": {"text": "x = 1\n" * 5000}})
        assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_REQUEST")
        assert reply.json()["details"]["max_context"] >= 1024


def test_x_met_01_our_metrics_and_tritons_are_one_text(client: httpx.Client) -> None:
    client.post("/inference", json=ASK)
    text = client.get("/metrics").text
    assert f'tritonplane_inference_seconds_count{{model="{MODEL}"}}' in text
    assert "nv_inference_request_success" in text


def test_t_rest_15_a_bare_onnx_file_is_uploaded_loaded_and_answers(client: httpx.Client) -> None:
    content = (FIXTURES / "mlp" / "model.onnx").read_bytes()
    reply = client.post("/models/mlp/import", files={"file": ("model.onnx", content)})
    assert reply.status_code == 200, reply.text
    body = reply.json()
    assert (body["success"], body["format"], body["state"]) == (True, "onnx", "unloaded")
    assert client.get("/models/mlp").json()["status"] == "unloaded"
    assert client.post("/models", json={"model_name": body["model_id"]}).json()["success"] is True
    ask = {"inputs": [{"name": "features", "shape": [2, 8], "datatype": "FP32", "data": [[0.5] * 8, [1.0] * 8]}]}
    answer = client.post(f"/v2/models/{body['model_id']}/infer", json=ask)
    assert answer.status_code == 200, answer.text
    (scores,) = answer.json()["outputs"]
    assert (scores["datatype"], scores["shape"], len(scores["data"])) == ("FP32", [2, 3], 6)
    wrong = {"inputs": [{**ask["inputs"][0], "name": "nothing"}]}
    refused = client.post(f"/v2/models/{body['model_id']}/infer", json=wrong)
    assert (refused.status_code, set(refused.json())) == (400, {"error"})
    assert client.delete("/models/mlp?purge=true").json() == {"success": True}


@pytest.mark.parametrize(
    "name", ["../escape.txt", "/etc/escape", "1/../../escape", "1\\..\\escape", "1/model.py"], ids=str
)
def test_t_rest_15_a_zip_that_wants_out_or_brings_code_is_refused(client: httpx.Client, name: str) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("config.pbtxt", 'backend: "python"\nmax_batch_size: 0\n')
        written.writestr(name, "print('hello')\n")
    reply = client.post("/models/evil/import", files={"file": ("evil.zip", archive.getvalue())})
    assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_REQUEST")
    assert client.get("/models/evil").status_code == 404


def test_t_rest_15_what_is_no_model_is_refused(client: httpx.Client) -> None:
    for filename in ("m.onnx", "m.zip", "m.pt"):
        reply = client.post("/models/junk/import", files={"file": (filename, b"\x80\x04junk" * 100)})
        assert reply.status_code == 400, reply.text
        assert "/tmp" not in reply.text
    assert client.get("/models/junk").status_code == 404


def test_c_auth_13_a_key_is_made_used_and_deleted(product: ServerProcess, client: httpx.Client) -> None:
    made = client.post("/auth/keys", json={"name": "e2e", "role": "user"}).json()
    own = {"X-API-Key": made["api_key"]}
    token = httpx.post(f"{product.url}/auth/token", headers=own).json()["access_token"]
    for headers in (own, {"Authorization": f"Bearer {token}"}):
        assert httpx.get(f"{product.url}/auth/me", headers=headers).json()["role"] == "user"
        assert httpx.delete(f"{product.url}/models/{MODEL}", headers=headers).status_code == 403
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode() + "." + token.split(".")[1] + "."
    assert httpx.get(f"{product.url}/auth/me", headers={"Authorization": f"Bearer {unsigned}"}).status_code == 401
    assert client.delete(f"/auth/keys/{made['key_id']}").status_code == 204
    assert httpx.get(f"{product.url}/auth/me", headers=own).status_code == 401


def test_bad_input_leaves_the_server_alive(client: httpx.Client) -> None:
    for path in ("/models", "/inference", "/inference/stream", f"/v2/models/{MODEL}/infer", "/auth/keys"):
        for content, status in [(b"{", 400), (b"[]", 400), (b"x" * (20 * 1024 * 1024), 413)]:
            reply = client.post(path, content=content, headers={"Content-Type": "application/json"})
            assert reply.status_code == status, path
    for name in ("nobody", "b$(touch x)"):
        assert client.post("/inference", json={**ASK, "model_id": name}).status_code in (400, 404)
        assert client.post("/models", json={"model_name": name}).status_code in (400, 404)
    assert client.get("/health").json()["status"] == "healthy"
