"""What nobody expected becomes an error like any other at the edge, and is logged once."""

from __future__ import annotations

import pytest

from control_plane.domain.errors import DomainError, NotFound
from control_plane.edge.refusals import faults_told


def test_a_fault_is_logged_under_its_request_and_raised_as_an_internal_error(caplog: pytest.LogCaptureFixture) -> None:
    bug = KeyError("/secret/place")
    with pytest.raises(DomainError) as raised, faults_told("req_1"):
        raise bug
    assert (raised.value.code, raised.value.details) == ("INTERNAL_ERROR", {})
    assert raised.value.__cause__ is bug
    (record,) = caplog.records
    assert (record.request_id, record.exc_info and record.exc_info[1]) == ("req_1", bug)  # type: ignore[attr-defined]


def test_an_expected_error_passes_as_it_is_and_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    expected = NotFound("there is none")
    with pytest.raises(NotFound) as raised, faults_told("req_1"):
        raise expected
    assert raised.value is expected
    assert caplog.records == []
