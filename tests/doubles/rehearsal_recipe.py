"""A recipe that does to a conversion what a test wants; it is copied into a copy of `converters.recipes`."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from converters.contract import Facts
from converters.formats import GRAPH, Format
from converters.recipe import Lacking, OutOfTolerance, Parameter, Recipe, Refused, Step, UnsupportedSource


def run(step: Step) -> Facts:
    with Path(step.parameters["note"]).open("a") as note:
        note.write(f"{step.parameters['act']}\n")
    step.report(0.5)
    ACTS[step.parameters["act"]](step)
    shutil.copy(step.source.graph, step.target / GRAPH)
    return Facts(dtype="float32", parameters=1, labels={"act": step.parameters["act"]})


def be_noisy(_: Step) -> None:
    print("python writes")  # noqa: T201 - that is the point
    os.write(1, b"a library writes\n")
    subprocess.run(["echo", "a program writes"], check=True)
    sys.stdout.write("x" * 100_000 + "\n")


def garble(_: Step) -> None:
    """Into the stream of events itself."""
    for entry in Path("/proc/self/fd").iterdir():
        if int(entry.name) > 2 and entry.is_socket():
            os.write(int(entry.name), b"nonsense\n")


def look_around(step: Step) -> None:
    around = {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "oom_score_adj": int(Path("/proc/self/oom_score_adj").read_text()),
        "niceness": os.getpriority(os.PRIO_PROCESS, 0),
        "core_bytes": resource.getrlimit(resource.RLIMIT_CORE),
        "seen": [name for name in ("control_plane", "fastapi", "tests", "triton_backends") if _is_seen(name)],
    }
    (step.target / "around.json").write_text(json.dumps(around))
    Path(os.environ["TMPDIR"], "left").write_text("x")
    Path.home().joinpath(".cache").mkdir()


def _is_seen(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def hang_with_family(step: Step) -> None:
    """A child that ignores SIGTERM and has a child of its own; all process ids go beside the note."""
    script = "trap '' TERM; sleep 60 & echo $! $$; wait"
    child = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    pids = Path(f"{step.parameters['note']}.pids")
    pids.with_suffix(".part").write_text(f"{os.getpid()} {child.stdout.readline()}")
    pids.with_suffix(".part").replace(pids)
    time.sleep(60)


def leave_family_behind(_: Step) -> None:
    """A child that keeps both streams open after its parent's end."""
    subprocess.Popen(["sleep", "60"])


def fill_disk(step: Step) -> None:
    """As a library does it: the reason is lost on the way."""
    try:
        with (step.target / "large").open("wb") as file:
            while True:
                file.write(bytes(2**18))
                file.flush()
    except OSError:
        raise RuntimeError("unexpected pos 64 vs 0") from None


def die_once(step: Step) -> None:
    """The first time, by SIGKILL; the note tells how often it was."""
    if Path(step.parameters["note"]).read_text().splitlines().count("die_once") == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def refuse(step: Step) -> None:
    raise Refused(f"layer 3 of {step.source.graph} is odd", layer=3)


def be_unsupported(_: Step) -> None:
    raise UnsupportedSource("nobody takes this", architecture="X")


def lack(_: Step) -> None:
    raise Lacking("this needs a GPU", requires=["nvidia_gpu"])


def be_wrong(_: Step) -> None:
    raise OutOfTolerance("it does not answer as its source", check={"value": 2.0})


def err(_: Step) -> None:
    raise KeyError("/etc/passwd")


ACTS: dict[str, Callable[[Step], object]] = {
    "copy": lambda _: None,
    "crash": lambda _: ctypes.string_at(0),
    "starve": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "vanish": lambda _: os._exit(0),
    **{
        act.__name__: act
        for act in (
            *(be_noisy, garble, look_around, hang_with_family, leave_family_behind, fill_disk, die_once),
            *(refuse, be_unsupported, lack, be_wrong, err),
        )
    },
}

RECIPE = Recipe(
    name="rehearsal",
    summary="do what a test wants",
    gives={Format.ONNX: Format.ONNX},
    run=run,
    parameters={
        "act": Parameter("copy", "what to do", tuple(ACTS)),
        "note": Parameter("", "the file to note each run in"),
    },
)
