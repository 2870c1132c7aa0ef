"""What the services need of the world outside. Each protocol is one outside system, satisfied by one gateway."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from control_plane.domain.access import ApiKey, Claims, Principal
from control_plane.domain.events import Event, EventFilter, NewEvent
from control_plane.domain.imports import SourceFormat
from control_plane.domain.jobs import Job, JobFilter, JsonObject
from control_plane.domain.models import Artifact, Description, LoadOptions, ModelRecord, Revision, Signature
from control_plane.domain.paging import Page, Paged
from control_plane.domain.rollups import Kept, Rollup, Work
from control_plane.domain.tensors import Inference, Prediction
from control_plane.domain.triton import IndexEntry, Statistics, TritonStatus


class Clock(Protocol):
    def now(self) -> datetime:
        """The time, aware, in UTC."""

    def seconds(self) -> float:
        """Epoch seconds."""


class Triton(Protocol):
    """The hot half of Triton: tensors in and out of a loaded model directory.

    Raises: InvalidRequest, ModelNotFound, ModelNotReady, Unavailable, TimedOut, EngineFailed, EngineCrashed.
    """

    async def infer(self, inference: Inference) -> Prediction: ...

    def stream(self, inference: Inference) -> AsyncGenerator[Prediction, None]:
        """Closing the generator cancels the request inside Triton."""

    def answered_at_s(self, directory: str) -> float:
        """When it last answered anybody, by some clock: the number moves while the model works."""


class TritonControl(Protocol):
    """The slow half of Triton: which model directories are loaded."""

    async def load(self, directory: str, timeout_s: float) -> None:
        """Returns when the directory is READY. Raises EngineFailed with Triton's reason, TimedOut, Unavailable."""

    async def unload(self, directory: str, timeout_s: float) -> None:
        """Returns when requests in flight have finished and the memory is free. Unloading twice is fine."""

    async def index(self) -> Sequence[IndexEntry]: ...

    async def signature(self, directory: str) -> Signature: ...

    async def statistics(self, directory: str) -> Statistics: ...

    def memory_bytes(self, directory: str) -> int | None:
        """Resident size of the processes that execute the directory; None where it cannot be told."""


class TritonServer(Protocol):
    """A Triton's life: ours to start and stop, or somebody else's that we only watch."""

    def status(self) -> TritonStatus: ...

    async def replace(self, reason: str) -> None:
        """Kill the server and start a new one; the only cure for a load that hangs. No-op for an external Triton."""

    def degrade(self, reason: str | None) -> None:
        """A model is dead (or, with None, no longer): READY <-> DEGRADED."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A Triton model directory to become a revision. `description` None: what the source says of itself.

    `is_own`: its files are on the repository's file system, checked and ours, and are linked; else they are received.
    `conversion`: how they were made, for the manifest.
    """

    model: str
    number: int
    source: Path
    source_label: str
    created_by: str
    description: Description | None = None
    conversion: JsonObject | None = None
    is_own: bool = False


class ModelRepository(Protocol):
    """The live repository that Triton reads; nothing else writes it. Publishing is all or nothing."""

    async def receive(self, source: Path, label: str, folder: Path) -> SourceFormat:
        """Bring a source (directory, zip file or single file) into an empty folder, each file checked.

        A graph becomes `1/model.onnx`, a torch file `model.pt`; directories keep their layout.
        Raises: InvalidRequest, UnsupportedFormat, PayloadTooLarge naming what is wrong; Unavailable (disk full).
        """

    async def publish(self, publication: Publication) -> Revision:
        """Stage, validate, hash, then rename into place. Raises InvalidRequest naming what is wrong; leaves nothing."""

    async def derive(self, base: Revision, number: int, changes: LoadOptions, created_by: str) -> Revision:
        """A new revision of the same files (hard links) with another configuration."""

    async def revisions(self) -> Sequence[Revision]:
        """Every whole revision on disk; what is not whole is moved out of Triton's sight."""

    async def copy(self, revision: Revision, places: Mapping[str, str], folder: Path) -> None:
        """Copy files of a revision, each to its place in a folder.

        Raises: NotFound when the revision is gone; Unavailable (disk full).
        """

    async def package(self, revision: Revision, folder: Path) -> None:
        """Copy the whole model directory, under the model's public name as another Triton may serve it.

        Raises: as `copy`.
        """

    async def delete(self, revision: Revision) -> None: ...


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """What an ONNX file says of itself. `parameters` counts the weights."""

    signature: Signature
    parameters: int
    dtype: str
    opset: int


