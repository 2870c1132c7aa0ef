"""A run small enough for a test."""

from __future__ import annotations

from training.architecture import Shape
from training.train import Run

SHAPE = Shape(vocab_size=512, hidden=64, layers=2, heads=2, key_value_heads=1, feed_forward=96, context_length=128)
RUN = Run(steps=20, final_steps=4, batch_tokens=256, short_window=32, long_window=64, shape=SHAPE)
