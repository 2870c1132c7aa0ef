"""Exports with both clients: asked for, and downloaded whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from tritonplane_client import ConnectionLost, NotFoundError, UnexpectedAnswer

from tests.doubles.plane import Miniature
from tests.doubles.plane_exports import CONTENT, DIGEST
from tests.unit.client.both import Face


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_an_export_is_asked_for_in_a_format(client: Face, plane: Miniature) -> None:
    reply = await client.call("export_model", "coder:2", "triton")
    assert (reply["export_id"], reply["export_format"], reply["sha256"]) == ("exp_1", "triton", DIGEST)
    assert (plane.seen[-1].path, plane.seen[-1].query) == ("/v1/models/coder:2/export", {"export_format": "triton"})

    assert await client.call("submit_export", "coder") == {"job_id": "job_1"}
    assert plane.seen[-1].query == {"export_format": "onnx"}


async def test_a_file_arrives_with_its_progress(client: Face, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    place = await client.call("download_export", "exp_1", tmp_path / "mine.onnx", lambda *now: told.append(now))

    assert place == tmp_path / "mine.onnx"
    assert place.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [now for now, _ in told] == sorted(now for now, _ in told)


async def test_a_folder_gets_a_file_of_the_server_s_name(client: Face, tmp_path: Path) -> None:
    assert await client.call("download_export", "exp_1", str(tmp_path)) == tmp_path / "model.onnx"
    with pytest.raises(UnexpectedAnswer, match="does not name"):
        await client.call("download_export", "exp_nameless", tmp_path)


@pytest.mark.parametrize(("export_id", "error"), [("exp_bad", UnexpectedAnswer), ("exp_cut", ConnectionLost)])
async def test_of_a_file_that_is_not_whole_nothing_remains(
    client: Face, tmp_path: Path, export_id: str, error: type[Exception]
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"what was there")
    with pytest.raises(error):
        await client.call("download_export", export_id, tmp_path)
    assert contents(tmp_path) == {"model.onnx": b"what was there"}


async def test_an_unknown_export_is_not_found(client: Face, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no export 'exp_2'"):
        await client.call("download_export", "exp_2", tmp_path)
    assert contents(tmp_path) == {}
