"""The small parts of the HTTP edge, one by one."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from ulid import ULID

from control_plane.domain.errors import EngineFailed, InvalidRequest, PayloadTooLarge
from control_plane.edge.http.arrivals import check_declared_size, credentials_of, request_id_of
from control_plane.edge.http.bodies import decode
from control_plane.edge.http.compression import compressed, wants_gzip
from control_plane.edge.http.lean import pattern_of
from control_plane.edge.http.replies import begin
from control_plane.edge.http.wire import Corked
from control_plane.edge.times import rfc3339


class Part(msgspec.Struct):
    size: int


class Whole(msgspec.Struct):
    name: str
    parts: list[Part]


whole = msgspec.json.Decoder(Whole)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"not json", b'{"name":"\xff","parts":[]}', b"[" * 100_000])
def test_what_is_no_json_is_refused_as_such(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode(msgspec.json.Decoder(), body) if body.startswith(b"[") else decode(whole, body)
    assert refused.value.details["reason"] == "json"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"name": 1, "parts": []}', ["body", "name"]),
        (b'{"name": "x"}', ["body"]),
        (b'{"name": "x", "parts": [{"size": 1}, {"size": "2"}]}', ["body", "parts", 1, "size"]),
        (b"[]", ["body"]),
    ],
)
def test_a_wrong_shape_is_refused_with_its_place(body: bytes, place: list[object]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode(whole, body)
    assert refused.value.details["reason"] == "schema"
    errors = refused.value.details["errors"]
    assert isinstance(errors, list)
    assert errors[0]["loc"][: len(place)] == place


def test_c_time_01_a_time_is_utc_with_milliseconds_and_z() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=timezone(timedelta(hours=2)))
    assert rfc3339(at) == "2026-01-02T01:04:05.678Z"
    assert rfc3339(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000Z"


def test_c_id_01_a_usable_request_id_is_kept_and_any_other_replaced() -> None:
    assert request_id_of({b"x-request-id": b"abc.D_1-2"}) == "abc.D_1-2"
    for bad in (b"", b"a b", b"x" * 129, b"a\n", "é".encode()):
        assert request_id_of({b"x-request-id": bad}).startswith("req_")
    assert request_id_of({}) != request_id_of({})


def test_c_id_01_an_id_of_ours_is_a_ulid_and_later_ones_sort_later() -> None:
    ids = [request_id_of({}) for _ in range(1000)]
    assert sorted(set(ids)) == ids
    for made in (ids[0], ids[-1]):
        ulid = ULID.from_str(made.removeprefix("req_"))
        assert abs(ulid.timestamp - time.time()) < 60


def test_c_auth_09_a_header_wins_over_a_token_in_the_query() -> None:
    assert credentials_of({}, b"a=1&token=t%2Bx") == (b"Bearer t+x", b"")
    assert credentials_of({b"authorization": b"Bearer h"}, b"token=t") == (b"Bearer h", b"")
    assert credentials_of({b"x-api-key": b"k"}, b"") == (b"", b"k")


def test_c_err_07_a_declared_size_over_the_limit_is_refused() -> None:
    check_declared_size({b"content-length": b"10"}, 10)
    with pytest.raises(PayloadTooLarge):
        check_declared_size({b"content-length": b"11"}, 10)
    check_declared_size({b"content-length": b"x"}, 10)


async def test_c_gzip_01_json_over_a_kilobyte_is_compressed_for_who_takes_it() -> None:
    assert wants_gzip(b"br, gzip;q=0.5", b"application/json", 1025)
    assert wants_gzip(b"*", b"application/json; charset=utf-8", 1025)
    for accepted, media_type, size in [
        (b"gzip", b"application/json", 1024),
        (b"gzip", b"text/event-stream", 9999),
        (b"gzip;q=0", b"application/json", 9999),
        (b"", b"application/json", 9999),
    ]:
        assert not wants_gzip(accepted, media_type, size)
    for size in (2000, 300_000):
        assert gzip.decompress(await compressed(b"a" * size)) == b"a" * size


def test_a_template_matches_one_segment_for_each_parameter() -> None:
    pattern = pattern_of("/v2/models/{model}/versions/{version}/infer")
    found = pattern.fullmatch("/v2/models/a.b/versions/3/infer")
    assert found is not None
    assert found.groups() == ("a.b", "3")
    assert pattern.fullmatch("/v2/models/a/b/versions/3/infer") is None


async def _counting(upto: int, log: list[str]) -> AsyncGenerator[int, None]:
    try:
        for number in range(upto):
            yield number
    finally:
        log.append("closed")


async def test_a_stream_that_has_begun_gives_every_item_once_and_closes_its_source() -> None:
    log: list[str] = []
    assert [item async for item in await begin(_counting(3, log))] == [0, 1, 2]
    assert log == ["closed"]
    log.clear()
    begun = await begin(_counting(3, log))
    await begun.aclose()
    assert log == ["closed"]


async def test_a_stream_without_a_first_item_is_a_failure() -> None:
    with pytest.raises(EngineFailed):
        await begin(_counting(0, []))


class _Transport:
    def __init__(self) -> None:
        self.log: list[bytes] = []

    def write(self, chunk: bytes) -> None:
        self.log.append(chunk)

    def close(self) -> None:
        self.log.append(b"<closed>")

    def is_closing(self) -> bool:
        return False


async def test_what_one_turn_of_the_loop_writes_goes_out_in_one_piece() -> None:
    transport = _Transport()
    corked = Corked(transport, asyncio.get_running_loop())  # type: ignore[arg-type]
    corked.write(b"head ")
    corked.write(b"body")
    assert transport.log == []
    await asyncio.sleep(0)
    assert transport.log == [b"head body"]
    corked.write(b"last")
    corked.close()
    assert transport.log == [b"head body", b"last", b"<closed>"]
    assert corked.is_closing() is False
