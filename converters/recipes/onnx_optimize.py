"""Rewrites a graph into an equal one with fewer nodes: transformer fusions first, then onnxruntime's own levels.

`extended` and `all` use operators that only onnxruntime has. `all` also lays weights out for the processor of this
machine: such a graph should be served where it was made.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from converters.contract import Facts
from converters.formats import GRAPH, GRAPHS, Format
from converters.onnx_graphs.files import WEIGHTS_FILE, attempt, changed_facts, load_graph, ordered, save_graph
from converters.recipe import Parameter, Recipe, Step
from converters.workspace import carry_companions

_LEVELS = {"basic": "ORT_ENABLE_BASIC", "extended": "ORT_ENABLE_EXTENDED", "all": "ORT_ENABLE_ALL"}
_FUSIONS = (
    "none",
    "auto",
    "bert",
    "bart",
    "gpt2",
    "gpt_neox",
    "phi",
    "qwen3",
    "t5",
    "clip",
    "vit",
    "swin",
    "conformer",
)


def run(step: Step) -> Facts:
    level, fusion = step.parameters["level"], _chosen(step.parameters["fusion"], step.source.format)
    carry_companions(step.source, step.target)
    labels = {"optimization": level}
    model = load_graph(step.source)
    if fusion != "none":
        model, labels["fused"] = _fuse(model, fusion, step.parameters["heads"], step.parameters["hidden"])
        step.report(0.5)
    if level == "none":
        save_graph(model, step.target)
    else:
        draft = step.target / "draft"
        draft.mkdir()
        _optimize(save_graph(model, draft), step.target / GRAPH, _LEVELS[level])
        shutil.rmtree(draft)
    facts = changed_facts(step.source, step.target / GRAPH)
    return replace(facts, labels={**facts.labels, **labels})


def _chosen(fusion: str, source: Format) -> str:
    if fusion != "auto":
        return fusion
    # The builder of language models fuses by itself; of a bare graph nobody knows what it is.
    return "bert" if source is Format.TEXT_ENCODER else "none"


def _fuse(model: Any, family: str, heads: int, hidden: int) -> tuple[Any, str]:
    """The fused model, and what was fused, as in 'Attention 2, LayerNormalization 5'. Raises: Refused."""
    from onnxruntime.transformers.optimizer import optimize_model

    optimized = attempt(
        f"the {family} fusions do not fit this graph",
        lambda: optimize_model(model, model_type=family, num_heads=heads, hidden_size=hidden, opt_level=0),
    )
    counts = optimized.get_fused_operator_statistics()
    fused = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if count)
    return ordered(optimized.model), fused or "nothing"


def _optimize(graph: Path, target: Path, level: str) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    if (graph.parent / WEIGHTS_FILE).exists():
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", WEIGHTS_FILE)
    attempt(
        "onnxruntime cannot optimize the graph",
        lambda: onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"]),
    )


RECIPE = Recipe(
    name="onnx_optimize",
    summary="Fuse and simplify an ONNX graph",
    gives={form: form for form in GRAPHS},
    run=run,
    parameters={
        "level": Parameter(
            "basic",
            "how far onnxruntime goes; all: for the processor of this machine, to be served on no other",
            ("none", *_LEVELS),
        ),
        "fusion": Parameter("none", "transformer fusions for a family; auto: bert for text encoders", _FUSIONS),
        "heads": Parameter(0, "attention heads, for the fusions; 0: read from the graph"),
        "hidden": Parameter(0, "hidden size, for the fusions; 0: read from the graph"),
    },
)
