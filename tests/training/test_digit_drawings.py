"""What the image models are trained on: the same for the same seed, readable, and with the style it claims."""

from __future__ import annotations

import hashlib

import pytest
import torch

from training.images.digits import SIZE, Digits, Slant, Weight, stroke_width
from training.images.evaluate import lean
from training.images.glyphs import CANVAS, read_faces, read_glyphs
from training.images.prompts import Writer
from training.images.unet import LABELS, NULL_ROW


def test_the_same_seed_and_step_draw_the_same_digits() -> None:
    first, again, other = Digits(3).batch(5, 16), Digits(3).batch(5, 16), Digits(3).batch(6, 16)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.digits, again.digits)
    assert not torch.equal(first.images, other.images)


def test_a_batch_is_ink_on_paper() -> None:
    images = Digits(0).batch(0, 256).images
    assert images.shape == (256, 1, SIZE, SIZE)
    assert -1 <= images.min() < -0.9
    assert images.max() <= 1
    # Nothing is cut off: the border is paper nearly everywhere.
    border = torch.cat([images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1]], -1)
    assert (border > 0.9).float().mean() > 0.99


def test_bold_strokes_are_thicker_and_slanted_digits_lean() -> None:
    batch = Digits(0).batch(0, 512)
    ink = (1 - batch.images) / 2
    thick, leaning = stroke_width(ink), lean(ink)
    thin, plain, bold = (thick[batch.weights == weight].mean() for weight in (Weight.THIN, Weight.ANY, Weight.BOLD))
    assert thin < plain < bold
    assert leaning[batch.slants == Slant.SLANTED].mean() > leaning[batch.slants == Slant.ANY].mean() + 0.15


def test_no_family_is_on_both_sides() -> None:
    faces = read_faces()
    assert read_glyphs().shape == (len(faces), LABELS, CANVAS, CANVAS)
    sides = {held_out: {face.family for face in faces if face.held_out is held_out} for held_out in (False, True)}
    assert sides[True]
    assert not sides[True] & sides[False]
    assert all(face.license in {"OFL-1.1", "Apache-2.0", "Bitstream-Vera"} for face in faces)


@pytest.mark.parametrize("held_out", [False, True])
def test_the_same_seed_writes_the_same_prompts(*, held_out: bool) -> None:
    texts = [[writer.write().text for _ in range(50)] for writer in (Writer(1, held_out=held_out) for _ in range(2))]
    assert texts[0] == texts[1]
    assert len({hashlib.sha256(text.encode()).digest() for text in texts[0]}) > 35


def test_a_prompt_written_for_a_digit_asks_for_it() -> None:
    writer = Writer(4)
    assert {writer.write(digit).digit for digit in range(LABELS) for _ in range(20)} == set(range(LABELS))
    assert NULL_ROW in {writer.write().digit for _ in range(100)}