class OnnxInspector(Protocol):
    """Opens untrusted ONNX files in a child process."""

    async def inspect(self, path: Path) -> OnnxModel:
        """Raises InvalidRequest when the file is not a valid ONNX model."""


class ExportShelf(Protocol):
    """Where exported files lie for who fetches them: below the import root, so that they can be imported again."""

    async def pack(self, folder: Path, file: Path) -> None:
        """Zip a folder; the same files always give the same bytes. Raises Unavailable (disk full)."""

    async def put(self, export_id: str, folder: Path, name: str) -> Artifact:
        """Take a folder of files in, whole or not at all; putting it again is fine.

        Gives the file `name` of it, with its path below the import root. Raises Unavailable (disk full).
        """

    def file(self, export_id: str, name: str) -> Path: ...

    async def ids(self) -> Sequence[str]: ...

    async def delete(self, export_id: str) -> None: ...


class ModelStore(Protocol):
    """Records of models: aliases, desired state. Every method is one transaction."""

    async def list(self) -> Sequence[ModelRecord]: ...

    async def create(self, record: ModelRecord) -> None:
        """Raises Conflict if the name exists."""

    async def next_revision(self, name: str) -> int:
        """Reserve a revision number; it is never given again, even if nothing is published under it.

        The first call for an unknown name reserves 1.
        """

    async def set_alias(self, name: str, alias: str, revision: int, at: datetime) -> None: ...

    async def set_desired(self, name: str, revisions: frozenset[int], at: datetime) -> None: ...

    async def delete(self, name: str) -> None:
        """Forget the record; its revision numbers stay used."""


class KeyStore(Protocol):
    async def add(self, key: ApiKey) -> None: ...

    async def list(self) -> Sequence[ApiKey]: ...

    async def by_digest(self, digest: str) -> ApiKey | None: ...

    async def delete(self, key_id: str) -> bool:
        """Whether there was such a key."""


class Credentials(Protocol):
    """Cryptography of credentials; no state, no database."""

    def verify(self, token: str) -> Principal:
        """Who a JWT speaks for. Raises NotAuthenticated."""

    def sign(self, claims: Claims) -> str:
        """A JWT. Raises Unsupported where only a public key is configured."""

    def new_key(self) -> str:
        """A new API key, `tpk_` and 256 random bits."""

    def digest(self, key: str) -> str:
        """The SHA-256 of an API key, in hex."""


class Database(Protocol):
    async def check(self) -> None:
        """Raises Unavailable when the database does not answer."""


class MetricStore(Protocol):
    """Rollups of what models did."""

    async def record(self, added: Sequence[Rollup], kept: Kept) -> None:
        """Add these seconds to what is known of them and of their minutes; forget what is older than `kept`.

        One transaction.
        """

    async def total(self, model: str, revision: int | None, minutes: range, seconds: range) -> Work:
        """What a revision (None: all of the model) did in the minutes and in the seconds that begin in these spans."""


class Gpu(Protocol):
    def utilization_percent(self) -> float:
        """How busy the GPUs are; exactly 0 without one. Raises Unsupported where they cannot be asked."""


