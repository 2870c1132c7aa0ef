"""What is told of models to those who follow events."""

from __future__ import annotations

from control_plane.domain.events import NewEvent, Topic
from control_plane.domain.jobs import JsonObject
from control_plane.domain.models import ModelState, Revision, RevisionStatus


def changes(before: RevisionStatus, after: RevisionStatus) -> list[NewEvent]:
    """Another state (`loading`, `loaded`, ...), or of a model that stays loaded another health (`degraded`, ...)."""
    if after.state is ModelState.DEAD and before.state is not ModelState.DEAD:
        return [_of_revision(Topic.HEALTH, "died", after, after.last_error)]
    if before.state is not after.state:
        return [_of_revision(Topic.REVISION, after.state.value, after, after.last_error)]
    if before.health.status is not after.health.status:
        return [_of_revision(Topic.HEALTH, after.health.status.value.lower(), after, after.health.reason)]
    return []


def healed(status: RevisionStatus) -> NewEvent:
    return _of_revision(Topic.HEALTH, "healed", status)


def published(revision: Revision) -> NewEvent:
    """A model has a new revision: imported, or the same files with another configuration."""
    payload: JsonObject = {"model": revision.model, "revision": revision.number, "state": ModelState.UNLOADED.value}
    return NewEvent(Topic.MODEL, revision.model, "imported", payload)


def withdrawn(revision: Revision) -> NewEvent:
    """Published, but its job was interrupted at that moment."""
    return NewEvent(Topic.MODEL, revision.model, "withdrawn", {"model": revision.model, "revision": revision.number})


def deleted(name: str) -> NewEvent:
    return NewEvent(Topic.MODEL, name, "purged", {"model": name})


def _of_revision(topic: Topic, kind: str, status: RevisionStatus, reason: str | None = None) -> NewEvent:
    revision = status.revision
    payload: JsonObject = {"model": revision.model, "revision": revision.number, "state": status.state.value}
    if reason is not None:
        payload["reason"] = reason
    return NewEvent(topic, f"{revision.model}:{revision.number}", kind, payload)
