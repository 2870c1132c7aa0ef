"""The certificate of the gRPC port, read and checked before the server starts."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from control_plane.domain.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM texts; `certificate` may be a chain, the server's own first."""

    certificate: bytes
    key: bytes


def read_tls(certificate: Path | None, key: Path | None) -> Tls | None:
    """None where neither is given. Raises InvalidRequest in one sentence for anything but a pair that fits."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise InvalidRequest("the gRPC port needs both a TLS certificate and its key, or neither")
    try:
        # gRPC itself would say of a wrong pair that it cannot bind the port.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
        return Tls(certificate.read_bytes(), key.read_bytes())
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise InvalidRequest(f"{certificate} and {key} are no TLS certificate and its key: {reason}") from error


def _no_password() -> str:
    """OpenSSL would ask on the terminal."""
    raise ValueError("the key is encrypted")
