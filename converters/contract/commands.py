"""How a conversion child is started; -P keeps whatever lies in the working directory out of its imports."""

from __future__ import annotations

from pathlib import Path


def inspect_command(python: str, path: Path) -> list[str]:
    """How to inspect an ONNX file."""
    return [python, "-P", "-m", "converters", "inspect", str(path)]


def run_command(python: str, job_file: Path) -> list[str]:
    """How to run the conversion of a JOB.json; the folder that holds the file is the workspace."""
    return [python, "-P", "-m", "converters", "run", str(job_file)]


def sample_command(python: str, job_file: Path) -> list[str]:
    """How to make the inputs of a SampleRequest."""
    return [python, "-P", "-m", "converters", "sample", str(job_file)]


def evaluate_command(python: str, job_file: Path) -> list[str]:
    """How to compare the two models of an EvaluationRequest."""
    return [python, "-P", "-m", "converters", "evaluate", str(job_file)]


def catalog_command(python: str) -> list[str]:
    return [python, "-P", "-m", "converters", "catalog"]
