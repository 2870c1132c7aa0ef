"""What the client makes of refusals, of servers that are not there, and when it tries again."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import tritonplane_client as tp
from starlette.responses import PlainTextResponse, Response
from tritonplane_client.errors import read_error

from tests.doubles.plane import KEY, Miniature, refusal
from tests.unit.client.both import Face

FAMILY = {
    400: tp.BadRequestError,
    401: tp.AuthenticationError,
    403: tp.PermissionDeniedError,
    404: tp.NotFoundError,
    409: tp.ConflictError,
    413: tp.PayloadTooLargeError,
    429: tp.RateLimitedError,
    500: tp.ServerError,
    501: tp.UnsupportedError,
    503: tp.UnavailableError,
    504: tp.DeadlineExceededError,
    405: tp.ApiError,
}


@pytest.mark.parametrize("status", FAMILY)
@pytest.mark.parametrize("path", ["/v1", "/auth"])
async def test_each_status_raises_its_own_error_from_both_envelopes(
    client: Face, plane: Miniature, status: int, path: str
) -> None:
    plane.refusals = [refusal(status, "it is so", "SOME_CODE", path, {"a": 1}) for _ in range(3)]

    with pytest.raises(tp.ApiError) as caught:
        await client.call("load_model", "coder")

    error = caught.value
    assert type(error) is FAMILY[status]
    assert (str(error), error.status, error.code, error.request_id) == ("it is so", status, "SOME_CODE", "r-1")
    assert error.details["a"] == 1


async def test_kserves_bare_string_is_understood_and_the_request_id_taken_from_the_header(client: Face) -> None:
    with pytest.raises(tp.NotFoundError) as caught:
        await client.call("infer", "absent", [])
    assert (str(caught.value), caught.value.code, caught.value.request_id) == ("Request for unknown model", None, "r-2")


def test_the_body_of_the_rate_limiter_keeps_its_error_text_and_time() -> None:
    body = (
        b'{"error":"Rate limit exceeded","message":"Too many requests.","retry_after":7,"code":"RATE_LIMIT_EXCEEDED"}'
    )
    error = read_error(429, body, {"retry-after": "7"})
    assert isinstance(error, tp.RateLimitedError)
    assert (error.message, error.code, error.retry_after_s) == ("Rate limit exceeded", "RATE_LIMIT_EXCEEDED", 7.0)


@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b"[1]", b'{"error": 5}', b"\xff\xfe"])
def test_a_body_that_no_server_of_ours_wrote_still_makes_a_sentence(body: bytes) -> None:
    error = read_error(502, body, {})
    assert type(error) is tp.ServerError
    assert "status 502" in error.message


async def test_a_get_is_tried_again_after_a_passing_failure(client: Face, plane: Miniature) -> None:
    plane.refusals = [Response(status_code=502), refusal(503, "starting", "PIPELINE_UNAVAILABLE")]
    assert len(await client.call("list_models")) == 2
    assert len(plane.seen) == 3


async def test_a_refusal_that_names_a_time_is_waited_out_even_for_a_post(client: Face, plane: Miniature) -> None:
    plane.refusals = [refusal(429, "too many", "RATE_LIMIT_EXCEEDED", retry_after="1")]
    began = time.monotonic()
    assert (await client.call("load_model", "coder"))["success"] is True
    assert time.monotonic() - began >= 1
    assert [seen.body for seen in plane.seen] == [plane.seen[0].body] * 2


@pytest.mark.parametrize(
    "refused",
    [
        refusal(503, "down", "PIPELINE_UNAVAILABLE"),
        refusal(500, "failed", "PROCESSING_FAILED"),
        refusal(429, "too many", "RATE_LIMIT_EXCEEDED", retry_after="3600"),
    ],
)
async def test_nothing_else_is_sent_twice(client: Face, plane: Miniature, refused: Response) -> None:
    plane.refusals = [refused]
    with pytest.raises(tp.ApiError):
        await client.call("load_model", "coder")
    assert len(plane.seen) == 1


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("load_model", ("coder",)),
        ("import_from_server", ("new", "a.onnx")),
        ("submit_import_from_server", ("new", "a.onnx")),
        ("export_model", ("coder", "triton")),
        ("submit_export", ("coder", "triton")),
        ("optimize", ("coder", "basic")),
    ],
)
async def test_c_idem_01_under_a_key_a_post_is_tried_again_with_the_same_key(
    client: Face, plane: Miniature, method: str, arguments: tuple[str, ...]
) -> None:
    plane.refusals = [Response(status_code=502)]
    await client.call(method, *arguments, idempotency_key="k-1")
    assert [seen.headers["idempotency-key"] for seen in plane.seen] == ["k-1", "k-1"]
    await client.call(method, *arguments)
    assert "idempotency-key" not in plane.seen[-1].headers


@pytest.mark.parametrize("key", ["", "a b", "\n", "é", "x" * 256])
async def test_c_idem_01_a_key_that_no_server_takes_is_not_sent(client: Face, plane: Miniature, key: str) -> None:
    with pytest.raises(tp.InvalidArgument, match="visible ASCII"):
        await client.call("load_model", "coder", idempotency_key=key)
    assert plane.seen == []


async def test_tries_are_bounded_and_can_be_switched_off(plane: Miniature) -> None:
    plane.refusals = [Response(status_code=502) for _ in range(9)]
    with tp.ApiClient(plane.url, KEY) as client, pytest.raises(tp.ServerError):
        client.me()
    assert len(plane.seen) == 3
    with tp.ApiClient(plane.url, KEY, retries=tp.NO_RETRIES) as client, pytest.raises(tp.ServerError):
        client.me()
    assert len(plane.seen) == 4


def test_waits_grow_and_stay_under_their_limit() -> None:
    retries = tp.Retries(attempts=9, first_wait_s=1, longest_wait_s=5)
    failure = tp.ConnectionLost("gone")
    waits = [retries.wait_s(failure, attempt, is_repeatable=True) for attempt in range(10)]
    assert waits[9] is None
    for attempt, wait_s in enumerate(waits[:9]):
        assert wait_s is not None
        assert min(5, 2**attempt) <= wait_s <= min(5, 1.5 * 2**attempt)
    assert retries.wait_s(failure, 0, is_repeatable=False) is None


def test_nobody_listening_is_said_in_a_sentence_that_helps() -> None:
    with (
        _silent_port(listening=False) as url,
        tp.ApiClient(url, KEY) as client,
        pytest.raises(tp.ConnectionFailed, match="start one with `tritonplane serve`") as caught,
    ):
        client.list_models()
    assert url in caught.value.message


def test_a_server_that_stays_silent_is_a_timeout_and_not_a_refusal() -> None:
    with (
        _silent_port() as url,
        tp.ApiClient(url, KEY, timeout=0.2, retries=tp.NO_RETRIES) as client,
        pytest.raises(tp.RequestTimedOut, match="stayed silent"),
    ):
        client.list_models()


def test_a_connection_that_breaks_is_lost_and_a_post_is_not_repeated() -> None:
    with (
        _silent_port(closes=True) as url,
        tp.ApiClient(url, KEY) as client,
        pytest.raises(tp.ConnectionLost, match="broke before the answer"),
    ):
        client.load_model("coder")


def test_a_server_of_another_kind_is_recognised(plane: Miniature) -> None:
    plane.refusals = [PlainTextResponse("<html>a development server</html>")]
    with tp.ApiClient(plane.url, KEY) as client, pytest.raises(tp.UnexpectedAnswer, match="is that a tritonplane"):
        client.list_models()


@contextmanager
def _silent_port(*, listening: bool = True, closes: bool = False) -> Iterator[str]:
    """A port where nobody listens, or somebody who never answers, or who hangs up at once."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if listening or closes:
            listener.listen()
        if closes:
            threading.Thread(target=_hang_up, args=(listener,), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def _hang_up(listener: socket.socket) -> None:
    listener.accept()[0].close()
