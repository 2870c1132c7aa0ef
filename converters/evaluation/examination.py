"""What an evaluation of any kind of model consists of: a model's answers, kept as arrays, and their comparison."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from converters.contract import Evaluated
from converters.formats import Artifact

# By a name of the examination's own.
Answers = dict[str, Any]
Report = Callable[[float], None]
# Whose answers are kept is written down with them; another form of them is another number.
_FORM = 1


class Examination(Protocol):
    """The same inputs for both models."""

    @property
    def key(self) -> str:
        """Equal for two examinations that ask the same."""

    def answers(self, model: Artifact, report: Report) -> Answers:
        """Raises Refused."""

    def compare(self, baseline: Answers, candidate: Answers) -> Evaluated:
        """Raises Refused."""


def kept(folder: Path, examination: Examination, model: Artifact, report: Report) -> Answers:
    """What the model answered before, if it was asked the same; else it is asked, and its answers are kept."""
    decisive = json.dumps([_FORM, examination.key, model.format.value, model.digests()], sort_keys=True)
    file = folder / f"{hashlib.sha256(decisive.encode()).hexdigest()}.npz"
    try:
        with np.load(file, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        pass  # not there, or damaged when the power failed
    answers = examination.answers(model, report)
    folder.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.draft")
    with draft.open("wb") as content:  # a name would be given the ending .npz
        np.savez(content, **answers)
    draft.replace(file)
    return answers


def key_of(inputs: Mapping[str, Any]) -> str:
    """A digest of arrays by name, types and shapes included."""
    digest = hashlib.sha256()
    for name in sorted(inputs):
        array = np.ascontiguousarray(inputs[name])
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
