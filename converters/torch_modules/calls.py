"""A torch artifact as a function from arrays to arrays, which is what its conversions are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from converters.formats import TORCH_FILES, Artifact, Format
from converters.onnx_graphs.files import first_line
from converters.recipe import Refused
from converters.torch_modules.torch_export import open_exported
from converters.torch_modules.torchscript import open_torchscript

Run = Callable[[Mapping[str, Any]], list[Any]]


def open_torch(artifact: Artifact) -> Run:
    """Takes arrays by name, in the order of the module's own inputs; gives its outputs in theirs. Raises: Refused."""
    file = artifact.directory / TORCH_FILES[artifact.format.value]
    if artifact.format is Format.TORCHSCRIPT:
        return runner(open_torchscript(file))
    exported = open_exported(file)
    return runner(exported.module(), exported.call_spec.in_spec)


def runner(module: Any, in_spec: Any = None) -> Run:
    """`in_spec`: how an exported module arranges its flat inputs; None: one after the other."""
    import torch
    from torch.utils import _pytree as pytree

    def run(arrays: Mapping[str, Any]) -> list[Any]:
        flat = [torch.from_numpy(array) for array in arrays.values()]
        args, kwargs = (flat, {}) if in_spec is None else pytree.tree_unflatten(flat, in_spec)
        try:
            with torch.inference_mode():
                answer = module(*args, **kwargs)
        except (RuntimeError, TypeError, ValueError, IndexError, AssertionError, torch.jit.Error) as error:
            raise Refused(f"the module does not take such inputs: {_reason(error)}") from error
        outputs = pytree.tree_leaves(answer)
        if not outputs or not all(isinstance(output, torch.Tensor) for output in outputs):
            raise Refused("the module must give tensors: one, or a tuple, list or dict of them")
        return [output.detach().to(torch.float32 if output.dtype is torch.bfloat16 else output.dtype).numpy()
                for output in outputs]  # fmt: skip

    return run


def _reason(error: BaseException) -> str:
    """TorchScript tells where in the program it failed first, and what failed last."""
    lines = [line for line in str(error).splitlines() if "Error: " in line or "Exception: " in line]
    return lines[-1].strip()[:300] if lines else first_line(error)
