"""The disk of the state directory fills up in the middle of an import: that import fails and says why, nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.disks import SmallDisk, small_disk
from tests.integration.imports.conftest import Sources
from tests.product import ServerProcess, lent_converter
from tests.survival.plane import Plane, close
from tests.survival.sources import Source, archive, llama, module
from tests.survival.whole import processes_at

MIB = 2**20
DISK_MIB = 80  # what a server with the models in the box takes, and the same again
EXPORTING = "progress Export a TorchScript or torch.export module to ONNX"
TOLD_WITHIN_S = 30.0
CONVERTING = "progress Write a language model as an ONNX graph with a key-value cache"


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    with small_disk(tmp_path_factory.mktemp("full") / "state", DISK_MIB) as disk:
        yield disk


@pytest.fixture(scope="module")
def served(sources: Sources) -> Source:
    """Imported and loaded before the disk fills up."""
    return module(sources.expected)


@pytest.fixture(scope="module")
def upload() -> Source:
    return archive()


@pytest.fixture(scope="module")
def plane(disk: SmallDisk, sources: Sources, served: Source) -> Iterator[Plane]:
    server = ServerProcess(disk.path, {"IMPORT_ROOT": str(sources.folder), **lent_converter(disk.path)})
    plane = Plane(server, unloads=False)  # there is not always room to note it
    plane.start()
    plane.learn(served)
    yield plane
    close(plane)


@pytest.fixture(autouse=True)
def the_rest_lives(plane: Plane, disk: SmallDisk, served: Source) -> Iterator[None]:
    """Whatever happens, the model that was there answers, and the state directory is whole."""
    with plane.server.client() as http:
        http.post(f"/native/v1/models/{served.name}/load").raise_for_status()
    yield
    disk.empty()
    with plane.server.client() as http:
        served.check_answer(http, served.name)
    plane.check(served, served.name)


def failed_of_full_disk(job: dict[str, Any]) -> None:
    assert job["state"] == "failed"
    assert job["error"]["code"] == "PIPELINE_UNAVAILABLE"
    assert "full" in job["error"]["message"]


def test_an_import_that_cannot_be_received_fails_and_works_when_there_is_room(
    plane: Plane, disk: SmallDisk, sources: Sources, upload: Source, served: Source
) -> None:
    assert upload.upload is not None
    (sources.folder / "large.zip").write_bytes(upload.upload)
    source = replace(upload, name="large", options={"file_path": "large.zip"}, upload=None)
    disk.fill(leaving_bytes=len(upload.upload) // 2)
    with plane.server.client() as http:
        failed_of_full_disk(plane.ended(source.submit(http, source.name)))
        served.check_answer(http, served.name)
    assert plane.revisions(source.name) == []

    disk.empty()
    plane.learn(source)


def test_an_upload_that_does_not_fit_is_refused_and_leaves_nothing(
    plane: Plane, disk: SmallDisk, upload: Source
) -> None:
    assert upload.upload is not None
    disk.fill(leaving_bytes=len(upload.upload) // 2)
    with plane.server.client() as http:
        reply = http.post(f"/native/v1/models/{upload.name}/revisions", files={"file": ("model.zip", upload.upload)})
    assert reply.status_code == httpx.codes.SERVICE_UNAVAILABLE, reply.text
    assert reply.json()["error"]["code"] == "PIPELINE_UNAVAILABLE"
    assert "full" in reply.json()["error"]["message"]
    assert disk.free_bytes >= len(upload.upload) // 2 - MIB
    assert plane.jobs(upload.name) == []

    disk.empty()
    plane.learn(upload)


def test_a_conversion_that_runs_out_of_room_fails_and_works_when_there_is_room(
    plane: Plane, disk: SmallDisk, sources: Sources
) -> None:
    source = llama(sources.expected)
    with plane.server.client() as http:
        job_id = source.submit(http, source.name)
    plane.wait_for(job_id, CONVERTING)
    disk.fill(leaving_bytes=100_000)  # some for the database, too little for the model
    failed_of_full_disk(plane.ended(job_id))
    assert plane.revisions(source.name) == []

    disk.empty()
    plane.learn(source)


def test_an_import_that_runs_out_of_room_while_it_is_published_fails_and_works_when_there_is_room(
    plane: Plane, disk: SmallDisk, served: Source
) -> None:
    with plane.server.client() as http:
        job_id = served.submit(http, "published")
    plane.wait_for(job_id, "progress publishing")
    disk.fill()
    failed_of_full_disk(plane.ended(job_id))
    assert plane.revisions("published") == []

    disk.empty()
    with plane.server.client() as http:
        plane.ended(served.submit(http, "published"))
    plane.check(served, "published")


def test_with_no_room_for_the_database_models_answer_and_a_job_ends_when_there_is_some(
    plane: Plane, disk: SmallDisk, served: Source, upload: Source
) -> None:
    with plane.server.client() as http:
        job_id = served.submit(http, "unrecorded")
        plane.wait_for(job_id, EXPORTING)
        while processes_at(disk.path / "jobs" / job_id):
            disk.fill()  # what the conversion gives back is taken at once
            served.check_answer(http, served.name)
        refused = http.post(f"/models/{upload.name}/import", files={"file": ("model.zip", upload.upload)})
        assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE, refused.text

        disk.empty()
        failed_of_full_disk(plane.ended(job_id))
        plane.ended(served.submit(http, "unrecorded"))
    plane.check(served, "unrecorded")


def test_a_server_that_dies_on_a_full_disk_goes_on_when_there_is_room(
    plane: Plane, disk: SmallDisk, served: Source
) -> None:
    with plane.server.client() as http:
        job_id = served.submit(http, "died")
    plane.wait_for(job_id, EXPORTING)
    disk.fill()
    plane.kill()
    disk.fill()
    said, until = len(plane.server.log), time.monotonic() + TOLD_WITHIN_S
    plane.server.start()
    while "No space left on device" not in plane.server.log[said:]:
        assert time.monotonic() < until
        time.sleep(0.05)
    disk.empty()
    plane.server.wait_ready()
    assert plane.ended(job_id)["state"] in ("completed", "failed")
    plane.check(served, "died")
