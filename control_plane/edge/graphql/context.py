"""Who asks, by which request, and what it costs: what every resolver is handed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import strawberry
from graphql import DocumentNode

from control_plane.domain.access import Principal, Role
from control_plane.domain.errors import DomainError, NotPermitted
from control_plane.domain.limits import LimitClass
from control_plane.edge.quotas import Visit
from control_plane.services.audit import acting
from control_plane.services.registry import Services


@dataclass(frozen=True, slots=True)
class Call:
    """Who asks, and by which request."""

    services: Services
    visit: Visit
    request_id: str


@dataclass(frozen=True, slots=True)
class Context:
    """One operation, for its resolvers."""

    call: Call
    document: DocumentNode

    @property
    def services(self) -> Services:
        return self.call.services

    @property
    def request_id(self) -> str:
        return self.call.request_id

    @property
    def principal(self) -> Principal:
        principal = self.call.visit.principal
        assert principal is not None  # nobody comes here without one
        return principal

    @contextmanager
    def entered(self, needed: Role, limit: LimitClass = LimitClass.DEFAULT) -> Iterator[None]:
        """What each root field owes, after its arguments are checked and before it works: a role, and a request.

        Raises: NotPermitted, RateLimited.
        """
        try:
            self.principal.require(needed)
        except NotPermitted as error:
            if (actor := acting()) is not None:
                self.services.audit.refuse(actor, error.code)
            raise
        self.call.visit.enter(limit)
        try:
            yield
        except DomainError as error:
            self.call.visit.forgive(error)
            raise


Info: TypeAlias = strawberry.Info[Context, None]
