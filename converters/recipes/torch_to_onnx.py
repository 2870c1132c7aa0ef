"""A torch module in TorchScript or torch.export form becomes an ONNX graph; nothing is unpickled to do so.

TorchScript goes through torch's tracing exporter (the other one does not take script modules), torch.export programs
through the exporter of their own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from converters.contract import Facts, TensorFact
from converters.formats import GRAPH, TORCH_FILES, Format
from converters.onnx_graphs.files import facts_of, first_line
from converters.recipe import Parameter, Recipe, Refused, Step
from converters.samples.tensors import AXIS, BATCH, DTYPES, sample

_BATCH_AXIS = "batch"
# What numpy and torch both take, and 2 GiB of random numbers.
_AXES_MAX, _VALUES_MAX = 32, 2**28
_HOW = "give each with --input NAME:DATATYPE:SHAPE, as in --input x:FP32:-1,16 (-1: chosen by the caller)"
# The symbols torch.export gives to free axes.
_SYMBOL = re.compile(r"\b[a-z]{1,4}\d+\b")


def run(step: Step) -> Facts:
    file = step.source.directory / TORCH_FILES[step.source.format.value]
    target = step.target / GRAPH
    if step.source.format is Format.TORCHSCRIPT:
        _script_to_onnx(file, step.inputs, target, step.parameters["opset"])
    else:
        _program_to_onnx(file, target, step.parameters["opset"])
    step.report(0.8)
    _tidy(target)
    return facts_of(target, step.source.facts)


def _script_to_onnx(file: Path, inputs: Sequence[TensorFact], target: Path, opset: int) -> None:
    import torch

    from converters.torch_modules.calls import runner
    from converters.torch_modules.torchscript import open_torchscript

    module = open_torchscript(file)
    check_inputs(inputs, [argument.name for argument in module.forward.schema.arguments[1:]])
    axes, outputs = _axes(runner(module), inputs)
    arrays = sample(inputs)
    _export(
        module,
        tuple(torch.from_numpy(array) for array in arrays.values()),
        target,
        dynamo=False,
        input_names=[fact.name for fact in inputs],
        output_names=outputs,
        dynamic_axes=axes,
        opset_version=opset,
    )


def check_inputs(inputs: Sequence[TensorFact], arguments: Sequence[str]) -> None:
    """Raises Refused unless the inputs can be those of a module that takes `arguments`."""
    if not inputs:
        raise Refused(f"a TorchScript file does not say its inputs: {_HOW}", arguments=list(arguments))
    if len(inputs) > len(arguments):
        raise Refused(f"the module takes {len(arguments)} inputs ({', '.join(arguments)}), {len(inputs)} were given")
    names = [fact.name for fact in inputs]
    for fact in inputs:
        if not re.fullmatch(r"[A-Za-z_]\w*", fact.name, re.ASCII) or names.count(fact.name) > 1:
            raise Refused(f"the input name {fact.name!r} must be a word of letters and digits that occurs once")
        if fact.datatype not in DTYPES:
            raise Refused(f"the input {fact.name} must have one of the types {', '.join(DTYPES)}, not {fact.datatype}")
        if not fact.shape or any(size < 1 and size != -1 for size in fact.shape):
            raise Refused(f"the shape of input {fact.name} must be sizes of at least 1, or -1; got {list(fact.shape)}")
        if len(fact.shape) > _AXES_MAX or math.prod(AXIS if size == -1 else size for size in fact.shape) > _VALUES_MAX:
            raise Refused(
                f"the input {fact.name} is too large to be tried: at most {_AXES_MAX} sizes and {_VALUES_MAX} values "
                f"are, with {AXIS} for each -1"
            )


def _axes(run_module: Any, inputs: Sequence[TensorFact]) -> tuple[dict[str, dict[int, str]], list[str]]:
    """Names of all free axes, and of the outputs: an output's axis is free when it follows one of the inputs'."""
    plain = run_module(sample(inputs))
    wider = run_module(sample(inputs, batch=BATCH + 1))
    longer = run_module(sample(inputs, axis=2 * AXIS))
    names = [_output_name(position, len(plain)) for position in range(len(plain))]
    axes = {
        fact.name: {axis: _axis_name(fact.name, axis) for axis, size in enumerate(fact.shape) if size == -1}
        for fact in inputs
    }
    for name, first, second, third in zip(names, plain, wider, longer, strict=True):
        axes[name] = {
            axis: _axis_name(name, axis)
            for axis, sizes in enumerate(zip(first.shape, second.shape, third.shape, strict=True))
            if len(set(sizes)) > 1
        }
    return axes, names


def _axis_name(tensor: str, axis: int) -> str:
    return _BATCH_AXIS if axis == 0 else f"{tensor}_axis{axis}"


def _output_name(position: int, count: int) -> str:
    return "output" if count == 1 else f"output_{position}"


def _program_to_onnx(file: Path, target: Path, opset: int) -> None:
    from converters.torch_modules.torch_export import open_exported

    program = open_exported(file)
    count = len(program.graph_signature.user_outputs)
    names = [_output_name(position, count) for position in range(count)]
    _export(
        program, (), target, dynamo=True, output_names=names, opset_version=opset, external_data=False, verbose=False
    )


def _export(module: Any, arguments: tuple[Any, ...], target: Path, **options: Any) -> None:
    import torch

    try:
        torch.onnx.export(module, arguments, str(target), **options)
    except (
        *(RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError),
        *(NotImplementedError, torch.onnx.errors.OnnxExporterError),
    ) as error:
        raise Refused(f"torch cannot export the module to ONNX: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The innermost cause: the outer ones are advice on debugging."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


def _tidy(graph: Path) -> None:
    """Free axes get the names that are read as a batch and no batch; notes of the exporter are dropped."""
    import onnx

    model = onnx.load(graph)
    del model.graph.value_info[:], model.graph.metadata_props[:], model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    tensors = [*model.graph.input, *model.graph.output]
    names = _symbol_names(tensors)
    for tensor in tensors:
        del tensor.metadata_props[:]
        for size in tensor.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = _SYMBOL.sub(lambda found: names.get(found.group(0), found.group(0)), size.dim_param)
    onnx.save(model, graph)


def _symbol_names(tensors: Sequence[Any]) -> Mapping[str, str]:
    """What the symbols of torch.export are called instead, by the axis where each is seen first."""
    names: dict[str, str] = {}
    for tensor in tensors:
        for axis, size in enumerate(tensor.type.tensor_type.shape.dim):
            if _SYMBOL.fullmatch(size.dim_param):
                taken = axis == 0 and _BATCH_AXIS in names.values()
                names.setdefault(
                    size.dim_param, f"{tensor.name}_axis{axis}" if taken else _axis_name(tensor.name, axis)
                )
    return names


RECIPE = Recipe(
    name="torch_to_onnx",
    summary="Export a TorchScript or torch.export module to ONNX",
    gives={Format.TORCHSCRIPT: Format.ONNX, Format.TORCH_EXPORT: Format.ONNX},
    run=run,
    parameters={"opset": Parameter(20, "version of the ONNX operators")},
)
