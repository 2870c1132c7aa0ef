"""What it costs to count a request: microseconds for each charge, by the kind of bucket and by how many callers ask."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

from control_plane.domain.access import Principal, Role
from control_plane.domain.limits import LimitClass, Policy, Rate
from control_plane.edge.quotas import QuotaConfig, Quotas, Visit
from control_plane.edge.times import steady_seconds

CALLERS = (1, 100, 10_000)
ROUNDS = 5
KINDS = {
    "log, 6000/60 s": Rate(6000, 60),  # the default bucket of `standard`
    "log, 10000/1 s, full of times": Rate(10_000, 1),
    "counts, 1000000/60 s": Rate(1_000_000, 60),
    "not counted, tells of the default bucket": None,
}


def quotas_of(rate: Rate | None) -> Quotas:
    default = Rate(6000, 60)
    rates = {LimitClass.DEFAULT: default} if rate is None else {LimitClass.INFERENCE: rate}
    return Quotas(QuotaConfig({"measured": Policy("measured", rates)}, "measured"), steady_seconds())


def microseconds(charge: Callable[[Principal], object], callers: list[Principal], requests: int) -> float:
    """Of one call, with all callers in turn; of the processor, so that what else runs here counts little."""
    turns = [callers[number % len(callers)] for number in range(requests)]
    began = time.process_time()
    for caller in turns:
        charge(caller)
    return (time.process_time() - began) / requests * 1e6


def charged(quotas: Quotas) -> Callable[[Principal], object]:
    return lambda caller: quotas.charge(caller, LimitClass.INFERENCE)


def visited(quotas: Quotas) -> Callable[[Principal], object]:
    """All that a request has of it: in flight, charged, told of, left."""

    def visit(caller: Principal) -> None:
        one = Visit(quotas, caller)
        one.enter(LimitClass.INFERENCE)
        one.left(LimitClass.INFERENCE)
        one.leave()

    return visit


def measured(
    way: Callable[[Quotas], Callable[[Principal], object]], rate: Rate | None, callers: int, most: int
) -> float:
    """The median of fresh buckets, none of which is asked for more than it has."""
    everybody = [Principal(f"caller-{number}", Role.USER) for number in range(callers)]
    requests = min(most, callers * (rate.limit if rate else most) - 1)
    return median(microseconds(way(quotas_of(rate)), everybody, requests) for _ in range(ROUNDS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help="of each round, at most")
    most = parser.parse_args().requests
    print("| bucket | callers | charge, us | whole visit, us |\n|---|---|---|---|")
    for kind, rate in KINDS.items():
        for callers in CALLERS:
            charge, visit = measured(charged, rate, callers, most), measured(visited, rate, callers, most)
            print(f"| {kind} | {callers} | {charge:.2f} | {visit:.2f} |")


if __name__ == "__main__":
    main()
