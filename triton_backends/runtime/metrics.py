"""Numbers of a backend on Triton's own metrics page."""

from __future__ import annotations

import importlib
from collections.abc import Mapping


class Metrics:
    """Gauges of one model; `set` costs a round trip to the Triton process for each that changed."""

    def __init__(self, descriptions: Mapping[str, str], labels: Mapping[str, str]) -> None:
        family = importlib.import_module("triton_python_backend_utils").MetricFamily
        # The families must live as long as their metrics.
        self._families = {
            name: family(name=name, description=text, kind=family.GAUGE) for name, text in descriptions.items()
        }
        self._metrics = {name: one.Metric(labels=dict(labels)) for name, one in self._families.items()}
        self._last: dict[str, float] = {}

    def set(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if self._last.get(name) != value:
                self._metrics[name].set(value)
                self._last[name] = value

    def close(self) -> None:
        """To be called while Triton still listens: given up at the interpreter's end, they crash the stub process."""
        self._metrics.clear()
        self._families.clear()
