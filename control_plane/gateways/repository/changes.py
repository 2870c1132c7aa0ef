"""The few settings of a configuration that a load may change."""

from __future__ import annotations

from control_plane.domain.errors import InvalidRequest, Unsupported
from control_plane.domain.models import LoadOptions
from control_plane.gateways.repository.configuration import ENSEMBLE, INSTANCES_MAX, Abilities
from control_plane.gateways.repository.pbtxt import InstanceKind, ModelConfig
from control_plane.gateways.repository.text_encoders import BACKEND as ENCODER
from control_plane.gateways.repository.text_models import BACKEND as TEXT

BATCH_SIZE_MAX = 4096
QUEUE_DELAY_MAX_US = 1_000_000  # a second: beyond that a caller waits for others longer than for the model
THREADS_MAX = 1024
BATCH_TOKENS_MAX = 2**20
# The model parameter that each backend reads its sessions' threads from; those of onnxruntime are the native backend's.
_THREADS = {"onnxruntime": "intra_op_thread_count", ENCODER: "threads", TEXT: "threads"}
_SPINNING, _ARENA = "session.intra_op.allow_spinning", "enable_mem_arena"
# Backends whose models run a batch as they run one row, so that the batch axis may be claimed or given up.
_SHAPE_ONLY = frozenset({"onnxruntime", "tensorrt"})


def apply_changes(config: ModelConfig, changes: LoadOptions, abilities: Abilities) -> None:
    """Raises InvalidRequest for a value out of bounds, Unsupported for what the backend or machine cannot do."""
    if changes.device is not None:
        _set_device(config, changes.device, abilities)
    if changes.instance_count is not None:
        _set_instance_count(config, changes.instance_count)
    if changes.max_batch_size is not None:
        _refuse_own_batching(config, "max_batch_size")
        _set_max_batch_size(config, changes.max_batch_size)
    if changes.queue_delay_us is not None:
        _refuse_own_batching(config, "dynamic_batching_delay_us")
        _set_queue_delay(config, changes.queue_delay_us)
    _change_session(config, changes)


def instance_count(config: ModelConfig) -> int:
    """How many copies Triton runs; a group that says nothing is one."""
    return sum(group.count or 1 for group in config.instance_group) or 1


def queue_delay_us(config: ModelConfig) -> int | None:
    if not config.HasField("dynamic_batching"):
        return None
    return int(config.dynamic_batching.max_queue_delay_microseconds)


def device(config: ModelConfig, abilities: Abilities) -> str:
    """Where Triton runs the model: KIND_AUTO, which is also what no group means, takes a GPU where there is one."""
    kinds = {group.kind for group in config.instance_group} or {InstanceKind.KIND_AUTO}
    if InstanceKind.KIND_GPU in kinds or (InstanceKind.KIND_AUTO in kinds and abilities.has_gpu):
        return "cuda"
    return "cpu"


def _set_device(config: ModelConfig, wanted: str, abilities: Abilities) -> None:
    if wanted not in ("cpu", "cuda"):
        raise InvalidRequest(f"device must be cpu or cuda, got {wanted[:50]!r}", field="device")
    if wanted == "cuda" and not abilities.has_gpu:
        raise Unsupported("this machine has no NVIDIA GPU", requires=["nvidia_gpu"])
    if device(config, abilities) == wanted:
        return
    count = instance_count(config)
    del config.instance_group[:]
    config.instance_group.add(kind=InstanceKind.KIND_GPU if wanted == "cuda" else InstanceKind.KIND_CPU, count=count)


def _set_instance_count(config: ModelConfig, count: int) -> None:
    _within("instance_count", count, 1, INSTANCES_MAX)
    if config.platform == ENSEMBLE:
        raise _misplaced("instance_count", "an ensemble has no instances of its own; set it on its steps")
    if not config.instance_group:
        config.instance_group.add()
    if len(config.instance_group) > 1:
        raise _misplaced("instance_count", "this model has several instance groups; import it with the counts you want")
    config.instance_group[0].count = count


def _set_max_batch_size(config: ModelConfig, size: int) -> None:
    _within("max_batch_size", size, 0, BATCH_SIZE_MAX)
    if bool(size) != bool(config.max_batch_size):
        _move_batch_axis(config, claim=bool(size))
    config.max_batch_size = size
    if config.HasField("dynamic_batching"):
        preferred = config.dynamic_batching.preferred_batch_size
        preferred[:] = [wanted for wanted in preferred if wanted <= size]


def _move_batch_axis(config: ModelConfig, *, claim: bool) -> None:
    """With batching Triton keeps the first axis to itself; without, it is an axis of every tensor."""
    if config.backend not in _SHAPE_ONLY:
        raise _misplaced("max_batch_size", f"a {config.backend} model decides itself whether it takes batches")
    for tensor in (*config.input, *config.output):
        if tensor.HasField("reshape") or (claim and (len(tensor.dims) < 2 or tensor.dims[0] != -1)):
            raise _misplaced("max_batch_size", f"the first axis of {tensor.name!r} is not free")
        tensor.dims[:] = tensor.dims[1:] if claim else [-1, *tensor.dims]
    if claim:
        config.dynamic_batching.SetInParent()
    else:
        config.ClearField("dynamic_batching")


def _set_queue_delay(config: ModelConfig, delay_us: int) -> None:
    _within("dynamic_batching_delay_us", delay_us, 0, QUEUE_DELAY_MAX_US)
    if not config.max_batch_size:
        raise _misplaced("dynamic_batching_delay_us", "without batches nothing waits; set max_batch_size first")
    config.dynamic_batching.max_queue_delay_microseconds = delay_us
    config.dynamic_batching.SetInParent()


def _change_session(config: ModelConfig, changes: LoadOptions) -> None:
    """What is told to onnxruntime, through the parameters of the model."""
    if changes.threads is not None:
        _within("threads", changes.threads, 0, THREADS_MAX)
        _set_parameter(config, "threads", _THREADS.get(config.backend, ""), str(changes.threads))
    if changes.spinning is not None:
        _set_parameter(config, "spinning", _SPINNING, str(int(changes.spinning)))
    if changes.memory_arena is not None:
        _set_parameter(config, "memory_arena", _ARENA, str(int(changes.memory_arena)))
    if changes.max_batch_tokens is not None:
        _within("max_batch_tokens", changes.max_batch_tokens, 1, BATCH_TOKENS_MAX)
        if config.backend != ENCODER:
            raise _misplaced("max_batch_tokens", "only a text encoder counts the tokens of a batch")
        config.parameters["max_batch_tokens"].string_value = str(changes.max_batch_tokens)


def _set_parameter(config: ModelConfig, name: str, parameter: str, value: str) -> None:
    if config.backend not in _THREADS:
        ran_by = "an ensemble" if config.platform == ENSEMBLE else f"the {config.backend} backend"
        raise _misplaced(name, f"{ran_by} opens no session of onnxruntime")
    config.parameters[parameter].string_value = value


def _refuse_own_batching(config: ModelConfig, name: str) -> None:
    if config.backend == TEXT:
        raise _misplaced(name, "a text model batches its requests by itself, token by token")
    if config.platform == ENSEMBLE:
        raise _misplaced(name, "an ensemble has no batches of its own; set it on its steps")
    if config.HasField("sequence_batching"):
        raise _misplaced(name, "this model batches by sequence")


def _misplaced(name: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"{name} does not apply to this model: {reason}", field=name)


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidRequest(f"{name} must be {low} to {high}, got {value}", field=name)
