"""The certificate of a port, read and checked before the server starts."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from control_plane.domain.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM texts, and the context that they make; `certificate` may be a chain, the server's own first."""

    certificate: bytes
    key: bytes = field(repr=False)
    context: ssl.SSLContext = field(repr=False, compare=False)


def read_tls(port: str, certificate: Path | None, key: Path | None) -> Tls | None:
    """None where neither is given. Raises InvalidRequest in one sentence for anything but a pair that fits.

    `port` says whose they are: HTTP or gRPC.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise InvalidRequest(f"the {port} port needs both a TLS certificate and its key, or neither")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # gRPC itself would say of a wrong pair that it cannot bind the port.
        context.load_cert_chain(certificate, key, password=_no_password)
        return Tls(certificate.read_bytes(), key.read_bytes(), context)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise InvalidRequest(f"{certificate} and {key} are no TLS certificate and its key: {reason}") from error


def _no_password() -> str:
    """OpenSSL would ask on the terminal."""
    raise ValueError("the key is encrypted")
