"""Imports over REST (T-REST-15): from below the import root, and uploaded."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from control_plane.domain.errors import Unavailable
from control_plane.ports import Publication
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served
from tests.doubles.jobs import InMemoryJobStore
from tests.doubles.repository import InMemoryRepository

BOUNDARY = b"xYzZY"


def published(http: Served, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Publication, dict[str, bytes]]]:
    """What the repository is given, with the files as they are at that moment."""
    seen: list[tuple[Publication, dict[str, bytes]]] = []
    publish = InMemoryRepository.publish

    async def recorded(self: InMemoryRepository, publication: Publication) -> Any:
        files = [path for path in publication.source.rglob("*") if path.is_file()]
        seen.append((publication, {path.name: path.read_bytes() for path in files}))
        return await publish(self, publication)

    monkeypatch.setattr(InMemoryRepository, "publish", recorded)
    return seen


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "deep").mkdir(parents=True)
    (tmp_path / "root" / "deep" / "m.onnx").write_bytes(b"weights")
    (tmp_path / "outside.onnx").write_bytes(b"secret")
    (tmp_path / "root" / "link.onnx").symlink_to(tmp_path / "outside.onnx")
    return tmp_path / "root"


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_t_rest_15_a_file_below_the_root_becomes_revision_1_unloaded(
    serve_http: ServeHttp, root: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    http = await serve_http(await two_models(import_root=root))
    seen = published(http, monkeypatch)
    reply = await http.client.post(
        f"{prefix}/models/own/import", params={"file_path": "deep/m.onnx"}, headers=http.admin
    )
    assert (reply.status_code, reply.json()) == (
        200,
        {
            "model_id": "own",
            "success": True,
            "format": "onnx",
            "size_bytes": 3000,
            "sha256": "c" * 64,
            "error_message": None,
            "revision": 1,
            "state": "unloaded",
        },
    )
    ((publication, files),) = seen
    assert (publication.source_label, publication.created_by) == ("deep/m.onnx", "somebody")
    assert files == {"model.onnx": b"weights"}
    again = await http.client.post("/models/own/import", params={"file_path": "deep"}, headers=http.admin)
    assert (again.json()["model_id"], again.json()["format"]) == ("own:2", "triton")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/etc/passwd", 403),
        ("../outside.onnx", 403),
        ("deep/../../outside.onnx", 403),
        ("deep/..", 403),
        ("link.onnx", 403),
        ("", 400),
        ("a\0b", 400),
    ],
)
async def test_t_rest_15_nothing_outside_the_root_is_reached(
    serve_http: ServeHttp, root: Path, path: str, status: int
) -> None:
    http = await serve_http(await two_models(import_root=root))
    reply = await http.client.post("/models/own/import", params={"file_path": path}, headers=http.admin)
    assert reply.status_code == status
    assert str(root) not in reply.text
    assert (await http.client.get("/models/own", headers=http.viewer)).status_code == 404


async def test_t_rest_15_without_a_root_only_uploads_work(serve_http: ServeHttp) -> None:
    http = await serve_http()
    reply = await http.client.post("/models/own/import", params={"file_path": "m.onnx"}, headers=http.admin)
    assert (reply.status_code, reply.json()["code"]) == (501, "NOT_SUPPORTED_HERE")


@pytest.mark.parametrize(
    ("filename", "received"),
    [
        ("m.onnx", "model.onnx"),
        ("M.ONNX", "model.onnx"),
        ("../../x.zip", "model.zip"),
        ("C:\\x\\y.zip", "model.zip"),
    ],
)
async def test_t_rest_15_an_upload_reaches_the_repository_whole_and_is_gone_afterwards(
    serve_http: ServeHttp, monkeypatch: pytest.MonkeyPatch, filename: str, received: str
) -> None:
    http = await serve_http()
    seen = published(http, monkeypatch)
    content = bytes(range(256)) * 20_000  # larger than one write, and with every byte in it
    reply = await http.client.post(
        "/models/own/import", data={"note": "read over"}, files={"file": (filename, content)}, headers=http.admin
    )
    assert reply.status_code == 200
    ((publication, files),) = seen
    assert files == {received: content}
    assert ".." not in publication.source_label
    assert publication.source_label.startswith("upload: ")
    assert not publication.source.exists()


async def test_t_rest_15_the_content_type_may_be_written_in_any_case(serve_http: ServeHttp) -> None:
    http = await serve_http()
    content = b'--xYzZY\r\nContent-Disposition: form-data; name="file"; filename="m.onnx"\r\n\r\nx\r\n--xYzZY--\r\n'
    headers = {**http.admin, "Content-Type": "Multipart/Form-Data; boundary=xYzZY"}
    assert (await http.client.post("/models/own/import", content=content, headers=headers)).status_code == 200


async def test_t_rest_15_a_file_of_no_known_kind_is_refused_with_the_job_s_id(serve_http: ServeHttp) -> None:
    http = await serve_http()
    reply = await http.client.post("/models/own/import", files={"file": ("x.exe", b"x")}, headers=http.admin)
    assert (reply.status_code, reply.json()["code"]) == (400, "UNSUPPORTED_FORMAT")
    job = await http.world.services.jobs.get(reply.json()["details"]["job_id"])
    assert (job.kind, job.state, job.model) == ("import", "failed", "own")


async def test_t_rest_15_an_upload_has_the_larger_limit(serve_http: ServeHttp) -> None:
    http = await serve_http(max_body_bytes=1024, max_upload_bytes=100_000)
    for size, status in [(50_000, 200), (150_000, 413)]:
        files = {"file": ("m.onnx", b"x" * size)}
        assert (await http.client.post("/v1/models/own/import", files=files, headers=http.admin)).status_code == status

    async def undeclared() -> Any:
        yield b'--xYzZY\r\nContent-Disposition: form-data; name="file"; filename="m.onnx"\r\n\r\n'
        for _ in range(40):
            yield b"x" * 5000
        yield b"\r\n--xYzZY--\r\n"

    headers = {**http.admin, "Content-Type": "multipart/form-data; boundary=xYzZY"}
    reply = await http.client.post("/models/own/import", content=undeclared(), headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=xYzZY", b""),
        ("multipart/form-data; boundary=xYzZY", b"nonsense"),
        ("multipart/form-data; boundary=xYzZY", b'--xYzZY\r\nContent-Disposition: form-data; name="file"\r\n\r\nx'),
        (
            "multipart/form-data; boundary=xYzZY",
            b'--xYzZY\r\nContent-Disposition: form-data; name="other"; filename="m.onnx"\r\n\r\nx\r\n--xYzZY--\r\n',
        ),
        (
            "multipart/form-data; boundary=xYzZY",
            b'--xYzZY\r\nContent-Disposition: form-data; name="file"; filename="m.onnx"\r\n\r\nx\r\n--xYzZY\r\n'
            b'Content-Disposition: form-data; name="file"; filename="n.onnx"\r\n\r\nx\r\n--xYzZY--\r\n',
        ),
        ("application/json", b"{}"),
        ("", b""),
    ],
)
async def test_t_rest_15_a_broken_upload_is_refused(serve_http: ServeHttp, content_type: str, content: bytes) -> None:
    http = await serve_http()
    reply = await http.client.post(
        "/models/own/import", content=content, headers={**http.admin, "Content-Type": content_type}
    )
    assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_REQUEST")
    assert (await http.client.get("/models/own", headers=http.viewer)).status_code == 404


async def test_t_rest_15_an_upload_that_is_cut_short_is_refused(serve_http: ServeHttp) -> None:
    http = await serve_http()
    content = b'--xYzZY\r\nContent-Disposition: form-data; name="file"; filename="m.onnx"\r\n\r\nhalf of it'
    headers = {**http.admin, "Content-Type": "multipart/form-data; boundary=xYzZY"}
    reply = await http.client.post("/models/own/import", content=content, headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize("name", ["b$(touch x)", "x--r1", "-x", "é"])
async def test_t_rest_15_a_name_that_no_model_may_carry_is_refused(serve_http: ServeHttp, name: str) -> None:
    http = await serve_http()
    reply = await http.client.post(f"/models/{name}/import", files={"file": ("m.onnx", b"x")}, headers=http.admin)
    assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_REQUEST")
    assert list(http.world.workspaces.root.iterdir()) == []


async def test_t_rest_15_an_upload_that_no_job_will_read_is_not_kept(
    serve_http: ServeHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(self: InMemoryJobStore, *_: object) -> None:
        raise Unavailable("the disk of the database is full")

    http = await serve_http()
    monkeypatch.setattr(InMemoryJobStore, "create", full)
    reply = await http.client.post("/models/own/import", files={"file": ("m.onnx", b"x")}, headers=http.admin)
    assert (reply.status_code, reply.json()["error"]) == (503, "the disk of the database is full")
    assert list(http.world.workspaces.root.iterdir()) == []


async def test_t_rest_15_both_ways_at_once_are_refused(serve_http: ServeHttp, root: Path) -> None:
    http = await serve_http(await two_models(import_root=root))
    reply = await http.client.post(
        "/models/own/import?file_path=deep", files={"file": ("m.onnx", b"x")}, headers=http.admin
    )
    assert reply.status_code == 400


async def test_c_auth_06_nothing_is_read_of_the_upload_of_who_may_not_import(serve_http: ServeHttp) -> None:
    http = await serve_http()
    host, port = http.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = "POST /models/own/import HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 999999\r\n"
    head += f"Content-Type: multipart/form-data; boundary=x\r\nAuthorization: {http.user['Authorization']}\r\n\r\n"
    writer.write(head.encode())
    assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 403 ")
    writer.close()
    await writer.wait_closed()


async def test_t_rest_15_an_upload_whose_client_leaves_is_forgotten(
    serve_http: ServeHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    http = await serve_http()
    seen = published(http, monkeypatch)
    workspaces = http.world.workspaces.root

    async def never_whole() -> Any:
        yield b'--xYzZY\r\nContent-Disposition: form-data; name="file"; filename="m.onnx"\r\n\r\n' + b"x" * 3_000_000
        while not any(workspaces.glob("*/upload/*")):  # noqa: ASYNC110 - the disk has no event for it
            await asyncio.sleep(0.01)
        raise ConnectionError("the client is gone")

    headers = {**http.admin, "Content-Type": "multipart/form-data; boundary=xYzZY"}
    with pytest.raises(ConnectionError):
        await http.client.post("/models/own/import", content=never_whole(), headers=headers)
    async with asyncio.timeout(5):
        while any(workspaces.iterdir()):  # noqa: ASYNC110 - the disk has no event for it
            await asyncio.sleep(0.01)
    assert seen == []
