"""Domain errors as gRPC statuses: a row for each, and texts that fit into trailers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from grpc import StatusCode

from control_plane.domain import errors
from control_plane.domain.access import Principal, Role
from control_plane.domain.errors import DomainError, InvalidRequest, ModelNotFound, RateLimited, Unavailable
from control_plane.edge.grpc.errors import MESSAGE_BYTES_MAX, STATUSES, message_of, trailers_of
from control_plane.edge.grpc.interceptor import Doorkeeper, Rules
from control_plane.edge.http import failures
from control_plane.services.audit import Actor
from tests.doubles.quotas import unlimited
from tests.doubles.services import make_world


def family(root: type[DomainError]) -> Iterator[type[DomainError]]:
    yield root
    for child in root.__subclasses__():
        yield from family(child)


def test_every_domain_error_has_a_status() -> None:
    assert {error.__name__ for error in family(DomainError)} >= {
        name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, DomainError)
    }
    assert {error.code for error in family(DomainError)} <= set(STATUSES)


def test_c_err_01_grpc_and_http_know_the_same_codes() -> None:
    assert set(STATUSES) == set(failures.STATUSES)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("INVALID_REQUEST", StatusCode.INVALID_ARGUMENT),
        ("UNAUTHORIZED", StatusCode.UNAUTHENTICATED),
        ("FORBIDDEN", StatusCode.PERMISSION_DENIED),
        ("MODEL_NOT_FOUND", StatusCode.NOT_FOUND),
        ("MODEL_NOT_READY", StatusCode.FAILED_PRECONDITION),
        ("CONFLICT", StatusCode.ABORTED),
        ("PAYLOAD_TOO_LARGE", StatusCode.RESOURCE_EXHAUSTED),
        ("RATE_LIMIT_EXCEEDED", StatusCode.RESOURCE_EXHAUSTED),
        ("NOT_SUPPORTED_HERE", StatusCode.UNIMPLEMENTED),
        ("PIPELINE_UNAVAILABLE", StatusCode.UNAVAILABLE),
        ("TIMEOUT", StatusCode.DEADLINE_EXCEEDED),
        ("PROCESSING_FAILED", StatusCode.INTERNAL),
        ("INTERNAL_ERROR", StatusCode.INTERNAL),
    ],
)
def test_c_err_01_the_rows_are_the_contracts(code: str, status: StatusCode) -> None:
    assert STATUSES[code] is status


def test_trailers_say_the_request_the_code_and_in_whole_seconds_when_to_ask_again() -> None:
    assert trailers_of(ModelNotFound("no"), "req_1") == (
        ("x-request-id", "req_1"),
        ("x-error-code", "MODEL_NOT_FOUND"),
    )
    assert dict(trailers_of(Unavailable("no", retry_after_seconds=0.2), "req_1"))["retry-after"] == "1"
    assert dict(trailers_of(RateLimited("no", retry_after_seconds=7), "req_1"))["retry-after"] == "7"


@pytest.mark.parametrize("letter", ["a", "é", "漢", "😀"])
def test_a_long_message_is_cut_to_what_trailers_hold(letter: str) -> None:
    assert message_of(InvalidRequest(letter * 10)) == letter * 10
    cut = message_of(InvalidRequest(letter * 5000))
    assert len(cut.encode()) <= MESSAGE_BYTES_MAX + len(" ...")
    assert cut.rstrip(" .") == letter * (MESSAGE_BYTES_MAX // len(letter.encode()))


async def test_a_method_without_a_row_needs_the_highest_role() -> None:
    world = await make_world()
    services, rules = world.services, Rules({"/known": None})
    doorkeeper = Doorkeeper(services.access, services.health, unlimited(), rules, services.audit)

    async def admit(method: str, **metadata: str) -> Principal | None:
        return await doorkeeper._admit(Actor(None, "r-1", "grpc", method), metadata, "ipv4:127.0.0.1:5")

    assert await admit("/known") is None
    with pytest.raises(errors.NotAuthenticated):
        await admit("/forgotten")
    with pytest.raises(errors.NotPermitted):
        await admit("/forgotten", authorization=f"Bearer {world.token(Role.USER)}")
    admin = await admit("/forgotten", authorization=f"Bearer {world.token(Role.ADMIN)}")
    assert admin is not None
    assert admin.role is Role.ADMIN
