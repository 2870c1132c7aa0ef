"""A conversion's folder: finished steps are found again after an interruption, and `reproduce.sh` makes them anew."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from converters.contract import Facts, JsonObject
from converters.disk import told_when_full
from converters.formats import GRAPH, Artifact, Format
from converters.recipe import Refused

JOB_FILE, SCRIPT = "job.json", "reproduce.sh"
_MARKER = "step.json"


class Workspace:
    """Layout: job.json, reproduce.sh, steps/NN-recipe/ (files of a finished step beside step.json), model/."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def model(self) -> Path:
        return self.folder / "model"

    def empty_model(self) -> Path:
        """The folder of the result, without what an interrupted run left in it."""
        shutil.rmtree(self.model, ignore_errors=True)
        self.model.mkdir(parents=True)
        return self.model

    def step_folder(self, number: int, recipe: str) -> Path:
        return self.folder / "steps" / f"{number:02d}-{recipe}"

    def finished(self, folder: Path, key: str) -> tuple[Artifact, JsonObject] | None:
        """What a step made before an interruption; None unless it was this very step and is whole."""
        try:
            marker = json.loads((folder / _MARKER).read_text())
        except (OSError, ValueError):
            return None
        if marker["key"] != key:
            return None
        facts = Facts(**{**marker["facts"], "tasks": tuple(marker["facts"]["tasks"])})
        made = Artifact(Format(marker["format"]), folder / "files", facts)
        return (made, marker["record"]) if _is_whole(made, marker["record"]["outputs"]) else None

    @contextmanager
    def beginning(self, folder: Path) -> Iterator[Path]:
        """The empty folder that a step fills; what an interrupted run left is gone, and so is it when the step fails.

        Raises: DiskFull in place of what the step makes of that.
        """
        shutil.rmtree(folder, ignore_errors=True)
        files = folder / "files"
        files.mkdir(parents=True)
        try:
            with told_when_full(self.folder):
                yield files
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def finish(self, folder: Path, key: str, made: Artifact, record: JsonObject) -> None:
        marker = {"key": key, "format": made.format.value, "facts": asdict(made.facts), "record": record}
        draft = folder / f"{_MARKER}.draft"
        draft.write_text(json.dumps(marker))
        draft.replace(folder / _MARKER)

    def write_script(self, expected: dict[str, str]) -> None:
        """`reproduce.sh SOURCE [FOLDER [CALIBRATION]]`: the same conversion again, and a comparison of the digests.

        The places of this machine, which would lead nowhere, are left out.
        """
        job = json.loads((self.folder / JOB_FILE).read_text()) | {"source": "", "calibration": None}
        sums = "\n".join(f"{digest}  model/{path}" for path, digest in sorted(expected.items()))
        text = _SCRIPT.format(job=shlex.quote(json.dumps(job)), sums=shlex.quote(sums))
        (self.folder / SCRIPT).write_text(text)
        (self.folder / SCRIPT).chmod(0o755)


def _is_whole(made: Artifact, outputs: dict[str, str]) -> bool:
    """The marker may have reached the disk before the files did, when the machine lost its power.

    What an interrupted check left beside them is removed.
    """
    for path in set(made.files()) - set(outputs):
        (made.directory / path).unlink()
    return made.digests() == outputs


def link_or_copy(source: Path, target: Path) -> None:
    """The same bytes at another place, without a copy where the file system allows."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def carry_companions(source: Artifact, target: Path) -> None:
    """Link what lies beside a graph (tokenizer, facts) into `target`; the graph and its weight files stay behind.

    Raises: Refused.
    """
    from converters.graph import BrokenGraph, read_graph  # decodes protobuf, which a catalog does without

    try:
        weights = {GRAPH, *read_graph(source.graph.read_bytes()).external_files}
    except BrokenGraph as error:
        raise Refused(f"{GRAPH}: {error}") from error
    for path in source.files():
        if path not in weights:
            link_or_copy(source.directory / path, target / path)


_SCRIPT = """#!/bin/sh
# Makes the same model again: sh reproduce.sh SOURCE [FOLDER [CALIBRATION]]
# Needs the converter environment's Python (TRITONPLANE_CONVERTER_PYTHON) and the `converters` package on PYTHONPATH.
set -eu
[ $# -ge 1 ] || {{ echo "usage: reproduce.sh SOURCE [FOLDER [CALIBRATION]]" >&2; exit 2; }}
source=$(realpath "$1")
folder=${{2:-reproduced}}
calibration=${{3:+$(realpath "$3")}}
mkdir -p "$folder"
printf '%s' {job} >"$folder/job.json"
"${{TRITONPLANE_CONVERTER_PYTHON:-python3}}" -m converters run "$folder/job.json" --source "$source" \\
    ${{calibration:+--calibration "$calibration"}}
cd "$folder"
printf '%s\\n' {sums} | sha256sum --check
"""
