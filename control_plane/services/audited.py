"""Which methods of the services are management verbs, and services that have a line written for each such call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from control_plane.domain.access import Principal
from control_plane.services.audit import Audit, Facts
from control_plane.services.registry import Services

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Verb:
    """`object_of` says from a call's arguments what it is about, or None where no line is due.

    `outcome_of` says from its result what came of it.
    """

    name: str
    object_of: Callable[..., str | None]
    outcome_of: Callable[[Any], Facts] = lambda _: {}


def audited(services: Services) -> Services:
    """The services as dialects are handed them. What services ask of each other is not a caller's verb."""
    wrapped = {name: _audited(getattr(services, name), verbs, services.audit) for name, verbs in _VERBS.items()}
    return replace(services, **wrapped)


def _audited(service: S, verbs: Mapping[str, Verb], audit: Audit) -> S:
    return cast(S, _Audited(service, verbs, audit))


class _Audited:
    """A service whose verbs are recorded. Its other methods are the service's own: the hot path pays nothing."""

    def __init__(self, service: object, verbs: Mapping[str, Verb], audit: Audit) -> None:
        vars(self)["_service"] = service
        for name, method in inspect.getmembers(service, inspect.ismethod):
            if not name.startswith("_"):
                vars(self)[name] = _recorded(method, verbs[name], audit) if name in verbs else method

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_service"], name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(vars(self)["_service"], name, value)


def _recorded(method: Callable[..., Any], verb: Verb, audit: Audit) -> Callable[..., Any]:
    signature = inspect.signature(method)

    @contextmanager
    def line(positional: tuple[Any, ...], named: Mapping[str, Any]) -> Iterator[Callable[[Any], Any]]:
        arguments = tuple(signature.bind(*positional, **named).arguments.values())
        about = verb.object_of(*arguments)
        if about is None:
            yield lambda result: result
            return
        caller = next((one for one in arguments if isinstance(one, Principal)), None)
        with audit.recording(verb.name, about, caller) as facts:

            def told(result: Any) -> Any:
                facts.update(verb.outcome_of(result))
                return result

            yield told

    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def recorded(*positional: Any, **named: Any) -> Any:
            with line(positional, named) as told:
                return told(await method(*positional, **named))

    else:

        @functools.wraps(method)
        def recorded(*positional: Any, **named: Any) -> Any:
            with line(positional, named) as told:
                return told(method(*positional, **named))

    return recorded


def _first(about: str, *_: object) -> str:
    return about


def _revision(status: Any) -> Facts:
    return {"revision": f"{status.revision.model}:{status.revision.number}"}


def _job(job: Any) -> Facts:
    return {"job_id": job.id}


def _token_for_another(wanted: Any, caller: Principal, *_: object) -> str | None:
    return None if wanted.subject in (None, caller.id) else str(wanted.subject)


_VERBS: Mapping[str, Mapping[str, Verb]] = {
    "models": {
        "load": Verb("model.load", _first, _revision),
        "unload": Verb("model.unload", _first, _revision),
        "purge": Verb("model.purge", _first),
    },
    "imports": {
        "submit": Verb("model.import", lambda wanted, *_: wanted.model, _job),
        "submit_change": Verb("model.configure", _first, _job),
    },
    "exports": {"submit": Verb("model.export", _first, _job)},
    "optimizations": {
        "submit": Verb("model.optimize", _first, _job),
        "cancel": Verb("job.cancel", _first),
    },
    "jobs": {"cancel": Verb("job.cancel", _first)},
    "access": {
        "create_key": Verb("key.create", lambda wanted, *_: wanted.name, lambda made: {"key_id": made[0].id}),
        "delete_key": Verb("key.delete", _first),
        "issue_token": Verb("token.issue", _token_for_another),
    },
}
