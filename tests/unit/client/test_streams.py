"""Streams of tokens: whole, cut, failed, and left early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from tritonplane_client import (
    ApiError,
    NotFoundError,
    ServerError,
    StreamInterrupted,
    Token,
    TritonplaneError,
    UnexpectedAnswer,
)
from tritonplane_client.tokens import TokenReader

from tests.doubles.plane import ANSWER, Miniature
from tests.unit.client.both import Face


async def test_tokens_come_one_by_one_and_join_to_the_text(client: Face, plane: Miniature) -> None:
    tokens = [token async for token in client.stream("coder", "def f", max_tokens=50, seed=1)]

    assert [token.text for token in tokens] == ANSWER
    assert [token.index for token in tokens] == list(range(len(ANSWER)))
    assert [token.is_final for token in tokens] == [False] * (len(ANSWER) - 1) + [True]
    assert tokens[-1].finish_reason == "stop"
    asked = {"text": "def f", "max_length": 50, "seed": 1}
    assert plane.seen[0].json == {"model_id": "coder", "input_data": asked, "stream": True}
    assert plane.seen[0].headers["accept"] == "text/event-stream"


async def test_an_error_before_the_first_token_is_raised_with_its_status(client: Face) -> None:
    with pytest.raises(NotFoundError) as caught:
        _ = [token async for token in client.stream("absent", "x")]
    assert (caught.value.status, caught.value.details["suggestion"]) == (404, "coder")


async def test_an_error_frame_is_raised_after_the_tokens_before_it(client: Face) -> None:
    tokens, failure = await _until_it_fails(client.stream("coder", "!fail"))
    assert [token.index for token in tokens] == [0, 1]
    assert type(failure) is ServerError
    assert (failure.status, failure.code, failure.details) == (None, "PROCESSING_FAILED", {"at": 2})


@pytest.mark.parametrize("prompt", ["!cut", "!end"])
async def test_a_stream_that_stops_short_is_never_taken_for_a_whole_one(client: Face, prompt: str) -> None:
    tokens, failure = await _until_it_fails(client.stream("coder", prompt))
    assert [token.index for token in tokens] == [0, 1]
    assert type(failure) is StreamInterrupted


async def test_leaving_a_stream_early_is_seen_by_the_server(client: Face, plane: Miniature) -> None:
    async with aclosing(client.stream("coder", "!endless")) as tokens:  # type: ignore[type-var]
        async for _ in tokens:
            break

    assert await asyncio.to_thread(plane.stream_left.wait, 5)


def test_lines_are_read_however_the_network_cuts_them() -> None:
    wire = (
        'data: {"token": "a\u2028é", "index": 0}\r\n\r\n: comment\n\ndata: {"token":"b","index":1}\n\ndata: [DONE]\n\n'
    )
    for width in (1, 2, 3, 7, 1000):
        raw, reader, tokens = wire.encode(), TokenReader(), []
        for at in range(0, len(raw), width):
            tokens += reader.feed(raw[at : at + width])
        reader.end()
        assert tokens == [Token("a\u2028é", 0), Token("b", 1)]


def test_a_line_that_is_not_json_is_an_unexpected_answer() -> None:
    with pytest.raises(UnexpectedAnswer, match="not JSON"):
        list(TokenReader().feed(b"data: <html>\n"))


def test_an_error_frame_without_a_code_is_still_an_error() -> None:
    with pytest.raises(ApiError, match="boom"):
        list(TokenReader().feed(b'data: {"error": {"message": "boom"}}\n'))


async def _until_it_fails(stream: AsyncIterator[Token]) -> tuple[list[Token], TritonplaneError | None]:
    tokens: list[Token] = []
    try:
        async for token in stream:
            tokens.append(token)
    except TritonplaneError as failure:
        return tokens, failure
    return tokens, None
