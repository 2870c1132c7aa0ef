"""One evaluation: both models are asked the same, the baseline only once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from converters.contract import Evaluated, EvaluationRequest, Progressed
from converters.evaluation.examination import Examination, kept
from converters.evaluation.language_models import next_tokens
from converters.evaluation.tensors import tensors
from converters.evaluation.text_encoders import texts
from converters.formats import Artifact, Format
from converters.recipe import Refused
from converters.recognition import recognize

_EXAMINATIONS: dict[Format, Callable[[Artifact, Path | None], Examination]] = {
    Format.TEXT_GENERATION: next_tokens,
    Format.TEXT_ENCODER: texts,
    Format.ONNX: tensors,
}
# Answers of baselines, which the evaluations of other candidates in the same folder find again.
_ANSWERS = "answers"


def evaluate(request: EvaluationRequest, folder: Path, emit: Callable[[Progressed], None]) -> Evaluated:
    """Raises Refused, OutOfTolerance."""
    baseline, candidate = (_model(Path(place)) for place in (request.baseline, request.candidate))
    if baseline.format not in _EXAMINATIONS:
        raise Refused(f"a model in the format {baseline.format.value} cannot be evaluated")
    if candidate.format is not baseline.format:
        raise Refused(f"the candidate is {candidate.format.value} and the baseline {baseline.format.value}")
    examination = _EXAMINATIONS[baseline.format](baseline, None if request.data is None else Path(request.data))

    def reporter(first: float, message: str) -> Callable[[float], None]:
        return lambda fraction: emit(Progressed(first + fraction / 2, message))

    before = kept(folder / _ANSWERS, examination, baseline, reporter(0.0, "asking the baseline"))
    after = examination.answers(candidate, reporter(0.5, "asking the candidate"))
    return examination.compare(before, after)


def _model(folder: Path) -> Artifact:
    if not folder.is_dir():
        raise Refused("a model to evaluate is given as the folder of its graph")
    return recognize(folder, folder)
