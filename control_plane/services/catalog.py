"""Which models and revisions there are and how each is doing, in memory: reads here never wait."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from control_plane.domain.errors import ModelNotFound
from control_plane.domain.events import NewEvent
from control_plane.domain.models import Health, Model, ModelFilter, ModelRecord, ModelState, Revision, RevisionStatus
from control_plane.domain.paging import Page, Paged
from control_plane.domain.references import ModelReference, parse_reference
from control_plane.services import announcing

_NAMES_SHOWN = 50


class Catalog:
    """Changed by services/{models,publishing,loading,reconciliation,optimizing} only; everybody reads it.

    A revision that is loaded while a job works on its model (`begin_work`) is shown as OPTIMIZING, and kept as LOADED.

    `tell` is handed an event of each change, from when the entry point sets it: what was there before is no news.
    """

    def __init__(self) -> None:
        self.tell: Callable[[NewEvent], None] = lambda event: None
        self._records: dict[str, ModelRecord] = {}
        self._statuses: dict[str, dict[int, RevisionStatus]] = {}
        self._resolved: dict[str, RevisionStatus] = {}
        self._works: Counter[str] = Counter()

    # reads

    def list(self, wanted: ModelFilter, page: Page) -> Paged[Model]:
        """Models of the filter, oldest first."""
        models = [model for model in map(self._model, self._records) if _matches(model, wanted)]
        models.sort(key=lambda model: (model.record.created_at, model.name))
        return Paged(models[page.offset : page.offset + page.limit], len(models))

    def get(self, name: str) -> Model:
        """The model of a bare name. Raises ModelNotFound."""
        if name not in self._records:
            raise self._not_found(name)
        return self._model(name)

    def resolve(self, reference: str) -> RevisionStatus:
        """The revision that a reference means now. Raises InvalidRequest, ModelNotFound. One lookup when known."""
        found = self._resolved.get(reference)
        if found is None:
            found = self._resolve(parse_reference(reference))
            self._resolved[reference] = found
        return found

    def status(self, name: str, number: int) -> RevisionStatus:
        """Raises ModelNotFound."""
        return self._resolve(ModelReference(name, number))

    def find(self, revision: Revision) -> RevisionStatus | None:
        """How a revision is doing now, whatever works on it; None once it is purged."""
        return self._statuses.get(revision.model, {}).get(revision.number)

    def revision(self, name: str, number: int) -> Revision | None:
        """A revision whose model may have no record yet."""
        status = self._statuses.get(name, {}).get(number)
        return status.revision if status else None

    def by_directory(self, directory: str) -> Revision | None:
        """The revision that Triton knows by that name."""
        statuses = (status for revisions in self._statuses.values() for status in revisions.values())
        return next((status.revision for status in statuses if status.revision.directory == directory), None)

    def numbers(self, name: str) -> Sequence[int]:
        """The revisions of a model, in rising order."""
        return sorted(self._statuses.get(name, ()))

    def statuses(self) -> Iterable[RevisionStatus]:
        return [self._shown(status) for revisions in self._statuses.values() for status in revisions.values()]

    def record(self, name: str) -> ModelRecord | None:
        return self._records.get(name)

    # writes

    def put_record(self, record: ModelRecord) -> None:
        self._records[record.name] = record
        self._resolved.clear()

    def add_revision(self, revision: Revision) -> None:
        statuses = self._statuses.setdefault(revision.model, {})
        is_news = revision.number not in statuses
        statuses[revision.number] = RevisionStatus(revision, ModelState.UNLOADED)
        self._resolved.clear()
        if is_news:
            self.tell(announcing.published(revision))

    def drop_revision(self, revision: Revision) -> None:
        self._statuses.get(revision.model, {}).pop(revision.number, None)
        self._resolved.clear()
        self.tell(announcing.withdrawn(revision))

    def drop(self, name: str) -> None:
        """Forget a model and all of its revisions."""
        self._records.pop(name, None)
        self._statuses.pop(name, None)
        self._resolved.clear()
        self.tell(announcing.deleted(name))

    def mark(
        self,
        revision: Revision,
        state: ModelState,
        at: datetime,
        *,
        health: Health | None = None,
        last_error: str | None = None,
        memory_bytes: int | None = None,
    ) -> RevisionStatus:
        """Set what a revision is doing; the model's `updated_at` moves when its state does."""
        before = self._statuses[revision.model][revision.number]
        status = RevisionStatus(revision, state, health or Health(), last_error, memory_bytes)
        self._statuses[revision.model][revision.number] = status
        if before.state is not state and (record := self._records.get(revision.model)):
            self._records[revision.model] = replace(record, updated_at=at)
        self._resolved.clear()
        for event in announcing.changes(self._shown(before), self._shown(status)):
            self.tell(event)
        return self._shown(status)

    def begin_work(self, model: str) -> None:
        """A job works on a model from now on, until it or another says `end_work` as often."""
        self._change_works(model, 1)

    def end_work(self, model: str) -> None:
        self._change_works(model, -1)

    def _change_works(self, model: str, by: int) -> None:
        statuses = list(self._statuses.get(model, {}).values())
        before = [self._shown(status) for status in statuses]
        self._works[model] = max(0, self._works[model] + by)
        self._resolved.clear()
        for shown, status in zip(before, statuses, strict=True):
            for event in announcing.changes(shown, self._shown(status)):
                self.tell(event)

    def _shown(self, status: RevisionStatus) -> RevisionStatus:
        is_worked_on = status.state is ModelState.LOADED and self._works[status.revision.model] > 0
        return replace(status, state=ModelState.OPTIMIZING) if is_worked_on else status

    def _model(self, name: str) -> Model:
        statuses = self._statuses[name]
        return Model(self._records[name], tuple(self._shown(statuses[number]) for number in sorted(statuses)))

    def _resolve(self, reference: ModelReference) -> RevisionStatus:
        record = self._records.get(reference.name)
        if record is None:
            raise self._not_found(reference.name)
        number = reference.revision if reference.revision is not None else record.aliases.get(reference.alias)
        status = self._statuses[reference.name].get(number) if number is not None else None
        if status is None:
            revisions, aliases = self.numbers(reference.name), sorted(record.aliases)
            raise ModelNotFound(f"model {reference.name!r} has no {reference}", revisions=revisions, aliases=aliases)
        return self._shown(status)

    def _not_found(self, name: str) -> ModelNotFound:
        names = sorted(model.name for model in map(self._model, self._records) if _matches(model, ModelFilter()))
        close = difflib.get_close_matches(name, names, n=1)
        details: dict[str, object] = {"available_models": names[:_NAMES_SHOWN]}
        if close:
            details["suggestion"] = f"Use {close[0]!r} instead"
        return ModelNotFound(f"there is no model named {name!r}", **details)


def _matches(model: Model, wanted: ModelFilter) -> bool:
    description = model.stable.revision.description
    return (
        (wanted.with_internal or not description.is_internal)
        and (wanted.kind is None or description.kind is wanted.kind)
        and (not wanted.states or model.stable.state in wanted.states)
    )
