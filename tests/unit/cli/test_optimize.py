"""What the commands of optimizations print, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.doubles.plane import Miniature
from tests.unit.cli.conftest import Command

HEADINGS = "RECIPE LEVEL STATUS SPEEDUP 95 % INTERVAL THROUGHPUT MEMORY SIZE ACCURACY REASON"


def test_a_run_follows_the_job_and_ends_with_the_table(command: Command, plane: Miniature) -> None:
    result = command("optimize", "run", "coder", "--level", "divine")
    assert result.exit_code == 0
    assert plane.seen[0].json == {"model_id": "coder", "optimization_level": "divine", "parameters": {}}
    assert "optimization opt_1" in result.stderr
    assert " 40% converting" in result.stderr
    lines = result.stdout.splitlines()
    assert " ".join(lines[0].split()) == HEADINGS
    chosen = next(line for line in lines if line.startswith("* "))
    assert chosen.split()[1:6] == ["int8-dynamic", "master", "applied", "2.00x", "1.96"]
    assert chosen.split()[-6:] == ["-40.0", "%", "-75.0", "%", "0.9954", "-"]
    rejected = next(line for line in lines if "weights-4bit" in line)
    assert rejected.split()[2] == "rejected"
    assert rejected.rstrip().endswith("accuracy: cosine is 0.9312, below 0.99")
    assert (
        next(line for line in lines if "tensorrt-fp16" in line).rstrip().endswith("requires_gpu: no NVIDIA GPU <here>")
    )
    assert lines[-1].startswith("int8-dynamic won: 2.00x as fast as the baseline (95 %: 1.96 to 2.04,")
    assert "coder:2 is a new revision, not loaded yet." in result.stderr
    assert "`tritonplane models load coder:2` loads it." in result.stderr


def test_every_option_of_a_run_is_passed_on_as_the_parameter_it_is(command: Command, plane: Miniature) -> None:
    options = {
        "--objective": "memory", "--min-accuracy": "0.97", "--time-budget": "60", "--batch-size": "8",
        "--sequence-length": "64", "--eval-data": "held.jsonl", "--deploy": "load", "--slo-p99-ms": "20",
        "--baseline": "coder:1",
    }  # fmt: skip
    flags = [word for pair in options.items() for word in pair]
    command("optimize", "run", "coder@stable", *flags, "--recipe", "a", "--recipe", "b")
    assert plane.seen[0].json["parameters"] == {
        "objective": "memory",
        "min_accuracy": 0.97,
        "time_budget_seconds": 60.0,
        "batch_size": 8,
        "sequence_length": 64,
        "eval_data": "held.jsonl",
        "recipes": ["a", "b"],
        "deploy": "load",
        "slo_p99_ms": 20.0,
        "baseline": "coder:1",
    }


def test_a_baseline_that_wins_is_said_plainly_and_is_no_failure(command: Command) -> None:
    result = command("optimize", "run", "adder")
    assert result.exit_code == 0
    assert "The baseline won: nothing was better for certain and as accurate" in result.stdout
    assert "adder:1 is as it was" in result.stderr
    assert next(line for line in result.stdout.splitlines() if line.startswith("* ")).split()[1] == "baseline"


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_run_that_failed_says_why_with_exit_code_1(command: Command, more: list[str]) -> None:
    result = command("optimize", "run", "bad", *more)
    assert result.exit_code == 1
    assert "tritonplane: no recipe for 'mamba' (UNSUPPORTED_FORMAT)" in result.stderr
    assert "RECIPE" not in result.stdout
    if more:
        assert json.loads(result.stdout)["status"] == "failed"


def test_a_detached_run_prints_the_id_alone_and_how_to_come_back(command: Command, plane: Miniature) -> None:
    result = command("optimize", "run", "slow", "--detach")
    assert (result.stdout, result.exit_code) == ("opt_endless\n", 0)
    assert "`tritonplane jobs watch opt_endless` watches it" in result.stderr
    assert [seen.method for seen in plane.seen] == ["POST"]
    assert json.loads(command("optimize", "run", "slow", "--detach", "--json").stdout) == {
        "optimization_id": "opt_endless"
    }


def test_a_run_that_is_refused_is_one_sentence(command: Command) -> None:
    unknown = command("optimize", "run", "nobody")
    assert unknown.stderr == "tritonplane: no model named 'nobody' (MODEL_NOT_FOUND)\n"
    wrong = command("optimize", "run", "coder", "--level", "godlike")
    assert wrong.stderr == "tritonplane: optimization_level must be one of basic (INVALID_REQUEST)\n"
    assert unknown.exit_code == wrong.exit_code == 1


def test_what_is_shown_later_is_what_the_run_ended_with(command: Command) -> None:
    ran, shown = command("optimize", "run", "coder"), command("optimize", "show", "opt_1")
    assert shown.stdout == ran.stdout
    assert shown.exit_code == 0


@pytest.mark.parametrize(("optimization_id", "state"), [("opt_endless", "running"), ("opt_bad", "failed")])
def test_one_without_results_is_shown_with_how_far_it_is(command: Command, optimization_id: str, state: str) -> None:
    result = command("optimize", "show", optimization_id)
    shown = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert (shown["state"].strip(), shown["progress"].strip()) == (state, "40%")
    assert shown["optimization_level"].strip() == "divine"
    if state == "failed":
        assert shown["error_message"].strip() == "no recipe for 'mamba'"


def test_a_page_is_written_and_the_table_is_printed_all_the_same(command: Command, tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    result = command("optimize", "show", "opt_1", "--html", str(target))
    assert result.exit_code == 0
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert f"wrote {target}" in result.stderr
    assert " ".join(result.stdout.splitlines()[0].split()) == HEADINGS


def test_a_page_that_cannot_be_written_is_one_sentence(command: Command, tmp_path: Path) -> None:
    nowhere = command("optimize", "show", "opt_1", "--html", str(tmp_path / "none" / "page.html"))
    assert nowhere.exit_code == 2
    assert "cannot be written: No such file or directory" in nowhere.stderr
    nothing = command("optimize", "show", "opt_bad", "--html", str(tmp_path / "page.html"))
    assert (nothing.exit_code, (tmp_path / "page.html").exists()) == (1, False)
    assert "there is nothing to plot: the optimization is failed" in nothing.stderr


def test_optimizations_are_listed_in_columns(command: Command, plane: Miniature) -> None:
    lines = command("optimize", "list", "--level", "divine", "--limit", "7").stdout.splitlines()
    assert plane.seen[0].query == {"optimization_level": "divine", "limit": "7", "skip": "0"}
    assert lines[0].split() == ["ID", "MODEL", "LEVEL", "STATE", "PROGRESS", "SPEEDUP", "MADE", "AT", "CREATED"]
    assert lines[1].split()[:7] == ["opt_1", "coder", "divine", "completed", "100%", "2.00x", "coder:2"]
    assert lines[2].split()[:7] == ["opt_baseline", "adder", "divine", "completed", "100%", "1.00x", "-"]
    assert "no recipe for 'mamba'" in lines[3]
    assert "trying int8-dynamic" in lines[4]


def test_one_is_cancelled_unless_it_is_over(command: Command, plane: Miniature) -> None:
    assert command("optimize", "cancel", "opt_endless").stdout == "cancelled opt_endless\n"
    assert plane.jobs.states["opt_endless"] == "cancelled"
    over = command("optimize", "cancel", "opt_1")
    assert "the job is over: completed (CONFLICT)" in over.stderr
    assert over.exit_code == 1


def test_levels_and_recipes_say_whether_they_can_run_there_and_why_not(command: Command) -> None:
    levels, candidates, recipes = command("optimize", "levels").stdout.split("\n\n")
    assert levels.splitlines()[1].split() == [
        "basic",
        "yes",
        "0.9999",
        "1",
        *["The", "graph", "in", "full", "precision"],
    ]
    assert levels.splitlines()[2].split()[:2] == ["omnipotent", "no"]
    assert levels.endswith("TensorRT; not here: requires_gpu: there is no NVIDIA GPU")
    assert candidates.splitlines()[2].split()[:4] == ["tensorrt-fp16", "omnipotent", "no", "onnx"]
    assert recipes.splitlines()[1].split()[:2] == ["onnx_optimize", "yes"]
    assert recipes.rstrip().endswith("An engine; not here: it needs tensorrt")


@pytest.mark.parametrize(
    "arguments",
    [("show", "opt_1"), ("show", "opt_endless"), ("list",), ("cancel", "opt_endless"), ("levels",), ("run", "coder")],
)
def test_json_of_optimizations_is_what_the_server_said(
    command: Command, plane: Miniature, arguments: tuple[str, ...]
) -> None:
    assert json.loads(command("optimize", *arguments, "--json").stdout) == plane.said[-1]


def test_an_unknown_optimization_is_one_sentence(command: Command) -> None:
    for verb in ("show", "cancel"):
        result = command("optimize", verb, "opt_none")
        assert result.stderr == "tritonplane: no optimization 'opt_none' (OPTIMIZATION_NOT_FOUND)\n"
        assert result.exit_code == 1
