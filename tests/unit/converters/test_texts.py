"""The texts that models are tuned on are never those that they are judged on."""

from __future__ import annotations

from itertools import islice

from converters.samples.texts import Part, part_of, sentences, sources

# What calibration takes of the one part, and more than an evaluation takes of the other.
_TUNING, _EVALUATION = 128, 300


def test_no_text_is_in_both_parts() -> None:
    tuning, evaluation = set(sentences(Part.TUNING)), set(sentences(Part.EVALUATION))
    assert not tuning & evaluation
    assert len(tuning) > _TUNING
    assert len(evaluation) > _EVALUATION
    assert not set(sources(20, Part.TUNING)) & set(sources(20, Part.EVALUATION))


def test_the_parts_are_the_same_every_time_and_whoever_says_nothing_tunes() -> None:
    assert list(islice(sentences(), 20)) == list(islice(sentences(Part.TUNING), 20))
    assert [part_of(name) for name in ("abc", "argparse", "warnings")] == [
        Part.EVALUATION,
        Part.EVALUATION,
        Part.TUNING,
    ]
