"""A torch.export program becomes a TorchScript module, by compiling the code of its graph.

It is not traced: a trace takes the sizes that a program reads off its inputs for numbers that never change.
"""

from __future__ import annotations

import warnings
from typing import Any

from converters.contract import Facts
from converters.formats import TORCH_FILES, Format
from converters.onnx_graphs.files import first_line
from converters.recipe import Recipe, Step, UnsupportedSource
from converters.torch_modules.torch_export import open_exported


def run(step: Step) -> Facts:
    """Raises: Refused, UnsupportedSource."""
    import torch

    program = open_exported(step.source.directory / TORCH_FILES["torch_export"])
    step.report(0.3)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of its age
            module = torch.jit.script(_plain_module(program))
            torch.jit.save(module, step.target / TORCH_FILES["torchscript"])
    except (
        *(RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError),
        *(NotImplementedError, torch.jit.frontend.FrontendError),
    ) as error:
        raise UnsupportedSource(f"torch cannot compile this program as TorchScript: {first_line(error)}") from error
    weights = [parameter for parameter in program.state_dict.values() if parameter.is_floating_point()]
    return Facts(parameters=sum(weight.numel() for weight in weights), dtype=_dtype(weights))


def _plain_module(program: Any) -> Any:
    """The program without checks of its inputs, in words that TorchScript knows: tensors in, tensors out."""
    import torch
    from torch import fx

    module = program.module(check_guards=False)
    graph = module.graph
    for node in list(graph.nodes):
        if node.op == "call_module":  # what checks the inputs
            graph.erase_node(node)
        elif node.target is torch.ops.aten.sym_size.int:
            with graph.inserting_before(node):
                size = graph.call_method("size", node.args)
            node.replace_all_uses_with(size)
            graph.erase_node(node)
        elif node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            node.target = node.target.overloadpacket
    output = next(node for node in graph.nodes if node.op == "output")
    if len(output.args[0]) == 1:
        output.args = (output.args[0][0],)
    graph.set_codegen(fx.graph.CodeGen())  # inputs and outputs one by one, however they were nested
    graph.lint()
    return fx.GraphModule(module, graph)


def _dtype(weights: list[Any]) -> str | None:
    return str(weights[0].dtype).removeprefix("torch.") if weights else None


RECIPE = Recipe(
    name="torch_export_to_torchscript",
    summary="Compile a torch.export program as a TorchScript module",
    gives={Format.TORCH_EXPORT: Format.TORCHSCRIPT},
    run=run,
)
