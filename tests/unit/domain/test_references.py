"""How a model is named (contract 0.1): `name`, `name:N`, `name@alias`."""

from __future__ import annotations

import re

import pytest

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.references import (
    REFERENCE_PATTERN,
    ModelReference,
    check_new_name,
    parse_reference,
    public_reference,
    revision_directory,
)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("coder", ModelReference("coder")),
        ("Coder.v2_x-1", ModelReference("Coder.v2_x-1")),
        ("7", ModelReference("7")),
        ("a" * 100, ModelReference("a" * 100)),
        ("coder:12", ModelReference("coder", 12)),
        ("coder@stable", ModelReference("coder")),
        ("coder@candidate", ModelReference("coder", alias="candidate")),
    ],
)
def test_a_reference_names_a_model_and_one_of_its_revisions(text: str, meant: ModelReference) -> None:
    assert parse_reference(text) == meant
    assert re.search(REFERENCE_PATTERN, text), "the documents promise the same"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".hidden",
        "-option",
        "a b",
        "a/b",
        "..",
        "b$(touch x)",
        "é",
        "a\n",
        "a" * 101,
        "coder:",
        "coder:0",
        "coder:-1",
        "coder:01",
        "coder:1.5",
        "coder:1:2",
        "coder@",
        "coder@a b",
        "coder@a:1",
        "@stable",
        ":1",
    ],
)
def test_what_names_no_model_is_refused_in_words(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"cannot name a model|is no model reference"):
        parse_reference(text)
    # Python's `$` also matches before a last line feed; JSON Schema's does not.
    assert not re.search(REFERENCE_PATTERN.replace("$", r"\Z"), text)


def test_names_keep_their_case() -> None:
    assert parse_reference("Coder") != parse_reference("coder")


@pytest.mark.parametrize("name", ["coder--r1", "x--r007"])
def test_a_name_that_looks_like_a_revisions_directory_is_not_given(name: str) -> None:
    assert parse_reference(name).name == name  # but a foreign Triton may have such a model
    with pytest.raises(InvalidRequest, match="--r<number>"):
        check_new_name(name)
    assert revision_directory("coder", 3) == "coder--r3"


@pytest.mark.parametrize(
    ("directory", "reference"),
    [("digits-unet--r12", "digits-unet:12"), ("echo", "echo"), ("a--r0", "a--r0"), ("a:1", "a:1"), ("a--b", "a--b")],
)
def test_a_directory_of_ours_is_told_as_a_reference_and_any_other_name_as_it_is(directory: str, reference: str) -> None:
    assert public_reference(directory) == reference
