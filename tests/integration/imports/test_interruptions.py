"""What dies in the middle of an import, and that nothing is lost or half by that; `make soak` does it many times."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.imports.conftest import Sources
from tests.product import ServerProcess, lent_converter
from tests.survival.plane import Plane, close
from tests.survival.scenarios import NEVER, Moment, Scenario
from tests.survival.sources import Source, archive, llama, module
from tests.survival.whole import dead_after_s, faults_on_disk

SEED = 7
STOPPED_WITHIN_S = 8.0  # Triton itself takes two


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, sources: Sources) -> Iterator[Plane]:
    """One state directory through many deaths of its server."""
    state = tmp_path_factory.mktemp("interrupted") / "state"
    plane = Plane(ServerProcess(state, {"IMPORT_ROOT": str(sources.folder), **lent_converter(state)}))
    plane.start()
    yield plane
    close(plane)


@pytest.fixture(scope="module")
def scenario(plane: Plane) -> Scenario:
    return Scenario(plane, random.Random(SEED))


@pytest.fixture(scope="module")
def language_model(sources: Sources) -> Source:
    return llama(sources.expected)


@pytest.fixture(scope="module")
def torch_module(sources: Sources) -> Source:
    return module(sources.expected)


@pytest.fixture(scope="module")
def upload() -> Source:
    return archive()


RECEIVING, PUBLISHING = "progress receiving the source", "progress publishing"
CONVERTING = "progress Write a language model as an ONNX graph with a key-value cache"
EXPORTING = "progress Export a TorchScript or torch.export module to ONNX"


def test_a_conversion_that_was_killed_with_its_server_is_finished_by_the_next(
    scenario: Scenario, language_model: Source
) -> None:
    assert scenario.kill(language_model, Moment(1.0, CONVERTING)).state == "completed"


def test_a_server_killed_while_it_publishes_leaves_one_whole_revision(scenario: Scenario, torch_module: Source) -> None:
    assert scenario.kill(torch_module, Moment(0.05, PUBLISHING)).state == "completed"


def test_a_server_killed_while_it_receives_takes_what_was_uploaded_once_more(
    scenario: Scenario, upload: Source
) -> None:
    assert scenario.kill(upload, Moment(0.0, RECEIVING)).state == "completed"


def test_a_server_killed_in_the_middle_of_an_upload_forgets_the_half_of_it(scenario: Scenario, upload: Source) -> None:
    assert scenario.kill(upload, Moment(0.03)).state in (NEVER, "completed")


@pytest.mark.parametrize("moment", [Moment(0.0, "queued"), Moment(0.8, EXPORTING), Moment(0.0, PUBLISHING)], ids=str)
def test_a_cancelled_import_leaves_nothing_and_the_next_one_works(
    scenario: Scenario, torch_module: Source, moment: Moment
) -> None:
    assert scenario.cancel(torch_module, moment).state in ("cancelled", "completed")


def test_a_cancelled_language_model_leaves_no_child_of_its_conversion(
    scenario: Scenario, language_model: Source
) -> None:
    ending = scenario.cancel(language_model, Moment(0.3, CONVERTING))
    assert ending.state == "cancelled"
    assert ending.death_s is not None


def test_after_all_that_an_undisturbed_import_works(plane: Plane, torch_module: Source) -> None:
    plane.learn(torch_module)


def test_a_stop_interrupts_a_conversion_at_once_and_the_next_start_takes_it_up(
    plane: Plane, torch_module: Source
) -> None:
    plane.until_unloaded()  # which a server that stops refuses
    with plane.server.client() as http:
        job_id = torch_module.submit(http, "stopped")
    plane.wait_for(job_id, EXPORTING)
    began = time.monotonic()
    family = plane.family()
    assert plane.server.stop() == 0
    assert dead_after_s(began, family, plane.state) < STOPPED_WITHIN_S

    plane.start()
    assert "resumed" in [what.split()[0] for what, _ in plane.watch(job_id)]
    assert plane.ended(job_id)["state"] == "completed"
    plane.check(torch_module, "stopped")


def test_of_a_queue_that_was_killed_every_job_ends_and_the_one_whose_upload_is_gone_says_so(
    plane: Plane, upload: Source
) -> None:
    names = [f"queued-{number}" for number in range(5)]
    with plane.server.client() as http:
        job_ids = [upload.submit(http, name) for name in names]
    plane.wait_for(job_ids[0], "started")
    plane.kill()
    shutil.rmtree(plane.state / "jobs" / job_ids[-1])
    plane.server.settings["MAX_CONCURRENT_JOBS"] = "2"  # for the next test too

    plane.start()
    ended = [plane.ended(job_id) for job_id in job_ids]
    assert [job["state"] for job in ended] == ["completed"] * 4 + ["failed"]
    assert ended[-1]["error"]["code"] == "NOT_FOUND"
    assert "upload" in ended[-1]["error"]["message"]
    assert [plane.revisions(name) for name in names] == [[1]] * 4 + [[]]
    plane.check(upload, names[0])


def test_two_imports_of_one_new_model_at_once_are_two_revisions(plane: Plane, upload: Source) -> None:
    with plane.server.client() as http, ThreadPoolExecutor(2) as pool:
        job_ids = list(pool.map(lambda _: upload.submit(http, "twice"), range(2)))
    assert [plane.ended(job_id)["state"] for job_id in job_ids] == ["completed"] * 2
    assert plane.revisions("twice") == [1, 2]
    plane.check(upload, "twice")


@pytest.mark.parametrize("delay_s", [0.0, 0.1])
def test_a_model_purged_while_another_revision_is_imported_is_whole_or_gone(
    plane: Plane, upload: Source, delay_s: float
) -> None:
    name = f"purged-{delay_s}"
    with plane.server.client() as http:
        plane.ended(upload.submit(http, name))
        job_id = upload.submit(http, name)
        plane.wait_for(job_id, PUBLISHING)
        time.sleep(delay_s)
        http.delete(f"/models/{name}", params={"purge": True}).raise_for_status()
        assert plane.ended(job_id)["state"] == "completed"
        assert plane.revisions(name) in ([], [2])
        assert faults_on_disk(plane.state) == []

        plane.ended(upload.submit(http, name))
    plane.ask(upload, f"{name}:3")
