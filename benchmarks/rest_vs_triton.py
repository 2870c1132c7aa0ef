"""How much of bare Triton's speed is left behind our REST API: both ways in one run, interleaved.

`make bench` or `.venv/bin/python benchmarks/rest_vs_triton.py`. It starts the product itself, in a temporary state
directory on free ports, and drives it and the Triton inside it with the same load generator. Run it on a quiet
machine: "other cores" says how quiet it was.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, its folder would stand there instead

from tritonplane_client import ApiClient  # noqa: E402 - after the path is set

from benchmarks import report  # noqa: E402
from benchmarks.cases import Case, failures_inside_triton, make_cases  # noqa: E402
from benchmarks.load import closed_loop, require_h2load  # noqa: E402
from benchmarks.report import Row  # noqa: E402
from benchmarks.server import Server, running_server  # noqa: E402

TENSOR_MODEL, TENSOR_FILE = "mlp", ROOT / "tests" / "fixtures" / "mlp" / "model.onnx"
WARM_UP_S = 0.5
TEXT_CONCURRENCY_MAX = 32  # above it, requests only wait for a slot of the text model


def main() -> None:
    options = _options()
    require_h2load()
    with ExitStack() as opened:
        state_dir = options.state_dir or Path(opened.enter_context(TemporaryDirectory())) / "state"
        server = opened.enter_context(running_server(state_dir))
        _provide_tensor_model(server)
        cases = make_cases(server, options.text_model, TENSOR_MODEL)
        rows = measured(server, cases, options)
    about = report.machine() | {"text model": options.text_model, "seconds": options.seconds, "rounds": options.rounds}
    print(report.summary(rows, about))
    print(f"written: {report.write(rows, about, options.results)}")
    if any(row.failures for row in rows):
        raise SystemExit("some requests failed; these figures mean nothing")


def measured(server: Server, cases: list[Case], options: argparse.Namespace) -> list[Row]:
    """Both ways of a case one after the other, round by round, so that a drift of the machine hits both."""
    rows = []
    for case in cases:
        for concurrency in options.concurrency:
            if case.name != "tensors" and concurrency > TEXT_CONCURRENCY_MAX:
                continue
            for number in range(options.rounds):
                rows += [_one(server, case, way, concurrency, number, options.seconds) for way in ("Triton", "REST")]
                print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return rows


def _one(server: Server, case: Case, way: str, concurrency: int, number: int, seconds: float) -> Row:
    request = case.front if way == "REST" else case.direct
    closed_loop(request, concurrency, min(seconds, WARM_UP_S))
    failed, before = failures_inside_triton(server, case.model), server.cpu_times()
    cut_off = 2 * concurrency  # what the ends of the warm-up and of the round interrupt fails inside Triton
    load = closed_loop(request, concurrency, seconds)
    after = server.cpu_times()
    front_s, triton_s = after.front_s - before.front_s, after.triton_s - before.triton_s
    other_s = after.machine_s - before.machine_s - front_s - triton_s - load.client_cpu_s
    per_request_us = 1e6 / len(load.durations_s)
    return Row(
        case=case.name,
        concurrency=concurrency,
        way=way,
        round=number,
        requests=len(load.durations_s),
        failures=load.failures + max(failures_inside_triton(server, case.model) - failed - cut_off, 0),
        requests_per_s=load.requests_per_s,
        p50_ms=load.percentile_s(0.5) * 1e3,
        p99_ms=load.percentile_s(0.99) * 1e3,
        front_cpu_us=front_s * per_request_us,
        triton_cpu_us=triton_s * per_request_us,
        client_cpu_us=load.client_cpu_s * per_request_us,
        other_cores=max(other_s, 0.0) / load.took_s,
    )


def _provide_tensor_model(server: Server) -> None:
    with ApiClient(server.http, api_key=server.key) as client:
        if TENSOR_MODEL not in [model["name"] for model in client.list_models()]:
            client.import_model(TENSOR_MODEL, TENSOR_FILE)
        client.load_model(TENSOR_MODEL)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state-dir", type=Path, help="kept afterwards; default: a temporary one")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each round of each case each way (5)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 32, 64], help="requests in flight")
    parser.add_argument("--text-model", default="stdlib-coder")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
