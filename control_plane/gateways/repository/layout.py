"""Where things are below the state directory, and which of them are ours."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.paths import is_safe_path
from control_plane.domain.references import revision_directory

MANIFEST = "tritonplane.json"
CONFIG = "config.pbtxt"
VERSION = "1"  # a revision is one version; Triton's own version numbers are not used
MODEL_FILE = f"{VERSION}/model.onnx"
TORCH_FILE = "model.pt"  # in a workspace only; the converter tells what it is, and no unpickler is let near it
# What a conversion kept of such a file beside the model; Triton does not look there.
KEPT_TORCH_FILES = frozenset(["source/model.pt", "source/model.pt2"])
# What we say of how we made a revision; a stranger's files of these names say nothing of what is here.
EVIDENCE, SCRIPT = "evidence.json", "reproduce.sh"
# The supervisor puts models of its own (the self-test probe) beside the revisions; they are not ours to judge.
INTERNAL_PREFIX = "tritonplane-"
_REVISION = re.compile(r"(?P<model>.+)--r(?P<number>[1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of a state directory that hold models; all on one file system, so that a rename publishes."""

    state: Path

    @property
    def repository(self) -> Path:
        return self.state / "repository"

    @property
    def staging(self) -> Path:
        return self.state / "staging"

    @property
    def quarantine(self) -> Path:
        return self.state / "quarantine"

    def revision(self, model: str, number: int) -> Path:
        return self.repository / revision_directory(model, number)

    def directories(self) -> frozenset[str]:
        """The names under which Triton sees something here."""
        return frozenset(entry.name for entry in self.repository.iterdir() if entry.is_dir())

    def create(self) -> None:
        """Raises InvalidRequest for a path that Triton's shell would take apart."""
        if not is_safe_path(self.state.absolute()):
            raise InvalidRequest(
                f"the state directory {str(self.state)!r} cannot be used: "
                "Triton passes it to a shell, so only letters, digits, '.', '_', '-' and '/' may be in it"
            )
        for folder in (self.repository, self.staging, self.quarantine):
            folder.mkdir(parents=True, exist_ok=True)


def parse_directory(name: str) -> tuple[str, int] | None:
    """The model and number that a revision's directory is named after."""
    match = _REVISION.fullmatch(name)
    return (match["model"], int(match["number"])) if match else None


def sync_folder(folder: Path) -> None:
    """Make a rename or a new entry in a folder survive a power loss."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
