"""What a config.pbtxt must say, and must not say, before Triton sees it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from control_plane.domain.errors import InvalidRequest, Unsupported
from control_plane.gateways.repository.pbtxt import InstanceKind, ModelConfig, datatype_name

ENSEMBLE = "ensemble"  # built into Triton; not one of the backend folders
INSTANCES_MAX = 64
_BACKEND_OF_PLATFORM = {
    "onnxruntime_onnx": "onnxruntime",
    "tensorrt_plan": "tensorrt",
    "pytorch_libtorch": "pytorch",
    "tensorflow_graphdef": "tensorflow",
    "tensorflow_savedmodel": "tensorflow",
}
# The file each backend opens in the version folder unless `default_model_filename` names another.
MODEL_FILES = {
    "onnxruntime": "model.onnx",
    "text_generation": "model.onnx",
    "text_encoder": "model.onnx",
    "diffusion": "diffusion.json",
    "tensorrt": "model.plan",
    "python": "model.py",
    "pytorch": "model.pt",
}
# Fields that have Triton open other people's code or kill the server, and what to do instead.
_REFUSED = {
    "model_warmup": "a warm-up that fails takes the whole Triton down; the server probes a model before it serves",
    "model_repository_agents": "agents are libraries that Triton would load; this server checks the files itself",
    "model_operations": "custom operators are libraries that Triton would load",
}
_CODE_PARAMETERS = ("EXECUTION_ENV_PATH",)


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the Triton that reads this repository can execute."""

    backends: frozenset[str]
    has_gpu: bool = False


def settle_config(config: ModelConfig, directory: str, abilities: Abilities, known: Iterable[str]) -> None:
    """Make a stranger's configuration ours: its name, its backend; what cannot work here is refused.

    `known`: the directories an ensemble may name. Raises: InvalidRequest, Unsupported.
    """
    config.name = directory
    # Triton fills it in for its own use; on another server it would name a file that is not there.
    config.ClearField("runtime")
    _refuse_fields(config)
    _settle_backend(config, abilities)
    _settle_version_policy(config)
    _check_instances(config, abilities)
    _check_steps(config, frozenset(known))


def check_tensors(config: ModelConfig) -> None:
    """Every input and output has a name, a type that the Python stubs can pass, and a shape. Raises InvalidRequest."""
    for role, tensors in (("input", config.input), ("output", config.output)):
        if not tensors:
            raise InvalidRequest(f"config.pbtxt names no {role}; it must list every {role} with data_type and dims")
        names = [tensor.name for tensor in tensors]
        for tensor in tensors:
            _check_tensor(role, tensor)
            if names.count(tensor.name) > 1:
                raise InvalidRequest(f"config.pbtxt lists the {role} {tensor.name!r} twice")
    if config.max_batch_size < 0:
        raise InvalidRequest(f"max_batch_size must be 0 or more, got {config.max_batch_size}")


def _check_tensor(role: str, tensor: Any) -> None:
    if not tensor.name:
        raise InvalidRequest(f"config.pbtxt has an {role} without a name")
    datatype = datatype_name(tensor.data_type)
    if datatype == "BF16":
        raise InvalidRequest(
            f"{role} {tensor.name!r} is BF16, which cannot pass through Triton's Python stubs; "
            "take FP32 or FP16 there and keep BF16 inside the model"
        )
    if datatype == "INVALID":
        raise InvalidRequest(f"{role} {tensor.name!r} has no data_type in config.pbtxt")
    if not tensor.dims or any(size < 1 and size != -1 for size in tensor.dims):
        raise InvalidRequest(
            f"{role} {tensor.name!r} has dims {list(tensor.dims)} in config.pbtxt; "
            "at least one is needed, each 1 or more, or -1 for any"
        )


def _refuse_fields(config: ModelConfig) -> None:
    for name, reason in _REFUSED.items():
        present = bool(getattr(config, name)) if name == "model_warmup" else config.HasField(name)
        if present:
            raise InvalidRequest(f"config.pbtxt sets {name}, which is refused: {reason}; remove it", field=name)
    for name in (config.default_model_filename, *config.cc_model_filenames.values()):
        if "/" in name or name.startswith("."):
            raise InvalidRequest(f"config.pbtxt names the model file {name!r}; it must be a plain file of the version")
    for name in _CODE_PARAMETERS:
        if name in config.parameters:
            raise InvalidRequest(f"config.pbtxt sets the parameter {name}, an environment of its own; remove it")


def _settle_backend(config: ModelConfig, abilities: Abilities) -> None:
    """`backend` alone decides; `platform` is Triton's older word for it."""
    if config.platform == ENSEMBLE or config.HasField("ensemble_scheduling"):
        config.platform, config.backend = ENSEMBLE, ""
        return
    implied = _BACKEND_OF_PLATFORM.get(config.platform, "") if config.platform else ""
    if config.platform and not implied:
        raise InvalidRequest(f"config.pbtxt names the unknown platform {config.platform!r}; say `backend` instead")
    if implied and config.backend and implied != config.backend:
        raise InvalidRequest(
            f"config.pbtxt contradicts itself: platform {config.platform!r} is not backend {config.backend!r}"
        )
    config.backend = config.backend or implied
    config.ClearField("platform")
    if not config.backend:
        raise InvalidRequest('config.pbtxt names no backend; add a line such as backend: "onnxruntime"')
    if config.backend not in abilities.backends:
        known = sorted(abilities.backends)
        raise Unsupported(
            f"this server has no backend named {config.backend[:100]!r}; it has {', '.join(known)}",
            requires=config.backend[:100],
            known=known,
        )


def _settle_version_policy(config: ModelConfig) -> None:
    if not config.HasField("version_policy"):
        return
    policy = config.version_policy
    if not policy.HasField("latest") or policy.latest.num_versions > 1:
        raise InvalidRequest(
            "config.pbtxt has a version_policy, and a revision holds one version: "
            "remove it, or say latest { num_versions: 1 }"
        )
    config.ClearField("version_policy")


def _check_instances(config: ModelConfig, abilities: Abilities) -> None:
    for group in config.instance_group:
        if not 0 <= group.count <= INSTANCES_MAX:
            raise InvalidRequest(f"instance_group count must be 1 to {INSTANCES_MAX}, got {group.count}")
        if (group.kind == InstanceKind.KIND_GPU or group.gpus) and not abilities.has_gpu:
            raise Unsupported(
                "config.pbtxt asks for KIND_GPU and this machine has no NVIDIA GPU; "
                "say KIND_CPU, or leave instance_group out",
                requires=["nvidia_gpu"],
            )


def _check_steps(config: ModelConfig, known: frozenset[str]) -> None:
    for step in config.ensemble_scheduling.step:
        if step.model_name not in known:
            raise InvalidRequest(
                f"the ensemble has a step {step.model_name[:200]!r}, which is no revision here; name a revision's "
                "directory, such as 'name--r1'",
                known=sorted(known)[:50],
            )
        if step.model_version not in (-1, 1):
            raise InvalidRequest(f"the step {step.model_name!r} asks for version {step.model_version}; say -1")
