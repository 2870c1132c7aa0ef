"""Files on their way to the server: a directory becomes one zip, and reading a file reports progress."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tritonplane_client.errors import InvalidArgument
from tritonplane_client.schemas import ProgressCallback

LEFT_OUT = frozenset({"__pycache__", ".git"})
# Beside the weights of a Hugging Face directory often lie the same weights for other frameworks, and pickles of them.
_HUB_LEFT_OUT = frozenset({".bin", ".h5", ".msgpack", ".ot", ".pt", ".pth", ".ckpt", ".onnx", ".gguf", ".tflite"})
_HUB_LEFT_OUT_FOLDERS = frozenset({"onnx", "openvino", "coreml"})


def pack(path: Path, folder: Path) -> Path:
    """What to send for `path`: a file as it is; a directory as a zip made in `folder`, its files at the top level.

    Weights hardly compress, so nothing is compressed. Links to files are followed. Of a Hugging Face directory only
    what an import reads is sent; weights in safetensors mean the directory that they lie in.
    Raises: FileNotFoundError; InvalidArgument for a directory that is empty or holds more than files and directories.
    """
    if path.suffix == ".safetensors" and (path.parent / "config.json").is_file():
        path = path.parent
    if path.is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(f"there is no file or directory {str(path)!r}")
    packed = folder / f"{path.resolve().name}.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
        for member in _members(path):
            archive.write(member, member.relative_to(path).as_posix())
        if not any(not entry.is_dir() for entry in archive.infolist()):
            raise InvalidArgument(f"the directory {str(path)!r} holds no files")
    return packed


def _members(directory: Path) -> Iterator[Path]:
    """Everything below a directory, itself not; directories too, for Triton wants even an empty version directory."""
    is_hub = (directory / "config.json").is_file() and any(directory.glob("*.safetensors"))
    left_out = LEFT_OUT | _HUB_LEFT_OUT_FOLDERS if is_hub else LEFT_OUT
    for parent, directories, files in os.walk(directory):
        directories[:] = sorted(name for name in directories if name not in left_out)
        wanted = [name for name in sorted(files) if not is_hub or _is_hub_file(name)]
        for name in [*directories, *wanted]:
            member = Path(parent, name)
            if (member.is_symlink() and member.is_dir()) or not (member.is_dir() or member.is_file()):
                raise InvalidArgument(f"cannot send {str(member)!r}: it is neither a file nor a directory of its own")
            yield member


def _is_hub_file(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix not in _HUB_LEFT_OUT


class ProgressReader(io.FileIO):
    """A file that says how much of it has been read."""

    def __init__(self, path: Path, progress: ProgressCallback | None = None) -> None:
        super().__init__(path, "rb")
        self._progress = progress
        self._total_bytes = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        chunk = super().read(size) or b""
        if self._progress is not None and chunk:
            self._progress(self.tell(), self._total_bytes)
        return chunk
