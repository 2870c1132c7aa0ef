"""Whether a scratch Triton has died of what it was asked."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from control_plane.ports import ScratchTriton

# The connection breaks a moment before the death of a server is counted.
_DEATH_S, _LOOK_S = 2.0, 0.05


async def has_died(scratch: ScratchTriton, life: int, *, is_likely: bool) -> bool:
    """`life`: what `scratch.deaths` was before. Where it is likely, it is given some time to be counted."""
    if is_likely:
        with suppress(TimeoutError):
            async with asyncio.timeout(_DEATH_S):
                while scratch.deaths == life:  # noqa: ASYNC110  (the port has no event)
                    await asyncio.sleep(_LOOK_S)
    return scratch.deaths != life
