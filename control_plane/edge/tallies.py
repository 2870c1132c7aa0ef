"""How many requests were answered how: plain integers while serving, Prometheus families only when scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from control_plane.domain.jobs import JobState
from control_plane.domain.models import ModelState
from control_plane.domain.triton import TritonState
from control_plane.services.registry import Services


class Tally:
    """The answers of one route by status. Touched by one event loop only, so nothing is locked."""

    __slots__ = ("dialect", "method", "route", "statuses")

    def __init__(self, dialect: str, route: str, method: str) -> None:
        self.dialect, self.route, self.method = dialect, route, method
        self.statuses: dict[int, int] = {}

    def count(self, status: int) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1


class Tallies:
    """All routes' tallies. A route is a template, never a raw path: a path would make a new series per id.

    `count_sockets`: how many WebSockets are open.
    """

    def __init__(self) -> None:
        self.count_sockets: Callable[[], int] = lambda: 0
        self._tallies: dict[tuple[str, str, str], Tally] = {}

    def of(self, dialect: str, route: str, method: str) -> Tally:
        key = (dialect, route, method)
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = Tally(*key)
        return tally

    def __iter__(self) -> Iterator[Tally]:
        return iter(list(self._tallies.values()))


class Collector:
    """What prometheus_client asks for all numbers at each scrape."""

    def __init__(self, tallies: Tallies, services: Services) -> None:
        self._tallies, self._services = tallies, services

    def collect(self) -> Iterator[Metric]:
        yield self._requests()
        sockets = GaugeMetricFamily("tritonplane_websockets_open", "WebSockets that are open now.")
        sockets.add_metric([], self._tallies.count_sockets())
        yield sockets
        yield from self._inferences()
        yield from self._states()
        yield from self._jobs()

    def _requests(self) -> Metric:
        labels = ["dialect", "route", "method", "status"]
        requests = CounterMetricFamily("tritonplane_http_requests", "HTTP requests answered.", labels=labels)
        for tally in self._tallies:
            for status, count in list(tally.statuses.items()):
                requests.add_metric([tally.dialect, tally.route, tally.method, str(status)], count)
        return requests

    def _inferences(self) -> Iterator[Metric]:
        seconds = HistogramMetricFamily(
            "tritonplane_inference_seconds", "Wall time of inferences that succeeded.", labels=["model"]
        )
        failures = CounterMetricFamily(
            "tritonplane_inference_failures", "Inferences that failed, by no mistake of the request.", labels=["model"]
        )
        refusals = CounterMetricFamily(
            "tritonplane_inference_refusals", "Requests in which a model found a mistake.", labels=["model"]
        )
        tokens = CounterMetricFamily("tritonplane_tokens_generated", "Tokens given to callers.", labels=["model"])
        running = GaugeMetricFamily("tritonplane_inferences_in_flight", "Inferences running now.", labels=["model"])
        for model, tally in self._services.inference.tallies.items():
            seconds.add_metric([model], tally.seconds.cumulative(), tally.seconds.sum_s)
            failures.add_metric([model], tally.failures)
            refusals.add_metric([model], tally.refusals)
            tokens.add_metric([model], tally.tokens)
            running.add_metric([model], tally.in_flight)
        yield from (seconds, failures, refusals, tokens, running)

    def _states(self) -> Iterator[Metric]:
        models = GaugeMetricFamily(
            "tritonplane_model_state", "1 for the state that a revision is in.", labels=["model", "revision", "state"]
        )
        for status in self._services.catalog.statuses():
            for state in ModelState:
                labels = [status.revision.model, str(status.revision.number), state.value]
                models.add_metric(labels, float(status.state is state))
        yield models
        triton = self._services.health.readiness().triton
        states = GaugeMetricFamily("tritonplane_triton_state", "1 for the state Triton is in.", labels=["state"])
        for known in TritonState:
            states.add_metric([known.value], float(triton.state is known))
        yield states
        restarts = CounterMetricFamily("tritonplane_triton_restarts", "Times Triton was started anew.")
        restarts.add_metric([], triton.restarts)
        yield restarts
        uptime = GaugeMetricFamily("tritonplane_uptime_seconds", "Seconds since this server started.")
        uptime.add_metric([], self._services.health.uptime_s())
        yield uptime

    def _jobs(self) -> Iterator[Metric]:
        jobs = self._services.jobs
        unfinished = GaugeMetricFamily("tritonplane_jobs", "Jobs that are not over.", labels=["state"])
        now = jobs.unfinished()
        for state in (JobState.QUEUED, JobState.RUNNING):
            unfinished.add_metric([state.value], now[state])
        yield unfinished
        ended = CounterMetricFamily("tritonplane_jobs", "Jobs that ended.", labels=["kind", "state"])
        for (kind, state), count in jobs.ended.items():
            ended.add_metric([kind.value, state.value], count)
        yield ended
