"""Which bucket a request counts in, what runs at once, and what is given back."""

from __future__ import annotations

import pytest

from control_plane.domain.access import Principal, Role
from control_plane.domain.errors import EngineFailed, InvalidRequest, ModelNotFound, NotPermitted, RateLimited
from control_plane.domain.limits import LimitClass, Policy, Rate
from control_plane.edge.quotas import QuotaConfig, Quotas, Visit
from tests.doubles.clock import FixedClock
from tests.doubles.quotas import limited

LEA = Principal("lea", Role.USER)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


def test_the_error_says_the_limit_the_window_and_when_to_come_back(clock: FixedClock) -> None:
    quotas = limited(clock)
    for _ in range(10):
        quotas.charge(LEA, LimitClass.INFERENCE)
        clock.advance(1.5)
    with pytest.raises(RateLimited) as refused:
        quotas.charge(LEA, LimitClass.INFERENCE)
    assert refused.value.details == {"limit": 10, "window_seconds": 60, "retry_after_seconds": 45}
    clock.advance(45)
    quota = quotas.charge(LEA, LimitClass.INFERENCE)
    assert quota is not None
    assert quota.remaining == 0


def test_the_wait_is_a_second_at_least(clock: FixedClock) -> None:
    quotas = limited(clock, policies={"tight": Policy("tight", {LimitClass.DEFAULT: Rate(1, 1)})}, policy="tight")
    quotas.charge(LEA, LimitClass.DEFAULT)
    clock.advance(0.9)
    with pytest.raises(RateLimited) as refused:
        quotas.charge(LEA, LimitClass.DEFAULT)
    assert refused.value.details["retry_after_seconds"] == 1


def test_classes_have_buckets_of_their_own(clock: FixedClock) -> None:
    quotas = limited(clock)
    for _ in range(5):
        quotas.charge(LEA, LimitClass.OPTIMIZATION)
    with pytest.raises(RateLimited):
        quotas.charge(LEA, LimitClass.OPTIMIZATION)
    for limit, left in ((LimitClass.DEFAULT, 99), (LimitClass.INFERENCE, 9), (LimitClass.MODEL_MANAGEMENT, 19)):
        quota = quotas.charge(LEA, limit)
        assert quota is not None
        assert quota.remaining == left


def test_under_truthgpt_a_batch_is_inference_and_reading_models_is_managing_them(clock: FixedClock) -> None:
    quotas = limited(clock)
    for one, same in ((LimitClass.BATCH, LimitClass.INFERENCE), (LimitClass.MODEL_READS, LimitClass.MODEL_MANAGEMENT)):
        quotas.charge(LEA, one)
        assert quotas.charge(LEA, same) == quotas.left(LEA, one)
    standard = limited(clock, "standard")
    standard.charge(LEA, LimitClass.MODEL_READS)
    assert standard.charge(LEA, LimitClass.DEFAULT) == standard.left(LEA, LimitClass.MODEL_READS)


def test_a_class_that_is_not_counted_tells_of_the_default_bucket(clock: FixedClock) -> None:
    quotas = limited(clock, "standard")
    quotas.charge(LEA, LimitClass.DEFAULT)
    for _ in range(3):
        quota = quotas.charge(LEA, LimitClass.INFERENCE)
        assert quota is not None
        assert (quota.limit, quota.remaining) == (6000, 5999)


def test_without_limits_there_is_nothing_to_tell(clock: FixedClock) -> None:
    quotas = limited(clock, "unlimited")
    assert [quotas.charge(LEA, limit) for limit in LimitClass] == [None] * len(LimitClass)
    assert quotas.left(LEA, LimitClass.DEFAULT) is None


def test_a_principal_has_the_policy_that_its_credential_names(clock: FixedClock) -> None:
    quotas = limited(clock)
    expected = {None: 10, "ai-services": 100, "standard": 6000, "of another issuer": 10}
    for number, (name, limit) in enumerate(expected.items()):
        quota = quotas.charge(Principal(f"p{number}", Role.USER, name), LimitClass.INFERENCE)
        assert quota is not None
        assert quota.limit == limit


def test_a_policy_that_nobody_wrote_is_refused(clock: FixedClock) -> None:
    with pytest.raises(InvalidRequest, match="no rate limit policy 'gold'; there are standard, truthgpt"):
        Quotas(QuotaConfig(policy="gold"), clock.seconds)


def test_only_so_many_requests_of_one_caller_run_at_once(clock: FixedClock) -> None:
    quotas, other = limited(clock, max_in_flight=2), Principal("other", Role.USER)
    for _ in range(2):
        quotas.enter(LEA)
    with pytest.raises(RateLimited) as refused:
        quotas.enter(LEA)
    assert refused.value.details == {"limit": 2, "retry_after_seconds": 1}
    quotas.enter(other)
    quotas.leave(LEA)
    quotas.enter(LEA)


def test_a_visit_gives_back_what_failed_before_quotas_are_asked_for(clock: FixedClock) -> None:
    quotas = limited(clock)
    for error, left in (
        (ModelNotFound("no such model"), 10),
        (InvalidRequest("no"), 10),
        (NotPermitted("not yours"), 10),
        (EngineFailed("it broke"), 9),
    ):
        visit = Visit(quotas, LEA)
        visit.enter(LimitClass.INFERENCE)
        visit.forgive(error)
        visit.leave()
        quota = visit.left(LimitClass.INFERENCE)
        assert quota is not None
        assert quota.remaining == left, error


def test_a_visit_with_several_charges_gets_each_back_that_failed(clock: FixedClock) -> None:
    quotas = limited(clock)
    visit = Visit(quotas, LEA)
    for _ in range(3):
        visit.enter(LimitClass.DEFAULT)
        clock.advance(1)
    for left in (98, 99, 100, 100):
        visit.forgive(ModelNotFound("no such model"))
        quota = visit.left(LimitClass.DEFAULT)
        assert quota is not None
        assert quota.remaining == left


def test_a_visit_that_is_refused_costs_nothing_and_is_not_in_flight(clock: FixedClock) -> None:
    quotas = limited(clock, max_in_flight=1)
    inside, outside = Visit(quotas, LEA), Visit(quotas, LEA)
    inside.enter(LimitClass.INFERENCE)
    with pytest.raises(RateLimited):
        outside.enter(LimitClass.INFERENCE)
    outside.leave()
    with pytest.raises(RateLimited):
        outside.enter(LimitClass.INFERENCE)
    inside.leave()
    outside.enter(LimitClass.INFERENCE)
    quota = outside.left(LimitClass.INFERENCE)
    assert quota is not None
    assert quota.remaining == 8


def test_who_has_no_credential_is_an_address_and_nobody_else_is(clock: FixedClock) -> None:
    quotas = limited(clock, trusted_proxies=("10.0.0.0/8",))
    anybody = Principal("anonymous", Role.VIEWER, is_anonymous=True)
    assert quotas.named(anybody, "1.2.3.4") == Principal("ip:1.2.3.4", Role.VIEWER, is_anonymous=True)
    assert quotas.named(anybody, "10.0.0.1", "1.2.3.5").id == "ip:1.2.3.5"
    assert quotas.named(LEA, "1.2.3.4") is LEA
