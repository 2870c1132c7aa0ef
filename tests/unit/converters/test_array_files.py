"""Files of arrays that callers give: read whole, or refused before they fill the memory."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from converters.recipe import Refused
from converters.samples.tensors import ARRAYS_BYTES_MAX, arrays_of_file


def test_the_arrays_of_a_file_come_by_their_names(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "rows.npz", x=np.arange(4), label=np.ones(4, np.int64))
    found = arrays_of_file(tmp_path / "rows.npz")
    assert sorted(found) == ["label", "x"]
    assert found["x"].tolist() == [0, 1, 2, 3]


def test_an_archive_that_unpacks_to_too_much_is_refused_unread(tmp_path: Path) -> None:
    file, piece = tmp_path / "bomb.npz", bytes(2**20)
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(zipfile.ZipInfo("x.npy"), "w", force_zip64=True) as member,
    ):
        for _ in range(4):
            member.write(piece)
    declared = bytearray(file.read_bytes())
    place = declared.rindex(b"PK\x01\x02")  # the directory, which says how large the member is
    declared[place + 24 : place + 28] = (ARRAYS_BYTES_MAX + 1).to_bytes(4, "little")
    file.write_bytes(declared)
    with pytest.raises(Refused, match=r"bomb\.npz holds over 1024 MiB; a part of its rows will do"):
        arrays_of_file(file)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04", b"PK\x05\x06" + b"\x01" * 18])
def test_what_is_no_archive_of_arrays_is_refused_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(Refused, match=r"must be an \.npz of arrays"):
        arrays_of_file(tmp_path / "x.npz")


def test_an_array_that_ends_too_early_is_refused_in_a_sentence(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(1000))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", (tmp_path / "x.npy").read_bytes()[:200])
    with pytest.raises(Refused, match=r"must be an \.npz of arrays"):
        arrays_of_file(tmp_path / "x.npz")
