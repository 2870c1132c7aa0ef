"""The policies in the box are the contract's (C-RL-03), and an operator's are read as they are written."""

from __future__ import annotations

import pytest

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.limits import POLICIES, LimitClass, Rate, policies_of

CONTRACT = {
    "standard": "6000/60 - 60/300 600/60 600/60",
    "truthgpt": "100/60 10/60 5/300 20/60 10/60",
    "ai-services": "1000/60 100/60 50/60 50/60 10/60",
    "unlimited": "- - - - -",
}
CLASSES = ("default", "inference", "optimization", "model_management", "batch")


@pytest.mark.parametrize("name", CONTRACT)
def test_c_rl_03_a_policy_in_the_box_has_the_rates_of_the_contract(name: str) -> None:
    policy = POLICIES[name]
    rates = [policy.rates.get(policy.counts_as.get(LimitClass(word), LimitClass(word))) for word in CLASSES]
    assert " ".join("-" if rate is None else f"{rate.limit}/{rate.window_s}" for rate in rates) == CONTRACT[name]


def test_a_policy_is_written_as_requests_in_seconds_by_class() -> None:
    gold = policies_of({"gold": {"default": "1000/60", "model_management": "5/3600"}})["gold"]
    assert gold.rates == {LimitClass.DEFAULT: Rate(1000, 60), LimitClass.MODEL_MANAGEMENT: Rate(5, 3600)}


@pytest.mark.parametrize("rate", ["", "100", "100/", "/60", "0/60", "100/0", "-1/60", "1.5/60", "1e3/60", 100])
def test_a_rate_that_is_none_is_told_how_it_is_written(rate: str) -> None:
    with pytest.raises(InvalidRequest, match="is no rate; 100/60 means 100 requests in any 60 seconds"):
        policies_of({"gold": {"default": rate}})


def test_a_class_that_is_none_is_told_those_there_are() -> None:
    with pytest.raises(InvalidRequest, match="'reads' is no class of requests; there are default, inference, optim"):
        policies_of({"gold": {"reads": "1/1"}})
