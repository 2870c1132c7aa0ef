"""How both clients call: one request, tried again where that is safe; an answer in pieces; events without end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import aclosing, closing
from itertools import count
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar

import httpx

from tritonplane_client.connection import connect
from tritonplane_client.errors import StreamInterrupted, TritonplaneError, read_error
from tritonplane_client.frames import FrameReader
from tritonplane_client.operations import Operation
from tritonplane_client.retries import DEFAULT_RETRIES, Retries
from tritonplane_client.watching import Watch, cut_short

E = TypeVar("E")
T = TypeVar("T")


class Caller:
    """The blocking one."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 30.0,
        work_timeout: float = 600.0,
        retries: Retries = DEFAULT_RETRIES,
    ) -> None:
        self._connection = connect(base_url, api_key, token, timeout, work_timeout)
        self._http = httpx.Client(**self._connection.http_options)
        self._retries = retries

    @property
    def url(self) -> str:
        return self._connection.url

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, operation: Operation[T], files: Mapping[str, tuple[str, BinaryIO]] | None = None) -> T:
        with closing(self._open(operation, files)) as response:
            try:
                response.read()
            except httpx.RequestError as error:
                raise self._connection.explain(error) from error
            return self._connection.read(operation, response)

    def _open(
        self, operation: Operation[Any], files: Mapping[str, tuple[str, BinaryIO]] | None = None
    ) -> httpx.Response:
        """A response with a good status, its body unread. Tries again as `Retries` says."""
        request = self._connection.request(self._http, operation, files)
        for attempt in count():
            failure: TritonplaneError
            try:
                response = self._http.send(request, stream=True)
                if response.is_success:
                    return response
                with closing(response):
                    failure = read_error(response.status_code, response.read(), response.headers)
            except httpx.RequestError as error:
                failure = self._connection.explain(error)
            wait_s = self._retries.wait_s(failure, attempt, is_repeatable=operation.is_repeatable)
            if wait_s is None:
                raise failure
            time.sleep(wait_s)
        raise AssertionError("unreachable: the loop above only returns or raises")

    def _frames(self, operation: Operation[Any], reader: FrameReader[T]) -> Generator[T, None, None]:
        """The items of one answer. Never tried again once it has begun."""
        with closing(self._open(operation)) as response:
            try:
                for chunk in response.iter_bytes():
                    yield from reader.feed(chunk)
                    if reader.is_done:
                        return
            except httpx.RequestError as error:
                raise StreamInterrupted(f"the stream broke: {self._connection.explain(error)}") from error
        reader.end()

    def _follow(self, watch: Watch[E]) -> Generator[E, None, None]:
        while not watch.is_over:
            try:
                with closing(self._open(watch.operation)) as response:
                    watch.begin(response.status_code)
                    for chunk in response.iter_bytes():
                        yield from watch.feed(chunk)
                        if watch.is_over:
                            return
                failure: TritonplaneError = cut_short()
            except httpx.RequestError as error:
                failure = self._connection.explain(error)
            except TritonplaneError as error:
                failure = error
            if not watch.is_over:
                time.sleep(watch.wait_s(failure))


class AsyncCaller:
    """The one for asyncio."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 30.0,
        work_timeout: float = 600.0,
        retries: Retries = DEFAULT_RETRIES,
    ) -> None:
        self._connection = connect(base_url, api_key, token, timeout, work_timeout)
        self._http = httpx.AsyncClient(**self._connection.http_options)
        self._retries = retries

    @property
    def url(self) -> str:
        return self._connection.url

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _call(self, operation: Operation[T], files: Mapping[str, tuple[str, BinaryIO]] | None = None) -> T:
        async with aclosing(await self._open(operation, files)) as response:
            try:
                await response.aread()
            except httpx.RequestError as error:
                raise self._connection.explain(error) from error
            return self._connection.read(operation, response)

    async def _open(
        self, operation: Operation[Any], files: Mapping[str, tuple[str, BinaryIO]] | None = None
    ) -> httpx.Response:
        request = self._connection.request(self._http, operation, files)
        for attempt in count():
            failure: TritonplaneError
            try:
                response = await self._http.send(request, stream=True)
                if response.is_success:
                    return response
                async with aclosing(response):
                    failure = read_error(response.status_code, await response.aread(), response.headers)
            except httpx.RequestError as error:
                failure = self._connection.explain(error)
            wait_s = self._retries.wait_s(failure, attempt, is_repeatable=operation.is_repeatable)
            if wait_s is None:
                raise failure
            await asyncio.sleep(wait_s)
        raise AssertionError("unreachable: the loop above only returns or raises")

    async def _frames(self, operation: Operation[Any], reader: FrameReader[T]) -> AsyncGenerator[T, None]:
        async with aclosing(await self._open(operation)) as response:
            try:
                async for chunk in response.aiter_bytes():
                    for item in reader.feed(chunk):
                        yield item
                    if reader.is_done:
                        return
            except httpx.RequestError as error:
                raise StreamInterrupted(f"the stream broke: {self._connection.explain(error)}") from error
        reader.end()

    async def _follow(self, watch: Watch[E]) -> AsyncGenerator[E, None]:
        while not watch.is_over:
            try:
                async with aclosing(await self._open(watch.operation)) as response:
                    watch.begin(response.status_code)
                    async for chunk in response.aiter_bytes():
                        for event in watch.feed(chunk):
                            yield event
                        if watch.is_over:
                            return
                failure: TritonplaneError = cut_short()
            except httpx.RequestError as error:
                failure = self._connection.explain(error)
            except TritonplaneError as error:
                failure = error
            if not watch.is_over:
                await asyncio.sleep(watch.wait_s(failure))
