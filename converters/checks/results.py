"""What a check found, and the limits that full precision must keep."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from converters.checks.measures import Measure
from converters.contract import JsonObject
from converters.recipe import OutOfTolerance

# Of every difference, where nothing but the order of sums may differ.
FP32_DIFFERENCE_MAX = 1e-3


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison. `limit` None: recorded, not judged. `samples`: how many inputs `value` is over."""

    name: Measure
    value: float
    samples: int
    limit: float | None = None
    at_least: bool = False  # whether `limit` is a floor

    @property
    def passed(self) -> bool:
        if self.limit is None:
            return True
        # Written so that NaN fails both ways.
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def record(self) -> JsonObject:
        return {**asdict(self), "passed": self.passed}


def require_passed(checks: list[Check]) -> None:
    """Raises OutOfTolerance naming the first check that failed."""
    for one in checks:
        if not one.passed:
            raise OutOfTolerance(
                f"the converted model does not answer as its source: {one.name} is {one.value:.3g}, "
                f"{'at least' if one.at_least else 'at most'} {one.limit:g} was expected",
                check=one.record(),
            )
