"""Does a text model predict the next token as its source does, and with its key-value cache as without?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from converters.checks.decoder import Decoder, Logits, TokenIds
from converters.checks.measures import Measure, max_difference
from converters.checks.predictions import joined, predictions
from converters.checks.results import FP32_DIFFERENCE_MAX, Check
from converters.formats import Artifact, Format
from converters.recipe import OutOfTolerance
from converters.samples.texts import Part, sentences
from converters.text_files import open_tokenizer

_POSITIONS_MIN = 100
_AGREEMENT_MIN = 0.999
# Texts by tokens, for models of up to so many weights: a few seconds each for what is small, a minute for the largest.
_SMALL_PARAMETERS, _SMALL_TEXTS, _SMALL_TOKENS = 50_000_000, 8, 64
_LARGE_TOKENS = 32

Reader = Callable[[TokenIds], Logits]


def check_text_generation(original: Artifact, made: Artifact, *, is_exact: bool) -> list[Check]:
    """Compare next-token predictions under teacher forcing on text of `converters.samples.texts`.

    Raises: OutOfTolerance for numbers that are not finite.
    """
    decoder = Decoder(made.directory)
    texts = windows(made, decoder)
    expected = _read_all(_reader(original), texts)
    found = [require_finite(decoder.logits(text)) for text in texts]
    return [*_compared(expected, found, texts, is_exact), _incremental(decoder, texts[0], found[0], is_exact)]


def windows(made: Artifact, decoder: Decoder) -> list[TokenIds]:
    """At least _POSITIONS_MIN predictions, in texts that the model's own tokenizer cut."""
    is_small = (made.facts.parameters or 0) <= _SMALL_PARAMETERS
    tokens = min(_SMALL_TOKENS if is_small else _LARGE_TOKENS, decoder.context_length)
    count = max(_SMALL_TEXTS if is_small else 0, -(-_POSITIONS_MIN // max(1, tokens - 1)))
    tokenizer = open_tokenizer(made.directory)
    stream: list[int] = []
    for sentence in sentences(Part.EVALUATION):
        stream += tokenizer.encode(sentence).ids
        if len(stream) >= count * tokens:
            break
    # A tokenizer that knows little text gives little; then it is read again.
    ids = np.resize(np.array(stream or [0], np.int64), count * tokens)
    return list(ids.reshape(count, tokens))


def _reader(original: Artifact) -> Reader:
    if original.format is Format.TEXT_GENERATION:
        return Decoder(original.directory).logits
    return _torch_reader(original)


def _torch_reader(original: Artifact) -> Reader:
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(
        original.directory,
        dtype=torch.float32,
        attn_implementation="eager",
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    ).eval()

    def read(token_ids: TokenIds) -> Logits:
        with torch.inference_mode():
            logits: Logits = model(torch.from_numpy(token_ids[None])).logits[0].float().numpy()
        return logits

    return read


def _read_all(read: Reader, texts: Sequence[TokenIds]) -> list[Logits]:
    """Of the source too: weights that are not numbers must not be told as a fault of the conversion."""
    found = [read(text) for text in texts]
    if not all(np.isfinite(one).all() for one in found):
        raise OutOfTolerance("the source model itself predicts numbers that are not finite (NaN or infinite weights?)")
    return found


def require_finite(logits: Logits) -> Logits:
    """Raises: OutOfTolerance."""
    if not np.isfinite(logits).all():
        raise OutOfTolerance("the converted model predicts numbers that are not finite; try another precision")
    return logits


def _compared(
    expected: Sequence[Logits], found: Sequence[Logits], texts: Sequence[TokenIds], is_exact: bool
) -> list[Check]:
    before, after = (
        joined([predictions(*pair) for pair in zip(logits, texts, strict=True)]) for logits in (expected, found)
    )
    difference = max_difference(np.stack(expected), np.stack(found))
    floor, count = _AGREEMENT_MIN if is_exact else None, before.choices.size
    return [
        Check(Measure.MAX_DIFFERENCE, difference, count, _limit(is_exact)),
        Check(Measure.TOP1_AGREEMENT, after.agreement(before), count, floor, at_least=True),
        Check(Measure.PERPLEXITY_RATIO, after.perplexity_ratio(before), count),
    ]


def _incremental(decoder: Decoder, text: TokenIds, whole: Logits, is_exact: bool) -> Check:
    """Two pieces of a prompt, then token by token, as a server reads and continues a text."""
    first = text.size // 4
    pieces = [size for size in (first, text.size // 2 - first) if size] + [1] * (text.size - text.size // 2)
    difference = max_difference(whole, require_finite(decoder.logits(text, pieces)))
    return Check(Measure.INCREMENTAL_DIFFERENCE, difference, text.size, _limit(is_exact))


def _limit(is_exact: bool) -> float | None:
    return FP32_DIFFERENCE_MAX if is_exact else None
