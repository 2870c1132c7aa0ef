"""Time in tests that passes only while a loop waits for it."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.doubles.virtual_time import VirtualTimeLoop


def test_what_sleeps_a_minute_takes_exactly_a_minute_and_none() -> None:
    async def took_s() -> float:
        await asyncio.sleep(60)
        return asyncio.get_running_loop().time()

    began_s = time.monotonic()
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(took_s()) == 60
    assert time.monotonic() - began_s < 30


def test_no_time_passes_while_a_thread_works() -> None:
    async def took_s() -> float:
        async with asyncio.timeout(60):
            await asyncio.to_thread(time.sleep, 0.05)
            return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(took_s()) == 0


def test_time_passes_again_when_a_thread_has_failed_or_nobody_waits_for_it() -> None:
    async def took_s() -> float:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(divmod, 1, 0)
        left = asyncio.create_task(asyncio.to_thread(time.sleep, 0.05))
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.sleep(60)
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(took_s()) == 60
