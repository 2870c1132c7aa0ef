"""Models, their immutable revisions, the aliases that point at them, and the state each is in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from control_plane.domain.references import STABLE, public_reference


class ModelKind(StrEnum):
    """The wire's `model_type`."""

    TRANSFORMER = "transformer"  # causal language model: text in, a stream of tokens out
    DIFFUSION = "diffusion"
    HYBRID = "hybrid"
    GENERIC = "generic"  # any other tensor model (our extension)


class ModelState(StrEnum):
    """What we say of a model or revision; Triton's own word is only one of the witnesses."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    LOADED = "loaded"
    OPTIMIZING = "optimizing"  # loaded, and a job works on it
    UNLOADING = "unloading"
    DEGRADED = "degraded"  # answers, but slowly or not with all instances
    DEAD = "dead"  # Triton may say READY, but the probe fails; being healed
    FAILED = "failed"  # the last load failed; see `last_error`

    @property
    def serves(self) -> bool:
        """Whether new requests are sent to it; one that is unloading only finishes those it has."""
        return self in (ModelState.LOADED, ModelState.OPTIMIZING, ModelState.DEGRADED)


class HealthStatus(StrEnum):
    """What the last probe inference of a revision showed."""

    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    DEAD = "DEAD"
    UNKNOWN = "UNKNOWN"  # not loaded, or nothing to probe it with


@dataclass(frozen=True, slots=True)
class Health:
    status: HealthStatus = HealthStatus.UNKNOWN
    since: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model. -1 in `shape` is a size the caller chooses; the batch axis is included."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives. `max_batch_size` 0: no batch axis that Triton may use."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int = 0
    is_decoupled: bool = False


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file of a revision. `path` is relative to its directory."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Description:
    """What is said of a model beyond its config.pbtxt. Numbers are counted, or None.

    `classes`: what may be asked for by label of a model that draws images.
    """

    kind: ModelKind = ModelKind.GENERIC
    tasks: tuple[str, ...] = ()
    parameters: int | None = None
    dtype: str | None = None
    context_length: int | None = None
    is_internal: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()


def description_from_json(fields: Mapping[str, Any]) -> Description:
    """Of `dataclasses.asdict`, after JSON has made lists of its tuples."""
    tuples = {name: tuple(fields.get(name, ())) for name in ("tasks", "classes")}
    return Description(**{**fields, "kind": ModelKind(fields["kind"]), **tuples})


@dataclass(frozen=True, slots=True)
class Revision:
    """One immutable Triton model directory of a model; its provenance manifest, read back.

    `directory` is the model's name inside Triton. `digest` is over all artifacts. `device` is cpu or cuda.
    `instance_count` and `queue_delay_us` (microseconds; None without dynamic batching) are read from config.pbtxt.
    `conversion`: how a conversion made it (steps, checks, tools); None for what was imported as it is.
    `parts`: directories of the revisions that a pipeline calls inside Triton.
    `generates_text`: it speaks the text interface (contract 0.7), a prompt in, a stream of tokens out.
    `draws_images`: it speaks that of images, a seed, and a text perhaps, in, steps and PNG images out.
    Both follow from the signature; they are asked for with every request, and looking through it takes 2 us.
    """

    model: str
    number: int
    directory: str
    backend: str
    device: str
    signature: Signature
    description: Description
    artifacts: tuple[Artifact, ...]
    digest: str
    source: str
    created_at: datetime
    created_by: str
    instance_count: int = 1
    queue_delay_us: int | None = None
    conversion: dict[str, object] | None = None
    parts: tuple[str, ...] = ()
    generates_text: bool = field(init=False, repr=False, compare=False)
    draws_images: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        takes = {spec.name for spec in self.signature.inputs}
        gives = {spec.name for spec in self.signature.outputs}
        is_decoupled = self.signature.is_decoupled
        is_text = is_decoupled and takes == {"text_input"} and "text_output" in gives
        is_image = is_decoupled and {"seed"} <= takes <= {"seed", "text_input"} and "images" in gives
        object.__setattr__(self, "generates_text", is_text)
        object.__setattr__(self, "draws_images", is_image)

    def in_public_words(self, text: str) -> str:
        """Triton's words about this revision as its callers know it: `name:N` for a directory's name, parts' too."""
        for part in self.parts:
            text = text.replace(part, public_reference(part))
        return text.replace(self.directory, f"{self.model}:{self.number}")

    @property
    def takes_cancel(self) -> bool:
        """Whether another request can end an answer: of several instances it might reach one that does not give it."""
        return self.backend in ("text_generation", "diffusion") and self.instance_count == 1

    @property
    def takes_prompt(self) -> bool:
        """Whether it has a text input."""
        return any(spec.name == "text_input" for spec in self.signature.inputs)

    @property
    def size_bytes(self) -> int:
        return sum(artifact.size_bytes for artifact in self.artifacts)


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """What the database keeps of a model. `desired`: revisions that are to be loaded, whatever happens."""

    name: str
    created_at: datetime
    updated_at: datetime
    is_builtin: bool = False
    aliases: dict[str, int] = field(default_factory=dict)
    desired: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class RevisionStatus:
    """A revision and how it is doing now. Units: `memory_bytes` is the resident size of its stub process."""

    revision: Revision
    state: ModelState
    health: Health = Health()
    last_error: str | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A model as clients see it: its record and the status of every revision, lowest number first."""

    record: ModelRecord
    revisions: tuple[RevisionStatus, ...]

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def stable(self) -> RevisionStatus:
        """The revision that a bare name means."""
        number = self.record.aliases[STABLE]
        return next(status for status in self.revisions if status.revision.number == number)


@dataclass(frozen=True, slots=True)
class ModelFilter:
    """Which models a list holds. `states` empty means all."""

    kind: ModelKind | None = None
    states: frozenset[ModelState] = frozenset()
    with_internal: bool = False


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What a load may set. None leaves the revision's own value; anything set makes a new revision.

    Units: `timeout_s` seconds, `queue_delay_us` microseconds. Of onnxruntime's sessions: `threads` (0: one a core),
    `spinning` (a thread that waits keeps its core), `memory_arena`. `max_batch_tokens`: a text encoder's.
    """

    timeout_s: float = 300
    device: str | None = None
    dtype: str | None = None
    backend: str | None = None
    instance_count: int | None = None
    max_batch_size: int | None = None
    queue_delay_us: int | None = None
    threads: int | None = None
    spinning: bool | None = None
    memory_arena: bool | None = None
    max_batch_tokens: int | None = None

    @property
    def changes_config(self) -> bool:
        changes = (
            self.instance_count,
            self.max_batch_size,
            self.queue_delay_us,
            self.threads,
            self.spinning,
            self.memory_arena,
            self.max_batch_tokens,
        )
        return any(value is not None for value in changes)
