"""Where on the server's disk a model may be imported from."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from control_plane.domain.errors import InvalidRequest, NotPermitted, Unsupported


def locate(root: Path | None, file_path: str) -> Path:
    """The file or directory that a client means. It need not exist.

    Raises: NotPermitted for what lies outside the import root, by '..' or by a link; Unsupported without a root.
    """
    if root is None:
        raise Unsupported(
            "this server has no import root; upload the file, or set TRITONPLANE_IMPORT_ROOT",
            requires=["TRITONPLANE_IMPORT_ROOT"],
        )
    if not file_path.strip() or not file_path.isprintable():
        raise InvalidRequest("file_path is empty or holds characters that no file name should", field="file_path")
    path = PurePosixPath(file_path)
    found = (root / path).resolve()
    if path.is_absolute() or ".." in path.parts or not found.is_relative_to(root.resolve()):
        raise NotPermitted("file_path must stay below the import root: relative, without '..'", field="file_path")
    return found
