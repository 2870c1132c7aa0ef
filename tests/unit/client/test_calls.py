"""Every call of the client against a real HTTP server: what is sent, and what comes back."""

from __future__ import annotations

import inspect
import io
import zipfile
from datetime import datetime, timedelta, timezone
from email.parser import BytesParser
from pathlib import Path

import pytest
from tritonplane_client import ApiClient, AsyncApiClient, AuthenticationError, InvalidArgument, NotFoundError

from tests.doubles.plane import KEY, Miniature, Seen
from tests.unit.client.both import Face


async def test_models_are_listed_as_the_server_gives_them(client: Face, plane: Miniature) -> None:
    models = await client.call("list_models", model_type="transformer")

    assert [(model["name"], model["state"]) for model in models] == [("coder", "loaded"), ("adder", "unloaded")]
    assert plane.seen[0].query == {"skip": "0", "limit": "1000", "model_type": "transformer"}
    assert plane.seen[0].headers["x-api-key"] == KEY


async def test_a_model_is_loaded_with_its_options_and_unloaded(client: Face, plane: Miniature) -> None:
    assert (await client.call("load_model", "adder", instance_count=2))["model_id"] == "adder:2"
    assert plane.seen[-1].json == {"model_name": "adder", "config": {"instance_count": 2}}
    assert (await client.call("get_model", "adder"))["state"] == "loaded"

    assert await client.call("unload_model", "adder") == {"success": True}
    assert plane.models["adder"] == "unloaded"
    await client.call("purge_model", "adder")
    assert "adder" not in plane.models


async def test_a_reference_stays_readable_in_the_path_and_a_hostile_name_is_escaped(
    client: Face, plane: Miniature
) -> None:
    await client.call("unload_model", "coder:3")
    with pytest.raises(NotFoundError, match="no model named"):
        await client.call("get_model", "b$(touch x)?q=1#f")

    assert plane.seen[0].path == "/v1/models/coder:3"
    assert (plane.seen[1].path, plane.seen[1].query) == ("/v1/models/b$(touch x)?q=1#f", {})
    with pytest.raises(InvalidArgument, match="cannot be part of a path"):
        await client.call("get_model", "..")
    with pytest.raises(InvalidArgument, match="cannot be part of a path"):
        await client.call("get_model", "half a pair: \ud83d")


@pytest.mark.parametrize(
    ("prompt", "options"),
    [("x", {"temperature": float("nan")}), ("x", {"top_p": float("inf")}), ("half a pair: \ud83d", {})],
    ids=["nan", "infinity", "surrogate"],
)
async def test_what_no_request_can_carry_is_refused_at_once(
    client: Face, plane: Miniature, prompt: str, options: dict[str, float]
) -> None:
    with pytest.raises(InvalidArgument, match="numbers must be finite and texts whole characters"):
        await client.call("generate", "coder", prompt, **options)
    assert plane.seen == []


async def test_revisions_and_health_are_read(client: Face) -> None:
    assert (await client.call("revisions", "coder"))["aliases"] == {"stable": 1}
    assert (await client.call("health"))["services"]["triton"] == "healthy"


async def test_metrics_are_asked_for_a_period(client: Face, plane: Miniature) -> None:
    start = datetime(2026, 11, 21, 12, tzinfo=timezone(timedelta(hours=2)))

    reply = await client.call("metrics", "coder", start, "2026-11-21T13:00:00Z")

    assert (reply["model_id"], reply["metrics"]["inference_count"]) == ("coder", 4)
    assert plane.seen[0].query == {"start_time": "2026-11-21T12:00:00+02:00", "end_time": "2026-11-21T13:00:00Z"}
    await client.call("metrics", "coder:1")
    assert (plane.seen[1].path, plane.seen[1].query) == ("/v1/models/coder:1/metrics", {})
    with pytest.raises(InvalidArgument, match="no time zone"):
        await client.call("metrics", "coder", datetime(2026, 11, 21))


async def test_generate_sends_every_option_beside_the_prompt(client: Face, plane: Miniature) -> None:
    options = {"max_tokens": 3, "temperature": 0.0, "top_p": 0.5, "top_k": 4, "seed": 7, "stop_sequences": ["\n\n"]}

    reply = await client.call("generate", "coder", "def f", **options)

    assert reply["output"]["text"] == "def f("
    asked = {"text": "def f", "max_length": 3, **{k: v for k, v in options.items() if k != "max_tokens"}}
    assert plane.seen[0].json == {"model_id": "coder", "input_data": asked}


async def test_options_left_out_are_left_to_the_server(client: Face, plane: Miniature) -> None:
    await client.call("generate", "coder", "x")
    assert plane.seen[0].json == {"model_id": "coder", "input_data": {"text": "x"}}


async def test_tensors_go_in_and_come_out_as_kserve_has_them(client: Face, plane: Miniature) -> None:
    tensor = {"name": "in0", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}

    reply = await client.call("infer", "adder", [tensor], ["out0"], {"priority": 1})

    assert reply["outputs"] == [{**tensor, "name": "out0"}]
    asked = {"inputs": [tensor], "outputs": [{"name": "out0"}], "parameters": {"priority": 1}}
    assert plane.seen[0].json == asked


