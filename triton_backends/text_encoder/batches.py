"""Which texts run together: those of about one length, so that short ones do not pay for long ones."""

from __future__ import annotations

from collections.abc import Sequence

# A batch is filled up to its longest text. At most an eighth of it may be filling, or as much as a run of its own for
# a short text costs in any case.
FILLING_SHARE = 8
FILLING_TOKENS = 32


def by_length(lengths: Sequence[int], max_batch_tokens: int) -> list[list[int]]:
    """The places of the texts, the longest first, in batches of at most `max_batch_tokens` with their filling.

    A text that is longer than that by itself runs alone.
    """
    batches: list[list[int]] = []
    longest = filling = 0
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        size = longest * (len(batches[-1]) + 1) if batches else 0
        filling += longest - lengths[place]
        if batches and size <= max_batch_tokens and filling <= max(FILLING_TOKENS, size // FILLING_SHARE):
            batches[-1].append(place)
        else:
            batches.append([place])
            longest, filling = lengths[place], 0
    return batches
