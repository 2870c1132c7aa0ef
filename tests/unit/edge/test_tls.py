"""The certificate of a port: a pair that fits, or one sentence that says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.domain.errors import InvalidRequest
from control_plane.edge.tls import read_tls
from tests.doubles.certificates import self_signed, written


def test_without_files_there_is_no_tls() -> None:
    assert read_tls("HTTP", None, None) is None


def test_a_certificate_and_its_key_are_read(tmp_path: Path) -> None:
    certificate, key = self_signed()
    read = read_tls("gRPC", *written(tmp_path, certificate, key))
    assert read is not None
    assert (read.certificate, read.key) == (certificate, key)


def test_one_without_the_other_is_refused(tmp_path: Path) -> None:
    for pair in ((tmp_path, None), (None, tmp_path)):
        with pytest.raises(InvalidRequest, match="the HTTP port needs both"):
            read_tls("HTTP", *pair)


def test_what_does_not_fit_is_refused_before_the_port_is_opened(tmp_path: Path) -> None:
    certificate, key = self_signed()
    foreign = self_signed()[1]
    encrypted = self_signed(b"secret")
    for pair in ((certificate, foreign), (b"nonsense", key), (certificate, b"nonsense"), encrypted):
        with pytest.raises(InvalidRequest, match=r"key\.pem are no TLS certificate"):
            read_tls("HTTP", *written(tmp_path, *pair))
    with pytest.raises(InvalidRequest, match="No such file"):
        read_tls("HTTP", tmp_path / "gone", tmp_path / "key.pem")
