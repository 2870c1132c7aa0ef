"""Is the graph well formed: onnx's own checker, and shapes that fit together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.checks.measures import Measure
from converters.checks.results import Check
from converters.formats import Artifact
from converters.recipe import OutOfTolerance

# Operators that onnxruntime put into ONNX's own domain, of which onnx knows nothing.
_MISPLACED = frozenset({"SimplifiedLayerNormalization"})
_MICROSOFT = "com.microsoft"


def check_structure(made: Artifact) -> list[Check]:
    """Raises OutOfTolerance when the graph is malformed. Operators of onnxruntime's own domains have no shape rules."""
    import onnx
    from onnx import checker, shape_inference

    # Beside the graph, whose weights may be in files of their own; by path, since no message holds over 2 GiB.
    checked, inferred = made.directory / "checked.onnx", made.directory / "inferred.onnx"
    try:
        model = onnx.load(made.graph, load_external_data=False)
        path = _in_its_place(model, made.graph, checked)
        checker.check_model(str(path))
        shape_inference.infer_shapes_path(str(path), str(inferred), check_type=True)
    except (checker.ValidationError, shape_inference.InferenceError) as error:
        raise OutOfTolerance(f"the converted graph is malformed: {str(error).splitlines()[0][:300]}") from error
    finally:
        checked.unlink(missing_ok=True)
        inferred.unlink(missing_ok=True)
    return [Check(Measure.STRUCTURE, 0.0, len(model.graph.node), limit=0.0)]


def _in_its_place(model: Any, graph: Path, copy: Path) -> Path:
    """The graph, or a copy of it with the misplaced operators in the domain that onnx does not check."""
    import onnx

    misplaced = [node for node in model.graph.node if node.op_type in _MISPLACED and not node.domain]
    if not misplaced:
        return graph
    for node in misplaced:
        node.domain = _MICROSOFT
    if all(entry.domain != _MICROSOFT for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(_MICROSOFT, 1))
    onnx.save(model, copy)
    return copy
