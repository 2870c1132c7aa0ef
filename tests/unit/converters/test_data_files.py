"""Evaluation data that a caller gives: what is read, and in which words the rest is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from converters.recipe import Refused
from converters.samples.data_files import Text, read_texts, thinned

BAD_LABEL = "data.jsonl: line 1: a label must be a whole number or a string"


def test_json_lines_give_texts_and_labels_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text('{"text": "good\u2028day", "label": "fine"}\n\n{"text": "", "label": 1, "more": []}\n')
    assert read_texts(file) == [Text("good\u2028day", 1, "fine"), Text("", 3, 1)]


def test_a_text_file_gives_a_text_a_line(tmp_path: Path) -> None:
    file = tmp_path / "DATA.TXT"
    file.write_bytes("one\r\n\r\nzwölf\n".encode())
    assert read_texts(file) == [Text("one", 1), Text("zwölf", 3)]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("data.csv", b"a,b", "data.csv: texts are given in a .jsonl or a .txt file"),
        ("data.npz", b"PK", "data.npz: texts are given in a .jsonl or a .txt file"),
        ("data.txt", b" \n\n", "data.txt has no text; at least one is needed"),
        ("data.jsonl", b"", "data.jsonl has no text; at least one is needed"),
        ("data.txt", b"caf\xe9", "data.txt is not UTF-8: unexpected end of data at byte 3"),
        ("data.jsonl", b'{"text": "a"}\n{"text": ', "data.jsonl: line 2 is not JSON"),
        ("data.jsonl", b"[" * 100_000, "data.jsonl: line 1 is not JSON"),
        ("data.jsonl", b'{"text": 3}', 'data.jsonl: line 1 must be a JSON object with a string "text"'),
        ("data.jsonl", b'"text"', 'data.jsonl: line 1 must be a JSON object with a string "text"'),
        ("data.jsonl", b'{"text": "a", "label": 1.5}', BAD_LABEL),
        ("data.jsonl", b'{"text": "a", "label": true}', BAD_LABEL),
        ("data.jsonl", b'{"text": "\\ud800"}', "data.jsonl: line 1 has half of a surrogate pair, which is no text"),
        (
            "data.jsonl",
            b'{"text": "a", "label": 1}\n{"text": "b"}',
            "data.jsonl: line 2 and line 1 must both have a label, or neither",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_its_line(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Refused) as refused:
        read_texts(tmp_path / name)
    assert str(refused.value) == said


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"there is no file gone\.txt"):
        read_texts(tmp_path / "gone.txt")


def test_what_is_too_much_is_thinned_evenly() -> None:
    assert thinned(range(10), 5) == [0, 2, 4, 6, 8]
    assert thinned(range(3), 5) == [0, 1, 2]
