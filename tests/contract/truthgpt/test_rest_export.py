"""Exports over REST (T-REST-14): asked for, downloaded, imported again."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from control_plane.domain.jobs import JobState
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served

DIGEST = hashlib.sha256(b"1/model.onnx").hexdigest()


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_t_rest_14_a_model_is_exported_and_its_file_downloaded(serve_http: ServeHttp, prefix: str) -> None:
    http = await serve_http()
    reply = await http.client.post(f"{prefix}/models/adder/export", headers=http.admin)
    assert reply.status_code == 200
    export_id = reply.json()["export_id"]
    assert export_id.startswith("exp_")
    assert reply.json() == {
        "model_id": "adder",
        "export_id": export_id,
        "export_format": "onnx",
        "file_path": f"exports/{export_id}/model.onnx",
        "size_bytes": 12,
        "sha256": DIGEST,
        "download_url": f"/exports/{export_id}/download",
        "created_at": "2026-11-21T12:00:00.000Z",
    }
    file = await http.client.get(f"{prefix}/exports/{export_id}/download", headers=http.admin)
    assert (file.status_code, file.content) == (200, b"1/model.onnx")
    assert file.headers["Content-Length"] == "12"
    assert file.headers["Content-Disposition"] == 'attachment; filename="model.onnx"'
    assert file.headers["ETag"] == f'"{DIGEST}"'
    assert file.headers["X-Request-ID"]


async def test_t_rest_14_a_part_of_a_file_is_sent_unless_the_file_is_another(serve_http: ServeHttp) -> None:
    http = await serve_http()
    export_id = (await http.client.post("/models/adder/export", headers=http.admin)).json()["export_id"]
    url = f"/exports/{export_id}/download"
    asked = {**http.admin, "Range": "bytes=2-"}
    part = await http.client.get(url, headers={**asked, "If-Range": f'"{DIGEST}"'})
    assert (part.status_code, part.content) == (206, b"model.onnx")
    assert part.headers["Content-Range"] == "bytes 2-11/12"
    whole = await http.client.get(url, headers={**asked, "If-Range": '"another"'})
    assert (whole.status_code, whole.content) == (200, b"1/model.onnx")
    beyond = await http.client.get(url, headers={**http.admin, "Range": "bytes=99-"})
    assert beyond.status_code == 416


async def test_t_rest_14_a_revision_is_exported_by_its_reference(serve_http: ServeHttp) -> None:
    http = await serve_http()
    loaded = await http.client.post(
        "/models", json={"model_name": "adder", "config": {"instance_count": 2}}, headers=http.admin
    )
    assert loaded.json()["model_id"] == "adder:2"
    reply = await http.client.post("/models/adder:2/export?export_format=triton", headers=http.admin)
    assert (reply.json()["model_id"], reply.json()["file_path"].rpartition("/")[2]) == ("adder:2", "adder.zip")


async def test_t_rest_14_what_was_exported_is_imported_by_its_path(serve_http: ServeHttp, tmp_path: Path) -> None:
    http = await serve_http(await two_models(import_root=tmp_path))
    made = (await http.client.post("/models/adder/export", headers=http.admin)).json()
    reply = await http.client.post("/models/again/import", params={"file_path": made["file_path"]}, headers=http.admin)
    assert (reply.status_code, reply.json()["format"], reply.json()["state"]) == (200, "onnx", "unloaded")


async def test_t_rest_14_an_unknown_format_is_refused_with_the_known_ones(serve_http: ServeHttp) -> None:
    http = await serve_http()
    reply = await http.client.post("/models/adder/export?export_format=gguf", headers=http.admin)
    assert (reply.status_code, reply.json()["code"]) == (400, "UNSUPPORTED_FORMAT")
    assert reply.json()["details"]["known"] == ["onnx", "safetensors", "torchscript", "triton", "tensorrt"]


async def test_t_rest_14_a_format_that_a_revision_has_no_way_to_is_refused_with_those_it_has(
    serve_http: ServeHttp,
) -> None:
    http = await serve_http()
    reply = await http.client.post("/models/adder/export?export_format=torchscript", headers=http.admin)
    assert (reply.status_code, reply.json()["code"]) == (400, "UNSUPPORTED_FORMAT")
    assert reply.json()["details"]["available"] == ["onnx", "safetensors", "triton"]


async def test_t_rest_14_an_engine_is_not_built_without_a_gpu(serve_http: ServeHttp) -> None:
    http = await serve_http()
    reply = await http.client.post("/models/adder/export?export_format=tensorrt", headers=http.admin)
    assert (reply.status_code, reply.json()["code"]) == (501, "NOT_SUPPORTED_HERE")
    assert reply.json()["details"]["requires"] == ["nvidia_gpu"]


async def test_t_rest_14_an_engine_is_built_where_there_is_a_gpu(serve_http: ServeHttp) -> None:
    http = await serve_http(await two_models(has_gpu=True))
    http.world.converter.files = {"1/model.plan": b"engine"}
    reply = await http.client.post("/models/adder/export?export_format=tensorrt", headers=http.admin)
    assert reply.json()["sha256"] == hashlib.sha256(b"engine").hexdigest()
    [request] = http.world.converter.requests
    assert request["steps"] == [{"recipe": "onnx_to_tensorrt", "parameters": {}}]


async def test_t_rest_14_an_unknown_model_is_not_found(http: Served) -> None:
    reply = await http.client.post("/models/nobody/export", headers=http.admin)
    assert (reply.status_code, reply.json()["code"]) == (404, "MODEL_NOT_FOUND")


@pytest.mark.parametrize("export_id", ["exp_01HZZZZZZZZZZZZZZZZZZZZZZZ", "exp_", "..%2f..%2fadmin.key", "a"])
async def test_t_rest_14_an_unknown_export_is_not_found(http: Served, export_id: str) -> None:
    reply = await http.client.get(f"/exports/{export_id}/download", headers=http.admin)
    assert (reply.status_code, reply.json()["code"]) == (404, "NOT_FOUND")


async def test_c_auth_06_only_who_manages_models_may_export_and_download(serve_http: ServeHttp) -> None:
    http = await serve_http()
    export_id = (await http.client.post("/models/adder/export", headers=http.admin)).json()["export_id"]
    for headers, status in ((http.viewer, 403), (http.user, 403), ({}, 401)):
        for method, url in (("POST", "/models/adder/export"), ("GET", f"/exports/{export_id}/download")):
            assert (await http.client.request(method, url, headers=headers)).status_code == status
    managing = await serve_http(await two_models(user_can_manage=True))
    assert (await managing.client.post("/models/adder/export", headers=managing.user)).status_code == 200


async def test_t_rest_14_an_export_goes_on_when_its_caller_leaves(serve_http: ServeHttp) -> None:
    http = await serve_http(await two_models(has_gpu=True))
    converter, jobs = http.world.converter, http.world.services.jobs
    converter.files, converter.gate = {"1/model.plan": b"engine"}, asyncio.Event()
    asking = asyncio.create_task(http.client.post("/models/adder/export?export_format=tensorrt", headers=http.admin))
    await converter.half_way.wait()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    job_id = next(path.name for path in http.world.workspaces.root.iterdir())
    converter.gate.set()
    job = await jobs.wait(job_id)
    assert (job.state, converter.interrupted) == (JobState.COMPLETED, 0)
    export_id = job_id.replace("job_", "exp_")
    file = await http.client.get(f"/exports/{export_id}/download", headers=http.admin)
    assert file.content == b"engine"


async def test_x_job_01_an_export_can_be_watched_as_a_job(serve_http: ServeHttp) -> None:
    http = await serve_http()
    reply = await http.client.post("/native/v1/models/adder/exports?export_format=triton", headers=http.admin)
    assert reply.status_code == 202
    job_id = reply.json()["job_id"]
    await http.world.services.jobs.wait(job_id)
    job = (await http.client.get(f"/native/v1/jobs/{job_id}", headers=http.viewer)).json()
    assert (job["kind"], job["state"], job["progress"]) == ("export", "completed", 100.0)
    file = await http.client.get(f"/exports/{job['result']['export_id']}/download", headers=http.admin)
    assert hashlib.sha256(file.content).hexdigest() == job["result"]["sha256"]
    refused = await http.client.post("/native/v1/models/adder/exports?export_format=gguf", headers=http.admin)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "UNSUPPORTED_FORMAT")
