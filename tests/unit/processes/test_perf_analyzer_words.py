"""What perf_analyzer is told, and what is read from what it says."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from control_plane.domain.errors import EngineFailed, InvalidRequest, Unsupported
from control_plane.domain.tensors import Parameter, Tensor, bytes_tensor, pack
from control_plane.gateways.processes.perf_analyzer_bundle import NEW, OLD, bundle_for
from control_plane.gateways.processes.perf_analyzer_words import input_data, last_words, options, profile_of
from control_plane.ports import ProfileRequest

# Of perf_analyzer 2.51.0 with -b 2.
REPORT = """Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,\
Server Compute Infer,Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency
3,6959.15,2,295,245,11,142,75,0,730,1041,1214,1981
"""
SAID = """Request concurrency: 3
  Client:
    Request count: 3811
    Successful request count: 3811
"""


def wanted(*parameters: tuple[str, Parameter], is_streaming: bool = False) -> ProfileRequest:
    return ProfileRequest("host:1", "m", (), 3, Path("f"), is_streaming, parameters)


def told(request: ProfileRequest) -> str:
    return " ".join(options(request, Path("f/data"), Path("f/report"), 2, 0.5))


def raw_of(entry: dict[str, str]) -> bytes:
    return base64.b64decode(entry["b64"])


def test_rows_become_steps_without_the_batch_axis() -> None:
    whole = (pack("X", "INT32", [2, 2], [1, 2, 3, 4]), bytes_tensor("T", [2, 1], [b"a", b"bc"]))
    text, rows = input_data([whole], has_batch_axis=True)
    steps = json.loads(text)["data"]
    assert rows == 2
    assert [step["X"]["shape"] + step["T"]["shape"] for step in steps] == [[2, 1], [2, 1]]
    assert [raw_of(step["X"]) for step in steps] == [pack("X", "INT32", [2], two).raw for two in ([1, 2], [3, 4])]
    assert [raw_of(step["T"]) for step in steps] == [b"\x01\0\0\0a", b"\x02\0\0\0bc"]


def test_without_a_batch_axis_each_request_goes_as_it_is() -> None:
    text, rows = input_data([(pack("X", "FP16", [2, 1], [1, 2]),)], has_batch_axis=False)
    (step,) = json.loads(text)["data"]
    assert (rows, step["X"]["shape"], raw_of(step["X"])) == (1, [2, 1], b"\0\x3c\0\x40")


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ([(1, 2), (2, 2)], "equally many rows with each request; these have 1, 2"),
        ([(2, 2), (2, 3)], "only where all of them have the same shapes"),
        ([()], "these have 0"),
        ([], "at least one request"),
    ],
)
def test_requests_that_it_cannot_send_are_refused(shapes: list[tuple[int, ...]], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        input_data([(Tensor("X", "BOOL", shape, b"\0" * 6),) for shape in shapes], has_batch_axis=True)


def test_requests_of_one_row_may_differ_in_shape() -> None:
    requests = [(pack("X", "BOOL", [1, size], [True] * size),) for size in (1, 2)]
    text, rows = input_data(requests, has_batch_axis=True)
    assert rows == 1
    assert [step["X"]["shape"] for step in json.loads(text)["data"]] == [[1], [2]]


def test_parameters_travel_in_a_type_that_arrives() -> None:
    line = told(wanted(("a", True), ("b", -3), ("c", 2**31), ("d", 0.25), ("e", "x y"), is_streaming=True))
    for parameter in ("a:true:bool", "b:-3:int", "c:2147483648:string", "d:0.25:string", "e:x y:string"):
        assert f"--request-parameter {parameter}" in line
    assert "--streaming" in line
    assert "--concurrency-range 3" in line
    assert "--measurement-interval 500" in line
    assert "-b 2" in line
    assert "--streaming" not in told(wanted())


@pytest.mark.parametrize("parameter", [("stop", "a:b"), ("a:b", 1), ("", 1)])
def test_a_parameter_with_a_colon_is_refused(parameter: tuple[str, Parameter]) -> None:
    with pytest.raises(InvalidRequest, match="cannot carry the parameter"):
        told(wanted(parameter))


def test_a_report_is_read_in_seconds_and_requests() -> None:
    profile = profile_of(wanted(), REPORT, SAID, 2, "perf_analyzer 2.51.0")
    assert profile.requests_per_s == pytest.approx(3479.575)
    latencies = (profile.latency_p50_s, profile.latency_p95_s, profile.latency_p99_s)
    assert latencies == pytest.approx((0.00073, 0.001214, 0.001981))
    assert (profile.requests, profile.concurrency, profile.tool) == (3811, 3, "perf_analyzer 2.51.0")


@pytest.mark.parametrize(
    ("report", "said"),
    [("", SAID), ("Concurrency\n3\n", SAID), (REPORT, "nothing"), (REPORT.replace("6959.15", "0"), SAID)],
)
def test_a_report_without_numbers_is_a_failure(report: str, said: str) -> None:
    with pytest.raises(EngineFailed):
        profile_of(wanted(), report, said, 1, "perf_analyzer")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("x\nThread [0] had error: no such file /etc/secret/key\nThread [1] had error: y\n", "no such file key"),
        ("error: failed to get model metadata: gone\n", "failed to get model metadata: gone"),
        ("terminate called\n  what():  stoi\n\n", "what(): stoi"),
        (" \n", "it ended with code 3"),
    ],
)
def test_its_last_words_are_told_in_one_line(said: str, words: str) -> None:
    assert last_words(said, 3) == words


def test_the_wheel_is_chosen_by_glibc() -> None:
    assert [bundle_for(glibc) for glibc in ("2.36", "2.38", "2.41", "2.9")] == [OLD, NEW, NEW, OLD]
    assert NEW.requirement.startswith("perf-analyzer==2.60.0 --hash=sha256:23ef")
    with pytest.raises(Unsupported, match="needs a Linux with glibc"):
        bundle_for("")
