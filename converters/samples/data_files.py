"""Texts that a caller gives to try a model on; docs/optimizing.md says how such files look."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from converters.recipe import Refused

# More is not read closer: whoever judges takes some of the texts, evenly.
FILE_BYTES_MAX = 64 * 2**20
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Text:
    """One text of a file and where it stands. `label`: the number or name of the right answer."""

    text: str
    line: int
    label: int | str | None = None


def read_texts(file: Path) -> list[Text]:
    """At least one, all with labels or none. Raises: Refused."""
    readers = {".jsonl": _json_lines, ".txt": _lines}
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise Refused(f"{file.name}: texts are given in a .jsonl or a .txt file")
    texts = list(reader(_content(file), file.name))
    if not texts:
        raise Refused(f"{file.name} has no text; at least one is needed")
    for one in texts:
        if (one.label is None) != (texts[0].label is None):
            raise Refused(f"{file.name}: line {one.line} and line {texts[0].line} must both have a label, or neither")
    return texts


def thinned(items: Sequence[_T], count: int) -> list[_T]:
    """At most `count` of them, evenly spread."""
    if len(items) <= count:
        return list(items)
    return [items[position * len(items) // count] for position in range(count)]


def _content(file: Path) -> str:
    if not file.is_file():
        raise Refused(f"there is no file {file.name}")
    if file.stat().st_size > FILE_BYTES_MAX:
        raise Refused(f"{file.name} is over {FILE_BYTES_MAX // 2**20} MiB; a part of it will do")
    try:
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(f"{file.name} is not UTF-8: {error.reason} at byte {error.start}") from error


def _lines(content: str, name: str) -> Iterator[Text]:
    # Not splitlines, which also breaks lines at characters that may be inside a text.
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            yield Text(line.rstrip("\r"), number)


def _json_lines(content: str, name: str) -> Iterator[Text]:
    for line in _lines(content, name):
        try:
            fields = json.loads(line.text)
        except (ValueError, RecursionError) as error:
            raise Refused(f"{name}: line {line.line} is not JSON") from error
        yield _text(fields, line.line, name)


def _text(fields: Any, line: int, name: str) -> Text:
    if not isinstance(fields, dict) or not isinstance(fields.get("text"), str):
        raise Refused(f'{name}: line {line} must be a JSON object with a string "text"')
    label = fields.get("label")
    if label is not None and type(label) not in (int, str):
        raise Refused(f"{name}: line {line}: a label must be a whole number or a string")
    try:
        fields["text"].encode()
    except UnicodeEncodeError as error:
        raise Refused(f"{name}: line {line} has half of a surrogate pair, which is no text") from error
    return Text(fields["text"], line, label)
