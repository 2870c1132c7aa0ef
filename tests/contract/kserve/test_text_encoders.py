"""Texts through an imported encoder over the Open Inference Protocol (X-KS-03), in the real server."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer

from tests.product import ServerProcess

FIXTURES = Path(__file__).parents[2] / "fixtures" / "tiny_text_encoders"
TEXTS = ["the quick brown fox", "", "Ünïcode is good"]


@pytest.fixture(scope="module")
def client(product: ServerProcess) -> Iterator[httpx.Client]:
    """Both encoders, imported as directories without a configuration and loaded."""
    with product.client() as client:
        for task in ("embedding", "classification"):
            archive = io.BytesIO()
            with zipfile.ZipFile(archive, "w") as written:
                for file in sorted((FIXTURES / task / "1").iterdir()):
                    written.write(file, f"1/{file.name}")
            client.post(f"/models/{task}/import", files={"file": ("m.zip", archive.getvalue())}).raise_for_status()
            client.post("/models", json={"model_name": task}).raise_for_status()
        yield client
        for task in ("embedding", "classification"):
            client.delete(f"/models/{task}?purge=true").raise_for_status()


def ask(*texts: str, **parameters: Any) -> dict[str, Any]:
    given = {"name": "text_input", "shape": [len(texts), 1], "datatype": "BYTES", "data": list(texts)}
    return {"inputs": [given], "parameters": parameters}


def alone(task: str, text: str) -> list[np.ndarray]:
    version = FIXTURES / task / "1"
    session = onnxruntime.InferenceSession(version / "model.onnx", providers=["CPUExecutionProvider"])
    ids = np.array([Tokenizer.from_file(str(version / "tokenizer.json")).encode(text).ids])
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return [out[0] for out in session.run(None, {entry.name: feeds[entry.name] for entry in session.get_inputs()})]


def outputs(reply: httpx.Response) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text
    return {one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in reply.json()["outputs"]}


def test_x_ks_03_an_embedder_takes_text_directly(client: httpx.Client) -> None:
    found = outputs(client.post("/v2/models/embedding/infer", json=ask(*TEXTS)))
    expected = [alone("embedding", text)[0] for text in TEXTS]
    np.testing.assert_allclose(found["embedding"], expected, rtol=1e-4, atol=1e-5)


def test_x_ks_03_a_classifier_names_the_label_of_a_text(client: httpx.Client) -> None:
    found = outputs(client.post("/v2/models/classification/infer", json=ask(*TEXTS)))
    expected = np.array([alone("classification", text)[1] for text in TEXTS])
    np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-4, atol=1e-5)
    assert found["label"].tolist() == [[["bad", "neutral", "good"][best]] for best in expected.argmax(axis=1)]


def test_x_ks_03_a_text_beyond_the_limit_is_refused_or_cut_as_the_caller_says(client: httpx.Client) -> None:
    text = "fox " * 50
    refused = client.post("/v2/models/embedding/infer", json=ask(text))
    assert refused.status_code == 400
    assert "text_input[0] has 52 tokens; the model takes at most 32 tokens" in refused.json()["error"]
    assert "truncate" in refused.json()["error"]
    cut = outputs(client.post("/v2/models/embedding/infer", json=ask(text, truncate=True)))
    np.testing.assert_allclose(cut["embedding"], [alone("embedding", "fox " * 30)[0]], rtol=1e-4, atol=1e-5)


def test_an_encoder_is_probed_with_a_text(client: httpx.Client) -> None:
    (revision,) = client.get("/native/v1/models/embedding/revisions").json()["revisions"]
    assert (revision["backend"], revision["state"]) == ("text_encoder", "loaded")
    assert (revision["health"]["status"], revision["health"]["reason"]) == ("HEALTHY", None)
