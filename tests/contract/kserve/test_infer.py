"""Tensors over the Open Inference Protocol as JSON (X-KS-03)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.contract.conftest import ServeHttp
from tests.contract.served import Served
from tests.doubles.repository import tensor_revision
from tests.doubles.services import make_world


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "input", "shape": [2, 4], "datatype": "FP32", "data": [1, 2, 3, 4, 5, 6, 7, 8], **changes}


ASK = {"inputs": [tensor()]}


@pytest.mark.parametrize("data", [[1, 2, 3, 4, 5, 6, 7, 8], [[1, 2, 3, 4], [5, 6, 7, 8]]])
async def test_x_ks_03_data_is_flat_or_nested_row_by_row(http: Served, data: list[Any]) -> None:
    reply = await http.client.post("/v2/models/adder/infer", json={"inputs": [tensor(data=data)]}, headers=http.user)
    assert (reply.status_code, reply.json()) == (
        200,
        {
            "model_name": "adder",
            "model_version": "1",
            "outputs": [
                {
                    "name": "output",
                    "datatype": "FP32",
                    "shape": [2, 4],
                    "data": [2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0],
                }
            ],
        },
    )


async def test_x_ks_03_the_id_comes_back_and_reaches_triton_with_the_parameters_and_outputs(http: Served) -> None:
    ask = {
        **ASK,
        "id": "mine-1",
        "parameters": {"speed": 2, "binary_data_output": True},
        "outputs": [{"name": "output", "parameters": {"binary_data": True}}],
    }
    reply = await http.client.post("/v2/models/adder/infer", json=ask, headers=http.user)
    assert reply.json()["id"] == "mine-1"
    seen = http.world.triton.requests[-1]
    assert (seen.request_id, seen.parameters, seen.outputs) == ("mine-1", (("speed", 2),), ("output",))


async def test_x_ks_03_without_an_id_of_its_own_the_request_has_ours(http: Served) -> None:
    reply = await http.client.post("/v2/models/adder/infer", json=ASK, headers=http.user)
    assert "id" not in reply.json()
    assert http.world.triton.requests[-1].request_id == reply.headers["X-Request-ID"]


async def test_x_ks_03_a_version_is_a_revision(serve_http: ServeHttp) -> None:
    world = await make_world(tensor_revision("adder"), tensor_revision("adder", 2))
    await world.services.models.load("adder:2")
    http = await serve_http(world)
    for path in ("/v2/models/adder/versions/2/infer", "/v2/models/adder:2/infer"):
        reply = await http.client.post(path, json=ASK, headers=http.user)
        assert (reply.status_code, reply.json()["model_version"]) == (200, "2")
    for path, status in [
        ("/v2/models/adder/infer", 409),
        ("/v2/models/adder/versions/9/infer", 404),
        ("/v2/models/adder/versions/x/infer", 400),
        ("/v2/models/adder:2/versions/2/infer", 400),
    ]:
        reply = await http.client.post(path, json=ASK, headers=http.user)
        assert (reply.status_code, set(reply.json())) == (status, {"error"})


@pytest.mark.parametrize(
    ("ask", "named"),
    [
        ({"inputs": [tensor(shape=[2, 5])]}, "shape"),
        ({"inputs": [tensor(shape=[-2, -4])]}, "shape"),
        ({"inputs": [tensor(datatype="FP31")]}, "FP31"),
        ({"inputs": [tensor(data=["a"] * 8)]}, "FP32"),
        ({"inputs": [tensor(datatype="UINT8", data=[-1] * 8)]}, "UINT8"),
        ({"inputs": [tensor(datatype="BYTES", data=[1] * 8)]}, "BYTES"),
        ({"inputs": [tensor(data=[None] * 8)]}, "FP32"),
        ({"inputs": [{"name": "input"}]}, "shape"),
        ({}, "inputs"),
        ({**ASK, "outputs": [{"name": "output", "parameters": {"classification": 3}}]}, "classification"),
        ({**ASK, "parameters": {"deep": {"a": 1}}}, "parameters"),
        ({**ASK, "parameters": {"large": 2**63}}, "parameters"),
        ({**ASK, "parameters": {"large": -(10**30)}}, "parameters"),
    ],
)
async def test_x_ks_03_what_does_not_fit_is_refused_by_name(http: Served, ask: dict[str, Any], named: str) -> None:
    reply = await http.client.post("/v2/models/adder/infer", json=ask, headers=http.user)
    assert (reply.status_code, set(reply.json())) == (400, {"error"})
    assert named in reply.json()["error"]


async def test_x_ks_03_an_unknown_model_is_not_found(http: Served) -> None:
    reply = await http.client.post("/v2/models/nobody/infer", json=ASK, headers=http.user)
    assert (reply.status_code, reply.json()) == (404, {"error": "there is no model named 'nobody'"})


async def test_x_ks_03_a_model_that_streams_is_refused(http: Served) -> None:
    ask = {"inputs": [{"name": "text_input", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}
    reply = await http.client.post("/v2/models/coder/infer", json=ask, headers=http.user)
    assert (reply.status_code, set(reply.json())) == (400, {"error"})


async def test_x_ks_03_binary_tensors_are_refused_in_words(http: Served) -> None:
    headers = {**http.user, "Inference-Header-Content-Length": "10"}
    reply = await http.client.post("/v2/models/adder/infer", content=b"{}\x00\x01", headers=headers)
    assert reply.status_code == 501
    assert "binary" in reply.json()["error"]


async def test_many_at_once_are_each_answered_with_their_own(http: Served) -> None:
    async def doubled(number: int) -> float:
        ask = {"inputs": [tensor(shape=[1, 4], data=[number] * 4)]}
        reply = await http.client.post("/v2/models/adder/infer", json=ask, headers=http.user)
        value: float = reply.json()["outputs"][0]["data"][0]
        return value

    assert await asyncio.gather(*map(doubled, range(200))) == [2.0 * number for number in range(200)]
