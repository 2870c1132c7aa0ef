"""Which revisions call which others inside Triton, read from the catalog."""

from __future__ import annotations

from collections.abc import Sequence

from control_plane.domain.errors import Conflict, EngineFailed, InvalidRequest, ModelNotFound
from control_plane.domain.models import ModelState, Revision, RevisionStatus
from control_plane.services.catalog import Catalog


def parts_of(catalog: Catalog, pipeline: Revision) -> Sequence[Revision]:
    """Raises EngineFailed where one is gone from the repository."""
    return [_part(catalog, pipeline, directory) for directory in pipeline.parts]


def pipelines_of(catalog: Catalog, part: Revision) -> Sequence[RevisionStatus]:
    """Every pipeline that calls this revision, loaded or not."""
    return [status for status in catalog.statuses() if part.directory in status.revision.parts]


def is_called(status: RevisionStatus) -> bool:
    """Whether a pipeline calls its parts now, or is about to."""
    return status.state not in (ModelState.UNLOADED, ModelState.FAILED)


def find_part(catalog: Catalog, model: str, reference: str) -> Revision:
    """The revision that a pipeline to be published under `model` names. Raises InvalidRequest."""
    try:
        part = catalog.resolve(reference).revision
    except ModelNotFound as error:
        raise InvalidRequest(
            f"config.pbtxt names the part {reference!r}, and {error.message}; import the parts of a pipeline first"
        ) from error
    if part.parts or part.model == model:
        what = "is a pipeline itself" if part.parts else "belongs to the same model"
        raise InvalidRequest(f"config.pbtxt names the part {reference!r}, which {what}")
    return part


def check_kind(catalog: Catalog, revision: Revision) -> None:
    """All revisions of a model are pipelines or none is: a lock of a pipeline is held while one of a part is taken.

    Raises: InvalidRequest.
    """
    for number in catalog.numbers(revision.model):
        known = catalog.revision(revision.model, number)
        if known is not None and bool(known.parts) != bool(revision.parts):
            has = "calls other models" if known.parts else "calls no other model"
            raise InvalidRequest(
                f"revision {known.model}:{known.number} {has}, and this one differs; import it under another name"
            )


def require_unused(catalog: Catalog, part: Revision, verb: str, *, only_called: bool) -> None:
    """Raises Conflict naming the pipelines. `only_called`: those that are not loaded do not count."""
    users = [status for status in pipelines_of(catalog, part) if is_called(status) or not only_called]
    if users:
        names = sorted(f"{status.revision.model}:{status.revision.number}" for status in users)
        raise Conflict(
            f"cannot {verb} {part.model}:{part.number}: it is a part of {', '.join(names)}; {verb} that first",
            pipelines=names,
        )


def _part(catalog: Catalog, pipeline: Revision, directory: str) -> Revision:
    part = catalog.by_directory(directory)
    if part is None:
        raise EngineFailed(f"{pipeline.model}:{pipeline.number} calls {directory!r}, which is not in the repository")
    return part