class JobStore(Protocol):
    """Records of jobs. Every method is one transaction."""

    async def create(self, job: Job, event: NewEvent) -> None: ...

    async def get(self, job_id: str) -> Job | None: ...

    async def list(self, wanted: JobFilter, page: Page) -> Paged[Job]:
        """Newest first."""

    async def unfinished(self) -> Sequence[Job]:
        """Queued and running, oldest first."""

    async def advance(self, job: Job, event: NewEvent) -> bool:
        """Record how far it is, and the event that says so, together. False, and nothing recorded, once it is over."""

    async def delete_finished(self, before: datetime) -> Sequence[str]:
        """Forget jobs that ended before then, and their events; the ids of them."""


class Events(Protocol):
    """The stream of what happened."""

    def publish(self, event: NewEvent) -> None:
        """Recorded soon, in the order of calls, and handed to who watches; never waits."""

    def watch(self, wanted: EventFilter, after: int | None = None) -> AsyncGenerator[Event, None]:
        """Those recorded after the sequence number `after` (None: only what comes now), then each as it comes.

        A slow reader slows nobody and misses nothing that is still kept. Ends when the server stops.
        """


# A step is done once: after a restart its recorded result is returned in place of doing it again.
Step = Callable[[], Awaitable[JsonObject]]


class Steps(Protocol):
    """What a running workflow does its work through."""

    @property
    def attempts(self) -> int:
        """How many servers have taken the workflow up, this one included."""

    async def step(self, name: str, work: Step) -> JsonObject:
        """Do `work`, or return what it returned when it was done before a restart.

        A workflow asks for the same steps in the same order each time it runs; `work` may run twice if the server died
        before its end was recorded. What it raises is raised here, and not recorded.
        """


Workflow = Callable[[str, Steps], Awaitable[None]]


class Durability(Protocol):
    """Runs workflows by id so that each is run to its end, whatever dies in between."""

    async def open(self, workflow: Workflow) -> None:
        """Take up what was running when the last server died; from now on `start` works. Raises Unavailable."""

    async def start(self, job_id: str) -> None:
        """Queue a job, from its last finished step on if it is known. Starting what waits or runs already is fine."""

    async def cancel(self, job_id: str) -> None:
        """Interrupt its work (CancelledError) and return when that has ended; it is not taken up again."""


@dataclass(frozen=True, slots=True)
class RecipeStatus:
    """A conversion step of the catalog. `reason`: why it cannot run on this machine."""

    name: str
    summary: str
    available: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a piece of work is: `fraction` 0..1 of all of it, and what it is at in words."""

    fraction: float
    message: str


Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a conversion made: a Triton model directory without its configuration, and how it was made.

    `record` (steps with parameters and digests, checks with values and limits, tool versions) goes into the manifest.
    """

    directory: Path
    description: Description
    record: JsonObject


class Converter(Protocol):
    """Runs conversions in child processes of the converter environment, which is made on first need.

    Raises: InvalidRequest, UnsupportedFormat for a source that cannot be converted, in one sentence;
    Unsupported when the environment cannot be made or the machine lacks something; EngineFailed.
    """

    async def prepare(self, report: Report) -> None:
        """Make the environment if it is not there yet."""

    async def convert(self, workspace: Path, request: JsonObject, report: Report) -> Conversion:
        """Run the conversion `request` (converters.contract.ConversionRequest as JSON) in a workspace.

        Interrupted, it leaves no child behind; called again, it goes on after the last finished step.
        """

    async def catalog(self) -> Sequence[RecipeStatus]: ...


class Workspaces(Protocol):
    """A folder for each job on the repository's file system: sources, intermediate files, `log.txt`, `reproduce.sh`."""

    def create(self, job_id: str) -> Path:
        """Its folder, made if need be."""

    def empty_folder(self, job_id: str, name: str) -> Path:
        """A folder of that name in it, without what an interrupted run left there."""

    def clean(self, job_id: str) -> None:
        """Delete all that is large; the log and `reproduce.sh` stay until `delete`."""

    def delete(self, job_id: str) -> None: ...

    def ids(self) -> Sequence[str]:
        """The jobs that have a folder."""

    def log_file(self, job_id: str) -> Path: ...
