"""Is the graph well formed: onnx's own checker, and shapes that fit together."""

from __future__ import annotations

from converters.checks.results import Check
from converters.formats import Artifact
from converters.recipe import OutOfTolerance


def check_structure(made: Artifact) -> list[Check]:
    """Raises OutOfTolerance when the graph is malformed. Operators of onnxruntime's own domains have no shape rules."""
    import onnx
    from onnx import checker, shape_inference

    try:
        checker.check_model(str(made.graph))
        # By path: a graph over 2 GiB has its weights beside it, and no message can hold them.
        inferred = made.directory / "inferred.onnx"
        shape_inference.infer_shapes_path(str(made.graph), str(inferred), check_type=True)
        inferred.unlink()
        nodes = len(onnx.load(made.graph, load_external_data=False).graph.node)
    except (checker.ValidationError, shape_inference.InferenceError) as error:
        raise OutOfTolerance(f"the converted graph is malformed: {str(error).splitlines()[0][:300]}") from error
    return [Check("structure", 0.0, nodes)]
