"""Which request parameters are taken, and what is said of those that are not."""

from __future__ import annotations

from typing import Any

import pytest

from triton_backends.runtime.parameters import InvalidParameter, parse_parameters
from triton_backends.text_generation.options import GenerationOptions, read_options


def test_without_parameters_the_defaults_hold() -> None:
    options = read_options(parse_parameters(""))
    assert options == GenerationOptions(max_tokens=100, temperature=0.7, top_p=0.9, stream=True, n=1)


def test_numbers_may_come_as_text() -> None:
    given = {"max_tokens": "5", "temperature": "0", "top_p": 1, "seed": "-7", "stream": "false", "top_k": 3.0}
    options = read_options(given)
    assert (options.max_tokens, options.temperature, options.top_p) == (5, 0.0, 1.0)
    assert (options.seed, options.stream, options.top_k) == (-7, False, 3)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("max_tokens", 0, "an integer from 1 to 4096"),
        ("max_tokens", 4097, "an integer from 1 to 4096"),
        ("max_tokens", 1.5, "an integer from 1 to 4096"),
        ("max_tokens", True, "an integer from 1 to 4096"),
        ("max_tokens", "many", "an integer from 1 to 4096"),
        ("temperature", -0.1, "a number from 0 to 2"),
        ("temperature", 2.01, "a number from 0 to 2"),
        ("temperature", "nan", "a number from 0 to 2"),
        ("temperature", "inf", "a number from 0 to 2"),
        ("top_p", 0, "greater than 0 and at most 1"),
        ("top_p", 1.1, "greater than 0 and at most 1"),
        ("top_k", -1, "an integer of at least 0"),
        ("frequency_penalty", 3, "a number from -2 to 2"),
        ("presence_penalty", -3, "a number from -2 to 2"),
        ("logprobs", 21, "an integer from 0 to 20"),
        ("n", 9, "an integer from 1 to 8"),
        ("n", 0, "an integer from 1 to 8"),
        ("seed", 2**63, "an integer from"),
        ("stream", "maybe", "true or false"),
        ("stop", "x", "a JSON list of at most 8 non-empty strings"),
        ("stop", '["a", ""]', "a JSON list of at most 8 non-empty strings"),
        ("stop", '["a", 1]', "a JSON list of at most 8 non-empty strings"),
        ("stop", "[" + ",".join(['"a"'] * 9) + "]", "a JSON list of at most 8 non-empty strings"),
        ("grammar", 7, "a string holding a JSON schema or a regular expression"),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_what_would_be_right(name: str, value: Any, expected: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        read_options({name: value})
    assert str(refused.value).startswith(f"{name} must be {expected}")
    assert repr(value) in str(refused.value)


def test_an_unknown_parameter_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidParameter, match=r"unknown parameter 'max_token'; the parameters are .*max_tokens"):
        read_options({"max_token": 3})
