"""What the model reads: the running interpreter's standard library source, split by file hash."""

from __future__ import annotations

import hashlib
import json
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Machine-made tables, third-party bundles and deliberately broken fixtures: their lines repeat, and teach no Python.
EXCLUDED = (
    "site-packages/",
    "config-",
    "encodings/",
    "ensurepip/_bundled/",
    "lib2to3/tests/data/",
    "pydoc_data/topics.py",
    "test/badsyntax_",
    "test/bad_coding",
    "test/encoded_modules/",
    "test/cjkencodings/",
    "test/test_unicode_identifiers.py",
    "test/tokenize_tests",
    "_sysconfigdata",
)
# A longer file is mostly tables of expected values (test_email, test_argparse); its head is enough.
FILE_LIMIT_BYTES = 200_000
# Of 256 hash buckets, the first few are never trained on.
HELD_OUT_BUCKETS = 8
TEST_FOLDERS = frozenset({"test", "tests", "idle_test"})


@dataclass(frozen=True)
class SourceFile:
    """One file of the corpus, and where it went."""

    path: str
    sha256: str
    text: str

    @property
    def held_out(self) -> bool:
        return int(self.sha256[:2], 16) < HELD_OUT_BUCKETS

    @property
    def is_test(self) -> bool:
        return not TEST_FOLDERS.isdisjoint(self.path.split("/")[:-1])

    @property
    def part(self) -> str:
        return ("held_out" if self.held_out else "train") + ("_test" if self.is_test else "_lib")


def standard_library() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def read_corpus(root: Path) -> list[SourceFile]:
    """Read every usable Python file under `root` once, in path order; equal contents are kept the first time only."""
    seen: set[str] = set()
    files = []
    for file in _readable(root):
        if file.sha256 not in seen:
            seen.add(file.sha256)
            files.append(file)
    return files


def _readable(root: Path) -> Iterator[SourceFile]:
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if any(part in name for part in EXCLUDED):
            continue
        raw = path.read_bytes()
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            continue
        if text.strip():
            yield SourceFile(name, hashlib.sha256(raw).hexdigest(), _normalized(text))


def _normalized(text: str) -> str:
    # Tabs are rare enough in the standard library that a small model should not spend tokens on them.
    return text.replace("\r\n", "\n").expandtabs(8)[:FILE_LIMIT_BYTES]


def write_manifest(files: list[SourceFile], path: Path) -> None:
    """Write what was read: one `[path, sha256, part]` row a file, so that a rerun can be compared."""
    rows = [json.dumps([file.path, file.sha256, file.part]) for file in files]
    path.write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")
