"""How both clients reach a server: address, credentials, time limits, and what a failure of the network means."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeVar, cast

import httpx

from tritonplane_client.errors import (
    ConnectionFailed,
    ConnectionLost,
    InvalidArgument,
    RequestTimedOut,
    TritonplaneError,
    UnexpectedAnswer,
)
from tritonplane_client.operations import TEXT, Operation
from tritonplane_client.version import __version__

DEFAULT_URL = "http://127.0.0.1:8000"
URL_VARIABLE = "TRITONPLANE_URL"
API_KEY_VARIABLE = "TRITONPLANE_API_KEY"
CERTIFICATES_VARIABLE = "SSL_CERT_FILE"  # OpenSSL's own
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
WATCH_SILENCE_S = 45.0  # an event or a sign of life comes every 15 s
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Connection:
    """Where a server is and who asks. Units: `timeout_s` and `work_timeout_s` are seconds of silence."""

    url: str
    headers: dict[str, str] = field(repr=False)  # a key is among them
    timeout_s: float
    work_timeout_s: float

    @property
    def http_options(self) -> dict[str, Any]:
        """Arguments for httpx's Client and AsyncClient alike."""
        return {
            "base_url": self.url,
            "headers": self.headers,
            "timeout": self.timeout_s,
            # A proxy from the environment cannot reach this machine's own loopback.
            "trust_env": not is_loopback(self.url),
            # But SSL_CERT_FILE names whom to trust there too. Reading it takes 25 ms, so only for https.
            "verify": httpx.create_ssl_context() if self.url.startswith("https:") else True,
        }

    def request(
        self,
        http: httpx.Client | httpx.AsyncClient,
        operation: Operation[Any],
        files: Mapping[str, tuple[str, BinaryIO]] | None,
    ) -> httpx.Request:
        """Raises InvalidArgument for what no request can carry."""
        try:
            return http.build_request(files=files, **self.request_options(operation))
        except ValueError as error:  # of JSON: NaN and infinity; of UTF-8: halves of surrogate pairs
            raise InvalidArgument(
                f"this cannot be sent: numbers must be finite and texts whole characters [{error}]"
            ) from error

    def request_options(self, operation: Operation[Any]) -> dict[str, Any]:
        """Arguments for `build_request` of either client."""
        headers = {"Accept": operation.accept}
        if operation.last_event_id is not None:
            headers["Last-Event-ID"] = str(operation.last_event_id)
        if operation.idempotency_key is not None:
            headers["Idempotency-Key"] = operation.idempotency_key
        return {
            "method": operation.method,
            "url": operation.path,
            "params": {name: value for name, value in operation.query.items() if value is not None},
            "json": operation.body,
            "headers": headers,
            "timeout": httpx.Timeout(self._silence_s(operation), connect=10),
        }

    def _silence_s(self, operation: Operation[Any]) -> float:
        if operation.is_watch:
            return max(self.timeout_s, WATCH_SILENCE_S)
        return self.work_timeout_s if operation.is_work else self.timeout_s

    def explain(self, error: httpx.RequestError) -> TritonplaneError:
        """What a failure of the network means, in a sentence for the one who reads it."""
        failure: TritonplaneError
        if _UNTRUSTED in str(error):
            failure = ConnectionFailed(
                f"the certificate of {self.url} is not to be trusted; name the file of who signed it in"
                f" {CERTIFICATES_VARIABLE} [{error}]"
            )
        elif isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            failure = ConnectionFailed(
                f"no tritonplane server answers at {self.url}; start one with `tritonplane serve`"
                f" or say where it is ({URL_VARIABLE}) [{error or type(error).__name__}]"
            )
        elif isinstance(error, httpx.TimeoutException):
            failure = RequestTimedOut(f"the server at {self.url} stayed silent for too long; it may still be at work")
        else:
            failure = ConnectionLost(
                f"the connection to {self.url} broke before the answer [{error or type(error).__name__}]"
            )
        failure.__cause__ = error
        return failure

    def read(self, operation: Operation[T], response: httpx.Response) -> T:
        """The reply of a successful response. Raises UnexpectedAnswer where it is not JSON."""
        if response.status_code == httpx.codes.NO_CONTENT:
            return cast(T, None)
        if operation.accept == TEXT:
            return cast(T, response.text)
        try:
            return cast(T, response.json())
        except ValueError as error:
            raise UnexpectedAnswer(
                f"{self.url} answers {operation.path}, but not with JSON: is that a tritonplane server?"
            ) from error


def connect(
    base_url: str | None, api_key: str | None, token: str | None, timeout_s: float, work_timeout_s: float
) -> Connection:
    """Raises InvalidArgument for a URL that is none, or a credential that no HTTP header can carry."""
    url = _checked_url((base_url or os.environ.get(URL_VARIABLE) or DEFAULT_URL).rstrip("/"))
    if api_key is None and token is None:
        api_key = os.environ.get(API_KEY_VARIABLE) or None
    headers = {"User-Agent": f"tritonplane-client/{__version__}"}
    if api_key is not None:
        headers["X-API-Key"] = _credential(api_key)
    if token is not None:
        headers["Authorization"] = f"Bearer {_credential(token)}"
    return Connection(url, headers, timeout_s, work_timeout_s)


def is_loopback(url: str) -> bool:
    """Whether a URL means this very machine; one that is no URL does not."""
    try:
        host = httpx.URL(url).host
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except (httpx.InvalidURL, ValueError):
        return False


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidArgument(f"{url!r} is no server address: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidArgument(f"{url!r} is no server address; write it as {DEFAULT_URL}")
    return url


def _credential(text: str) -> str:
    if not (text.isascii() and text.isprintable() and text.strip() == text and text):
        raise InvalidArgument("the API key or token holds characters that cannot be sent; was it copied whole?")
    return text
