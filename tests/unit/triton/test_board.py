"""The state of a Triton server, and what follows from it for requests."""

from __future__ import annotations

import pytest

from control_plane.domain.errors import Unavailable
from control_plane.domain.triton import TritonState
from control_plane.gateways.triton.board import StateBoard
from control_plane.gateways.triton.channel import Channel
from tests.doubles.clock import FixedClock


@pytest.mark.parametrize("has_ended", [False, True])
@pytest.mark.parametrize("state", TritonState)
def test_requests_pass_in_the_states_that_serve_and_in_no_other(state: TritonState, *, has_ended: bool) -> None:
    channel = Channel()
    board = StateBoard("managed", FixedClock(), channel)
    for before in (TritonState.READY, TritonState.STOPPED):
        board.enter(before)
        board.enter(state, has_ended=has_ended)
        if state.serves:
            channel.enter()
        else:
            with pytest.raises(Unavailable, match=state.value):
                channel.enter()
