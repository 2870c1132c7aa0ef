"""Model directories for tests, and a repository to put them into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from control_plane.domain.models import Description, Revision
from control_plane.gateways.repository.configuration import Abilities
from control_plane.gateways.repository.repository import LocalRepository
from control_plane.gateways.repository.safety import ImportLimits
from control_plane.ports import OnnxInspector, Publication
from tests.doubles.clock import FixedClock
from tests.doubles.inspector import KnownInspector

BACKENDS = frozenset({"python", "onnxruntime", "text_encoder", "text_generation", "diffusion"})
MLP_CONFIG = """
backend: "onnxruntime"
max_batch_size: 16
input [ { name: "features" data_type: TYPE_FP32 dims: [ 8 ] } ]
output [ { name: "scores" data_type: TYPE_FP32 dims: [ 3 ] } ]
"""
PYTHON_CONFIG = MLP_CONFIG.replace("onnxruntime", "python")
ONNX = b"\x08\x08 opened by nobody"


def write_directory(root: Path, files: Mapping[str, bytes | str]) -> Path:
    for path, content in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


@dataclass(frozen=True)
class Workshop:
    """A state directory under a test's own folder, with short words for what tests do to it."""

    state: Path
    repository: LocalRepository
    clock: FixedClock

    @classmethod
    def open(
        cls,
        state: Path,
        inspector: OnnxInspector | None = None,
        *,
        has_gpu: bool = False,
        limits: ImportLimits | None = None,
    ) -> Workshop:
        clock = FixedClock()
        abilities = Abilities(BACKENDS, has_gpu)
        repository = LocalRepository(state, inspector or KnownInspector(), clock, abilities, limits)
        return cls(state, repository, clock)

    def with_code_allowed(self) -> Workshop:
        return Workshop.open(self.state, limits=ImportLimits(allow_code=True))

    async def publish(
        self,
        source: Path,
        model: str = "mlp",
        number: int = 1,
        *,
        description: Description | None = None,
    ) -> Revision:
        publication = Publication(model, number, source, source.name, "key_1", description)
        return await self.repository.publish(publication)

    def folder(self, revision: Revision) -> Path:
        return self.state / "repository" / revision.directory

    def config(self, revision: Revision) -> str:
        return (self.folder(revision) / "config.pbtxt").read_text()

    def names(self, folder: str) -> list[str]:
        return sorted(path.name for path in (self.state / folder).iterdir())

    def is_untouched(self) -> bool:
        """Nothing published, nothing left behind."""
        return not self.names("repository") and not self.names("staging") and not self.names("quarantine")