async def test_a_key_is_made_listed_and_deleted(client: Face, plane: Miniature) -> None:
    made = await client.call("create_key", "ci", "viewer", expires_at="2027-01-01T00:00:00Z")
    assert made["api_key"] == "tpk_new"
    assert plane.seen[0].json == {"name": "ci", "role": "viewer", "expires_at": "2027-01-01T00:00:00Z"}
    assert [key["name"] for key in await client.call("list_keys")] == ["ci"]

    assert await client.call("delete_key", made["key_id"]) is None
    assert await client.call("list_keys") == []


async def test_a_token_is_asked_for_and_the_caller_told_who_it_is(client: Face, plane: Miniature) -> None:
    assert (await client.call("token", role="user", expires_in=60))["expires_in"] == 60
    assert plane.seen[0].json == {"role": "user", "expires_in": 60}
    assert (await client.call("me"))["role"] == "admin"


async def test_a_bare_onnx_file_is_uploaded_as_it_is_with_progress(
    client: Face, plane: Miniature, tmp_path: Path
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(bytes(range(256)) * 1024)
    progress: list[tuple[int, int]] = []

    await client.call("import_model", "new", model, lambda sent, total: progress.append((sent, total)))

    assert _upload(plane.seen[0]) == ("model.onnx", model.read_bytes())
    assert progress[-1] == (262_144, 262_144)
    assert progress == sorted(progress)
    assert len(progress) > 2
    assert plane.models["new"] == "unloaded"


async def test_a_directory_is_uploaded_as_a_zip_with_its_files_at_the_top(
    client: Face, plane: Miniature, tmp_path: Path
) -> None:
    model = tmp_path / "adder"
    (model / "1").mkdir(parents=True)
    (model / "2").mkdir()
    (model / "__pycache__").mkdir()
    (model / "__pycache__" / "x.pyc").write_bytes(b"no")
    (model / "config.pbtxt").write_text('backend: "onnxruntime"')
    (tmp_path / "blob").write_bytes(b"weights")
    (model / "1" / "model.onnx").symlink_to(tmp_path / "blob")

    await client.call("import_model", "adder", str(model))

    name, packed = _upload(plane.seen[0])
    assert name == "adder.zip"
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.namelist() == ["1/", "2/", "config.pbtxt", "1/model.onnx"]
        assert archive.read("1/model.onnx") == b"weights"


async def test_what_cannot_be_uploaded_is_refused_before_anything_is_sent(
    client: Face, plane: Miniature, tmp_path: Path
) -> None:
    (tmp_path / "empty" / "1").mkdir(parents=True)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "1").symlink_to(tmp_path / "empty")
    with pytest.raises(FileNotFoundError):
        await client.call("import_model", "x", tmp_path / "absent.onnx")
    with pytest.raises(InvalidArgument, match="holds no files"):
        await client.call("import_model", "x", tmp_path / "empty")
    with pytest.raises(InvalidArgument, match="neither a file nor a directory"):
        await client.call("import_model", "x", tmp_path / "linked")
    assert plane.seen == []


async def test_a_file_on_the_server_is_imported_by_its_path_there(client: Face, plane: Miniature) -> None:
    await client.call("import_from_server", "new", "exports/a.zip")
    assert (plane.seen[0].query, plane.seen[0].body) == ({"file_path": "exports/a.zip"}, b"")


async def test_a_bearer_token_is_sent_as_one(plane: Miniature) -> None:
    with ApiClient(plane.url, token="aaa.bbb.ccc") as client, pytest.raises(AuthenticationError):
        client.me()
    assert plane.seen[0].headers["authorization"] == "Bearer aaa.bbb.ccc"
    assert "x-api-key" not in plane.seen[0].headers


def test_address_and_key_come_from_the_environment(plane: Miniature, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITONPLANE_URL", plane.url + "/")
    monkeypatch.setenv("TRITONPLANE_API_KEY", KEY)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nobody there; the loopback is reached without it
    with ApiClient() as client:
        assert client.me()["role"] == "admin"


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://", "http://[::1"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(InvalidArgument, match="no server address"):
        ApiClient(url)


@pytest.mark.parametrize("key", ["", "two\nlines", "schlüssel", " spaces "])
def test_a_key_that_no_header_can_carry_is_refused_at_once(key: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot be sent"):
        ApiClient("http://127.0.0.1:1", key)


def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    def face(client: type) -> dict[str, list[str]]:
        methods = inspect.getmembers(client, inspect.isfunction)
        return {n: list(inspect.signature(m).parameters) for n, m in methods if not n.startswith("__")}

    assert face(ApiClient) == face(AsyncApiClient)
    assert {"list_models", "stream", "import_model", "infer"} <= set(face(ApiClient))


def _upload(seen: Seen) -> tuple[str, bytes]:
    """Name and bytes of the multipart field `file`."""
    header = f"Content-Type: {seen.headers['content-type']}\r\n\r\n".encode()
    [part] = BytesParser().parsebytes(header + seen.body).get_payload()
    assert part.get_param("name", header="content-disposition") == "file"
    # The parser hands binary parts back with surrogates for bytes above 127; take the bytes themselves.
    return part.get_filename(), seen.body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
