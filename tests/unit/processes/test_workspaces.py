"""One suite for every Workspaces: the one in the state directory, and the double that other tests use in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.domain.errors import DomainError, InvalidRequest, Unavailable
from control_plane.gateways.processes.workspaces import LocalWorkspaces
from control_plane.ports import Workspaces
from control_plane.services.jobs import new_job_id
from tests.doubles.jobs import TemporaryWorkspaces

JOB, OTHER = new_job_id(), new_job_id()


@pytest.fixture(params=["local", "temporary"])
def workspaces(request: pytest.FixtureRequest, tmp_path: Path) -> Workspaces:
    return LocalWorkspaces(tmp_path) if request.param == "local" else TemporaryWorkspaces()


def fill(folder: Path) -> None:
    (folder / "log.txt").write_text("said")
    (folder / "reproduce.sh").write_text("#!/bin/sh")
    (folder / "evidence.json").write_text("{}")
    (folder / "model" / "deep").mkdir(parents=True)
    (folder / "model" / "deep" / "weights").write_bytes(bytes(100))
    (folder / "upload.zip").write_bytes(bytes(100))


def test_a_folder_is_made_once_and_stays_as_it_is(workspaces: Workspaces) -> None:
    fill(workspaces.create(JOB))
    assert (workspaces.create(JOB) / "upload.zip").exists()
    assert list(workspaces.ids()) == [JOB]
    assert workspaces.log_file(JOB).read_text() == "said"


def test_clean_leaves_what_a_person_may_want_to_read(workspaces: Workspaces) -> None:
    fill(workspaces.create(JOB))
    fill(workspaces.create(OTHER))
    workspaces.clean(JOB)
    workspaces.clean(JOB)
    left = sorted(path.name for path in workspaces.create(JOB).iterdir())
    assert left == ["evidence.json", "log.txt", "reproduce.sh"]
    assert workspaces.evidence_file(JOB).read_text() == "{}"
    assert (workspaces.create(OTHER) / "model" / "deep" / "weights").exists()


def test_delete_leaves_nothing_and_what_is_not_there_is_no_matter(workspaces: Workspaces) -> None:
    fill(workspaces.create(JOB))
    workspaces.delete(JOB)
    workspaces.delete(JOB)
    workspaces.clean(JOB)
    assert list(workspaces.ids()) == []
    assert not workspaces.log_file(JOB).exists()


def test_a_folder_inside_is_emptied_of_what_an_interrupted_run_left(workspaces: Workspaces) -> None:
    (workspaces.empty_folder(JOB, "source") / "half").write_text("half")
    assert list(workspaces.empty_folder(JOB, "source").iterdir()) == []
    assert workspaces.empty_folder(JOB, "source").parent == workspaces.create(JOB)


def test_the_folder_is_its_owners_alone(tmp_path: Path) -> None:
    workspaces = LocalWorkspaces(tmp_path)
    folder = workspaces.create(JOB)
    assert [path.stat().st_mode & 0o777 for path in (folder, folder.parent)] == [0o700, 0o700]


@pytest.mark.parametrize("wrong", ["", "..", "job_", "job_" + "a" * 26, f"../{JOB}", f"{JOB}/..", f"{JOB}\n"])
def test_what_is_no_id_of_a_job_leads_nowhere(tmp_path: Path, wrong: str) -> None:
    workspaces = LocalWorkspaces(tmp_path)
    workspaces.create(JOB)
    for use in (workspaces.create, workspaces.clean, workspaces.delete, workspaces.log_file):
        with pytest.raises(InvalidRequest):
            use(wrong)
    with pytest.raises(InvalidRequest):
        workspaces.empty_folder(JOB, "../x")
    assert list(workspaces.ids()) == [JOB]


def test_a_link_in_a_workspace_is_removed_and_what_it_leads_to_is_not(tmp_path: Path) -> None:
    workspaces = LocalWorkspaces(tmp_path)
    folder = workspaces.create(JOB)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    (folder / "reproduce.sh").symlink_to(kept / "file")
    (folder / "model").symlink_to(kept)
    workspaces.clean(JOB)
    assert list(folder.iterdir()) == []
    assert (kept / "file").read_text() == "x"


def test_a_disk_that_takes_no_folder_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("in the way")
    with pytest.raises(Unavailable, match="workspace") as caught:
        LocalWorkspaces(tmp_path).create(JOB)
    assert isinstance(caught.value, DomainError)
    assert str(tmp_path) not in caught.value.message
