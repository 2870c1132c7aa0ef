"""Does a TorchScript module answer as the model it was made of, on inputs of several shapes?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from converters.checks.measures import Measure, max_difference
from converters.checks.results import FP32_DIFFERENCE_MAX, Check
from converters.formats import TORCH_FILES, Artifact, Format
from converters.recipe import OutOfTolerance, Refused
from converters.torch_modules.calls import Run, runner
from converters.torch_modules.torchscript import open_torchscript

# Other shapes than the one that a module is traced with, so that a size which became a constant is found.
_TEXTS = ((1, 5), (3, 24))
_SIZES = (3, 5)


@dataclass(frozen=True, slots=True)
class Trial:
    """What the source answers to arrays. `is_real`: which places of the answers count; None: all."""

    expected: Run
    arrays: Mapping[str, Any]
    is_real: Any = None

    def answers(self, run: Run) -> list[Any]:
        found = [answer if self.is_real is None else answer[self.is_real] for answer in run(self.arrays)]
        return [answer.astype("float64") for answer in found]


def check_torchscript(original: Artifact, made: Artifact) -> list[Check]:
    """Raises: OutOfTolerance, Refused."""
    given = runner(open_torchscript(made.directory / TORCH_FILES["torchscript"]))
    trials = _program_trials(original) if original.format is Format.TORCH_EXPORT else _text_trials(original)
    differences, rows = [], 0
    for trial in trials:
        references = trial.answers(trial.expected)
        try:
            answers = trial.answers(given)
        except Refused as error:
            raise OutOfTolerance(f"the TorchScript module refuses what its source takes: {error}") from error
        if [one.shape for one in references] != [one.shape for one in answers]:
            raise OutOfTolerance("the TorchScript module gives other shapes than its source")
        differences += [max_difference(*pair) for pair in zip(references, answers, strict=True)]
        rows += max(len(one) if one.ndim else 1 for one in references)
    return [Check(Measure.MAX_DIFFERENCE, max(differences), rows, limit=FP32_DIFFERENCE_MAX)]


def _text_trials(original: Artifact) -> Iterator[Trial]:
    from converters.torch_modules.hugging_face import open_text_module

    text = open_text_module(original)
    expected = runner(text.module)
    for rows, tokens in _TEXTS:
        arrays = {name: tensor.numpy() for name, tensor in text.sample(rows, tokens).items()}
        # A language model answers at each token, and its answers to padding mean nothing.
        is_real = arrays["attention_mask"].astype(bool) if original.format is Format.CAUSAL_LM else None
        yield Trial(expected, arrays, is_real)


def _program_trials(original: Artifact) -> Iterator[Trial]:
    from converters.torch_modules.torch_export import open_exported

    program = open_exported(original.directory / TORCH_FILES["torch_export"])
    expected = runner(program.module(), program.call_spec.in_spec)
    for size in _SIZES:
        yield Trial(expected, sample_program(program, size))


def sample_program(program: Any, size: int) -> dict[str, Any]:
    """An array for each input of a torch.export program; its free sizes are `size`, or as near as they may be.

    Raises: Refused.
    """
    from converters.contract import TensorFact
    from converters.samples.tensors import DTYPES, sample

    names = {numpy_name: name for name, numpy_name in DTYPES.items()}
    free = {symbol: _within(size, span) for symbol, span in program.range_constraints.items()}
    values: dict[str, Any] = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    facts = []
    for name in program.graph_signature.user_inputs:
        value = values[name]
        if not hasattr(value, "shape"):
            raise Refused(f"the program's input {name!r} is no tensor")
        dtype = str(value.dtype).removeprefix("torch.")
        if dtype not in names:
            raise Refused(f"the program's input {name!r} is {dtype}: such inputs cannot be tried")
        facts.append(TensorFact(name, names[dtype], tuple(_size(one, free) for one in value.shape)))
    return sample(facts)


def _within(size: int, span: Any) -> int:
    if size in span:
        return size
    return int(span.lower if size < span.lower else span.upper)


def _size(size: Any, free: Mapping[Any, int]) -> int:
    """A size may be an expression, such as twice another one."""
    return size if isinstance(size, int) else int(size.node.expr.subs(free))
