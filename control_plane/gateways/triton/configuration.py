"""What a managed Triton is started with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from control_plane.gateways.triton import shared_memory

ENVIRONMENTS = "python_env"


@dataclass(frozen=True, slots=True)
class TritonConfig:
    """Port 0 picks a free one. `probe` is the golden self-test model; None finds the one that ships with us.

    `segments` begins the names of its shared memory; None: one that is made of the state directory.
    Units: seconds. `exit_timeout_s` is Triton's own limit for its last requests; `drain_timeout_s` is ours before that.
    `dies_first`: when memory ends the kernel ends it before other servers.
    A server that answers no liveness question `liveness_misses` times in a row is replaced.
    """

    state_dir: Path
    binary: Path | None = None
    grpc_port: int = 0
    metrics_port: int = 0
    probe: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    start_timeout_s: float = 20
    selftest_timeout_s: float = 30
    drain_timeout_s: float = 30
    exit_timeout_s: int = 10
    stream_idle_timeout_s: float = 30
    liveness_interval_s: float = 2
    liveness_timeout_s: float = 5
    liveness_misses: int = 3
    backoff_max_s: float = 30
    segments: str | None = None
    dies_first: bool = False

    @property
    def repository(self) -> Path:
        return self.state_dir / "repository"

    @property
    def backends(self) -> Path:
        return self.state_dir / "backends"

    @property
    def environments(self) -> Path:
        """Where its Python backend makes folders, and below which it leaves those of a server that was killed."""
        return self.state_dir / ENVIRONMENTS

    @property
    def log(self) -> Path:
        return self.state_dir / "logs" / "triton.log"

    @property
    def record(self) -> Path:
        return self.state_dir / "triton.pid"

    def family(self) -> str:
        """What the names of its shared memory begin with, in every life. The state directory must be there."""
        return self.segments or shared_memory.family_prefix(self.state_dir)
