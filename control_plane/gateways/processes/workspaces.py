"""A private folder for each job, beside the live repository."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from control_plane.domain.errors import InvalidRequest, Unavailable

LOG, EVIDENCE = "log.txt", "evidence.json"
KEPT = {LOG, EVIDENCE, "reproduce.sh", "job.json"}  # what a job leaves for people, until it is forgotten
_ID = re.compile(r"(job|opt)_[0-9A-Z]{26}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class LocalWorkspaces:
    """`<state>/jobs/<job id>/`, readable by its owner only: sources may be anybody's secret."""

    def __init__(self, state: Path) -> None:
        self._root = state / "jobs"

    def create(self, job_id: str) -> Path:
        """Raises Unavailable when the disk does not take it."""
        folder = self._folder(job_id)
        try:
            self._root.mkdir(mode=0o700, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"no workspace can be made for the job: {error.strerror}") from error
        return folder

    def empty_folder(self, job_id: str, name: str) -> Path:
        """Raises Unavailable when the disk does not take it."""
        if not _NAME.fullmatch(name):
            raise InvalidRequest(f"{name!r} cannot be the name of a folder in a workspace")
        folder = self.create(job_id) / name
        _remove(folder)
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise Unavailable(f"no folder can be made in the job's workspace: {error.strerror}") from error
        return folder

    def clean(self, job_id: str) -> None:
        folder = self._folder(job_id)
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in KEPT or path.is_symlink() or not path.is_file():
                _remove(path)

    def delete(self, job_id: str) -> None:
        _remove(self._folder(job_id))

    def ids(self) -> Sequence[str]:
        if not self._root.is_dir():
            return []
        return sorted(path.name for path in self._root.iterdir() if _ID.fullmatch(path.name))

    def log_file(self, job_id: str) -> Path:
        return self._folder(job_id) / LOG

    def evidence_file(self, job_id: str) -> Path:
        return self._folder(job_id) / EVIDENCE

    def _folder(self, job_id: str) -> Path:
        if not _ID.fullmatch(job_id):
            raise InvalidRequest("a job's id looks like job_01JD6TQ2Z0W6J9Y3M5B8K4XN7R")
        return self._root / job_id


def _remove(path: Path) -> None:
    """What cannot be removed now is tried again when the job is forgotten."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
