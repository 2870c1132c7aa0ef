"""Builds a TensorRT engine of a graph. TensorRT-RTX does so without a GPU; running an engine needs one.

The network is strongly typed: it computes in the types that the graph has. So `fp16` rewrites the graph first, and
`int8` wants one that is quantized already, with the pairs that onnx_static_int8 makes for_engine tensorrt.
Two engines of one graph differ in their bytes, so `reproduce.sh` makes an equal one and not the same.
An engine of tensorrt_rtx is opened by that library alone, not by Triton's tensorrt_plan backend.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from converters.contract import Facts, TensorFact
from converters.formats import GRAPH, Format
from converters.onnx_graphs.files import changed_facts, first_line, load_graph, node_types, save_graph
from converters.recipe import Parameter, Recipe, Refused, Step
from converters.recipes.onnx_half import to_fp16
from converters.tensorrt.library import RTX, compute_capabilities, lacks, open_library
from converters.tensorrt.profiles import Shapes, Sizes, profile
from converters.workspace import carry_companions

PLAN, TIMINGS = "model.plan", "timing.cache"


def run(step: Step) -> Facts:
    library = open_library(step.parameters["library"])
    sizes = Sizes.of(step.parameters)
    capability = _capability(library, step.parameters["compute_capability"])
    model = _in_precision(load_graph(step.source), step.parameters["precision"])
    carry_companions(step.source, step.target)
    graph = save_graph(model, step.target)
    step.report(0.2)
    engine = Builder(library)
    engine.parse(graph)
    shapes = profile(engine.inputs(), sizes, step.parameters["profile"])
    settings = Settings(capability, step.parameters["workspace_mib"], step.parameters["precision"] == "tf32")
    timings = Timings(step.target / TIMINGS) if step.parameters["timing_cache"] else None
    (step.target / PLAN).write_bytes(engine.build(shapes, settings, timings))
    facts = changed_facts(step.source, graph)
    for left in step.target.glob(f"{GRAPH}*"):
        left.unlink()
    labels = {
        "engine_library": f"{library.__name__} {library.__version__}",
        "compute_capability": capability or _default_capability(library),
        "engine_precision": step.parameters["precision"],
    }
    return replace(facts, labels={**facts.labels, **labels})


def _capability(library: Any, asked: str) -> str | None:
    """As in SM89; None: what the library builds for by itself. Raises: Refused."""
    if asked == "auto":
        return None
    known = compute_capabilities(library)
    if asked not in known:
        builds = f"builds for {', '.join(known)}" if known else "builds for the GPU of this machine only: auto"
        raise Refused(f"compute_capability {asked!r} is not among those of {library.__name__}; it {builds}")
    return asked


def _default_capability(library: Any) -> str:
    # RTX finishes its kernels on the GPU that opens the engine; TensorRT has measured them where it was built.
    return "chosen by tensorrt_rtx" if library.__name__ == RTX else "of the GPU that built it"


def _in_precision(model: Any, precision: str) -> Any:
    is_quantized = node_types(model)["QuantizeLinear"] > 0
    if precision == "int8" and not is_quantized:
        raise Refused(
            "int8 engines are built of a quantized graph: run onnx_static_int8 with for_engine tensorrt before"
        )
    if precision == "fp16":
        return to_fp16(model, [])
    return model


@dataclass(frozen=True, slots=True)
class Settings:
    """`capability` None: what the library builds for by itself. `workspace_mib` 0: its default. `tf32`: products of
    FP32 matrices are rounded to 10 bits behind the point, which TensorRT does by itself if it is not told."""

    capability: str | None
    workspace_mib: int
    tf32: bool


@dataclass(frozen=True, slots=True)
class Timings:
    """How fast each kernel was, in a file beside the engine: a build that finds it there measures nothing anew."""

    file: Path

    def open(self, settings: Any) -> None:
        """Raises: Refused."""
        cache = settings.create_timing_cache(self.file.read_bytes() if self.file.is_file() else b"")
        if cache is None or not settings.set_timing_cache(cache, False):
            raise Refused(f"{self.file.name} is not a timing cache of this library and GPU: remove it")

    def keep(self, settings: Any) -> None:
        content = bytes(settings.get_timing_cache().serialize())
        # What was carried here is a link to the source's.
        self.file.unlink(missing_ok=True)
        self.file.write_bytes(content)


class Builder:
    """A network and what becomes of it. What the library logs last goes into the refusals."""

    def __init__(self, library: Any) -> None:
        self._library, self._errors = library, _collecting(library)
        self._builder = library.Builder(self._errors)
        flags = library.NetworkDefinitionCreationFlag
        self._network = self._builder.create_network(1 << int(flags.STRONGLY_TYPED))

    def parse(self, graph: Path) -> None:
        """Raises: Refused naming the node that the library does not take."""
        parser = self._library.OnnxParser(self._network, self._errors)
        if not parser.parse_from_file(str(graph)):
            raise Refused(_parser_error(parser, self._errors.last))

    def inputs(self) -> tuple[TensorFact, ...]:
        tensors = [self._network.get_input(position) for position in range(self._network.num_inputs)]
        return tuple(TensorFact(tensor.name, tensor.dtype.name, tuple(tensor.shape)) for tensor in tensors)

    def build(self, shapes: Mapping[str, Shapes], asked: Settings, timings: Timings | None) -> bytes:
        """Raises: Refused."""
        settings = self._settings(shapes, asked)
        if timings is not None:
            timings.open(settings)
        plan = self._builder.build_serialized_network(self._network, settings)
        if plan is None:
            reason = self._errors.last or "it does not say why"
            raise Refused(f"{self._library.__name__} cannot build the engine: {reason}")
        if timings is not None:
            timings.keep(settings)
        return bytes(plan)

    def _settings(self, shapes: Mapping[str, Shapes], asked: Settings) -> Any:
        library, settings = self._library, self._builder.create_builder_config()
        (settings.set_flag if asked.tf32 else settings.clear_flag)(library.BuilderFlag.TF32)
        if asked.workspace_mib:
            settings.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, asked.workspace_mib * 2**20)
        if shapes:
            optimization = self._builder.create_optimization_profile()
            for name, (least, best, most) in shapes.items():
                optimization.set_shape(name, least, best, most)
            settings.add_optimization_profile(optimization)
        if asked.capability is not None:
            settings.num_compute_capabilities = 1
            settings.set_compute_capability(getattr(library.ComputeCapability, asked.capability), 0)
        return settings


def _collecting(library: Any) -> Any:
    """A logger that keeps the last error instead of printing it."""

    class Errors(library.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.last = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (library.ILogger.Severity.ERROR, library.ILogger.Severity.INTERNAL_ERROR):
                self.last = first_line(ValueError(message))

    return Errors()


def _parser_error(parser: Any, logged: str) -> str:
    if not parser.num_errors:
        return f"the engine's parser does not take the graph: {logged or 'it does not say why'}"
    error = parser.get_error(0)
    where = f"node {error.node_name()!r} ({error.node_operator()})" if error.node_operator() else "the graph"
    # Of an operator that it does not know at all, the parser says that a condition of its own code is "false".
    why = first_line(ValueError(error.desc()))
    return f"the engine's parser does not take {where}: {'no such operator' if why in ('false', 'ValueError') else why}"


RECIPE = Recipe(
    name="onnx_to_tensorrt",
    summary="Build a TensorRT engine of an ONNX graph",
    gives={Format.ONNX: Format.TENSORRT, Format.TEXT_ENCODER: Format.TENSORRT},
    run=run,
    parameters={
        "library": Parameter(
            "auto", "auto: tensorrt where it and a GPU are, else tensorrt_rtx", ("auto", "tensorrt", RTX)
        ),
        "precision": Parameter(
            "source",
            "source, fp32: the graph's own types; tf32: the same with rounded products; int8: a quantized graph",
            ("source", "fp32", "tf32", "fp16", "int8"),
        ),
        "compute_capability": Parameter(
            "auto", "for which GPUs, as in SM89; auto: all of RTX, or the GPU that is here"
        ),
        "batch_min": Parameter(1, "smallest batch"),
        "batch_opt": Parameter(8, "batch that it is made fastest for"),
        "batch_max": Parameter(32, "largest batch"),
        "axis_min": Parameter(1, "smallest size of the other free axes"),
        "axis_opt": Parameter(128, "their size that it is made fastest for"),
        "axis_max": Parameter(512, "their largest size"),
        "profile": Parameter("", "shapes of single inputs, as in x=1x16:8x16:32x16;y=1:8:32"),
        "timing_cache": Parameter(False, f"keep how fast each kernel was in {TIMINGS}, and use one that is there"),
        "workspace_mib": Parameter(0, "memory for the kernels' scratch space; 0: the library's default"),
    },
    lacks=lacks,
)
