"""A model that takes the server down is suspected, then quarantined; its neighbours are not."""

from __future__ import annotations

from control_plane.gateways.triton.loads import LoadLedger


def _crash(ledger: LoadLedger, directory: str, at_s: float) -> None:
    ledger.begin(directory)
    ledger.server_died(at_s)


def test_three_crashes_within_a_minute_quarantine_the_directory_that_was_being_loaded() -> None:
    ledger = LoadLedger()
    ledger.begin("good")
    ledger.answered("good")
    for at_s in (0, 5):
        _crash(ledger, "bad", at_s)
    assert ledger.quarantined == frozenset()
    _crash(ledger, "bad", 10)
    assert ledger.quarantined == {"bad"}


def test_crashes_that_lie_far_apart_are_forgotten() -> None:
    ledger = LoadLedger()
    for at_s in (0, 61, 122, 183):
        _crash(ledger, "unlucky", at_s)
    assert ledger.quarantined == frozenset()


def test_a_directory_that_loads_after_all_is_set_free() -> None:
    ledger = LoadLedger()
    for at_s in (0, 1, 2):
        _crash(ledger, "m", at_s)
    ledger.loaded("m")
    assert ledger.quarantined == frozenset()
