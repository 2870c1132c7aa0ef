"""Samples and accuracies through the gateway, made by real children of the real converter environment."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from control_plane.domain.errors import EngineFailed, InvalidRequest, Unsupported
from control_plane.domain.optimization import Accuracy
from control_plane.domain.tensors import Tensor, unpack
from control_plane.gateways.processes.children import Ended
from control_plane.gateways.processes.conversions import ConverterRunner
from control_plane.gateways.processes.outcomes import accuracy_of, catalog_of, conversion_of, samples_of
from control_plane.ports import Progress
from converters.contract import Cataloged, Converted, Evaluated, Event, Facts, Failed, Sampled
from tests.integration.converters.test_conversions import PYTHON, ROOT, ReadyEnvironment, unheard

FIXTURES = ROOT / "tests" / "fixtures"
LANGUAGE, EMBEDDER = FIXTURES / "tiny_text_model/1", FIXTURES / "tiny_text_encoders/embedding/1"


@pytest.fixture
def runner(tmp_path: Path) -> ConverterRunner:
    return ConverterRunner(ReadyEnvironment(PYTHON), tmp_path / "way")


@pytest.fixture
def mlp(tmp_path: Path) -> Path:
    folder = tmp_path / "mlp"
    folder.mkdir()
    shutil.copy(FIXTURES / "mlp" / "model.onnx", folder)
    return folder


async def sampled(runner: ConverterRunner, model: Path, workspace: Path, rows: int) -> Sequence[tuple[Tensor, ...]]:
    request = {"model": str(model), "count": 3, "rows": rows, "length": 6, "data": None}
    return await runner.sample(workspace, request, unheard)


async def test_samples_are_the_tensors_that_the_model_takes(runner: ConverterRunner, mlp: Path, tmp_path: Path) -> None:
    prompts = await sampled(runner, LANGUAGE, tmp_path / "a", rows=1)
    assert [(one.name, one.datatype, one.shape) for (one,) in prompts] == [("text_input", "BYTES", (1,))] * 3
    assert len({unpack(one)[0] for (one,) in prompts}) == 3

    texts = await sampled(runner, EMBEDDER, tmp_path / "b", rows=2)
    assert [one.shape for (one,) in texts] == [(2, 1)] * 3

    numbers = await sampled(runner, mlp, tmp_path / "c", rows=2)
    assert [(one.datatype, one.shape, len(one.raw)) for (one,) in numbers] == [("FP32", (2, 8), 2 * 8 * 4)] * 3
    assert not (tmp_path / "c" / "tmp").exists()


async def test_an_accuracy_comes_with_its_progress_and_what_it_was_measured_on(
    runner: ConverterRunner, mlp: Path, tmp_path: Path
) -> None:
    said: list[Progress] = []
    request = {"baseline": str(mlp), "candidate": str(mlp), "data": None}
    for _ in range(2):  # the second time the baseline's answers are there
        found = await runner.evaluate(tmp_path / "work", request, said.append)
        assert (found.metric, found.value, found.samples) == ("tensor_agreement", 1.0, 128)
        assert (found.data, found.is_low_evidence) == ("random numbers", False)
    assert said[0].fraction == 0.0
    assert {one.message for one in said} == {"asking the baseline", "asking the candidate"}
    assert len(list((tmp_path / "work" / "answers").iterdir())) == 1


async def test_what_does_not_fit_is_the_callers_error(runner: ConverterRunner, mlp: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"text": "a b c"}\n{"text": ')
    with pytest.raises(InvalidRequest, match=r"data\.jsonl: line 2 is not JSON"):
        await runner.evaluate(
            tmp_path / "a", {"baseline": str(EMBEDDER), "candidate": str(EMBEDDER), "data": str(data)}, unheard
        )
    with pytest.raises(InvalidRequest, match="not a sample request"):
        await runner.sample(tmp_path / "b", {"sauce": "x"}, unheard)
    with pytest.raises(InvalidRequest, match="count of a sample must be a whole number above 0"):
        await runner.sample(tmp_path / "c", {"model": str(mlp), "count": 0, "rows": 1, "length": 1}, unheard)


@pytest.mark.parametrize(
    ("last", "returncode", "said"),
    [
        (None, -9, "the evaluation broke off: it was killed; it most likely needed more memory than there is"),
        (None, 3, "the evaluation ended with code 3 and without an answer; its log says more"),
        (Evaluated("mean_cosine", 1.5, 9, "texts"), 0, "the evaluation answered with mean_cosine 1.5, which is not in"),
        (Evaluated("mean_cosine", float("nan"), 9, "texts"), 0, "the evaluation answered with mean_cosine nan"),
        (Evaluated("mean_cosine", 1.0, 9, "texts"), -11, "the evaluation broke off: it crashed (SIGSEGV)"),
        (Sampled("/w/sample.json"), 0, "the evaluation ended with code 0 and without an answer"),
    ],
)
def test_an_evaluation_that_gave_no_accuracy_is_an_error(last: Event | None, returncode: int, said: str) -> None:
    with pytest.raises(EngineFailed) as failed:
        accuracy_of(Ended(last, returncode), Path("/w"))
    assert failed.value.message.startswith(said)


def test_an_accuracy_is_told_as_it_was_measured_without_what_is_no_number() -> None:
    extra = {"perplexity_ratio": 1.5, "max_difference": float("inf")}
    told = Evaluated("top1_agreement", 0.5, 90, "next tokens", extra)
    accuracy = accuracy_of(Ended(told, 0), Path("/w"))
    assert accuracy == Accuracy("top1_agreement", 0.5, 90, "next tokens", {"perplexity_ratio": 1.5})
    assert accuracy.is_low_evidence
    with pytest.raises(Unsupported):
        accuracy_of(Ended(Failed("no GPU", "NOT_SUPPORTED_HERE"), 1), Path("/w"))


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{}", '{"requests": [[{}]]}', '{"requests": 3}',
        '{"requests": [[{"name": "x", "datatype": "FP32", "shape": [2], "data": [1.0]}]]}',
        '{"requests": [[{"name": "x", "datatype": "FP32", "shape": [1], "data": ["a"]}]]}',
    ],
)  # fmt: skip
def test_samples_that_cannot_be_read_are_an_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "sample.json").write_text(content)
    with pytest.raises(EngineFailed, match="the samples that were made cannot be read"):
        samples_of(Ended(Sampled(str(tmp_path / "sample.json")), 0), tmp_path)


def test_a_child_cannot_point_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "sample.json").write_text(json.dumps({"requests": []}))
    for ended, read in (
        (Ended(Sampled(str(tmp_path / "sample.json")), 0), samples_of),
        (Ended(Converted(str(tmp_path), Facts(), {}), 0), conversion_of),
    ):
        with pytest.raises(EngineFailed, match="a place outside its own folder"):
            read(ended, tmp_path / "work")  # type: ignore[operator]


def test_a_catalog_that_is_none_is_an_error() -> None:
    assert catalog_of(Cataloged(())).levels == ()
    with pytest.raises(EngineFailed, match=r"cannot be read: levels/03\.toml: no recipe"):
        catalog_of(Failed("levels/03.toml: no recipe"))
    with pytest.raises(EngineFailed, match="cannot be read"):
        catalog_of(Sampled("x"))
