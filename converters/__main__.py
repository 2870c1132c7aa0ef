"""`python -m converters COMMAND`: one job, its events as JSON lines on a stdout of their own."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from converters.contract import (
    BrokenStream,
    Event,
    Failed,
    evaluation_from_json,
    request_from_json,
    sample_from_json,
    to_line,
)

USAGE = """usage: python -m converters inspect PATH
       python -m converters run JOB.json [--source PATH] [--calibration PATH]
       python -m converters sample | evaluate JOB.json
       python -m converters catalog
"""
Emit = Callable[[Event], None]


def main(arguments: list[str]) -> int:
    match arguments:
        case ["inspect", path]:
            return answer(lambda emit: inspected(Path(path)))
        case ["run", job, *options] if set(options[::2]) <= {"--source", "--calibration"} and len(options) % 2 == 0:
            places = {name.removeprefix("--"): place for name, place in zip(options[::2], options[1::2], strict=True)}
            return answer(lambda emit: attempted("conversion", lambda: converted(Path(job), places, emit)))
        case ["sample", job]:
            return answer(lambda emit: attempted("sampling", lambda: sampled(Path(job))))
        case ["evaluate", job]:
            return answer(lambda emit: attempted("evaluation", lambda: evaluated(Path(job), emit)))
        case ["catalog"]:
            return answer(lambda emit: cataloged())
        case _:
            sys.stderr.write(USAGE)
            return 2


def answer(job: Callable[[Emit], Event]) -> int:
    """Write the events of a job as they come; its last one says how it ended."""
    with private_stdout() as events:

        def emit(event: Event) -> None:
            events.write(to_line(event) + "\n")
            events.flush()

        last = job(emit)
        emit(last)
    return 1 if isinstance(last, Failed) else 0


# Each job imports what it needs: an inspection has no torch, and the catalog nothing heavy at all.
def inspected(path: Path) -> Event:
    from converters.inspection import InvalidModel, inspect

    try:
        return inspect(path)
    except InvalidModel as error:
        return Failed(str(error))
    except MemoryError:
        return Failed("opening it needs more memory than its size justifies")
    except Exception as error:
        return Failed(f"it could not be read ({type(error).__name__})")


def attempted(name: str, job: Callable[[], Event]) -> Event:
    """What a job ends with, its failure in a sentence; `name` is what that calls it."""
    from converters.recipe import Refused

    try:
        return job()
    except Refused as error:
        return Failed(str(error), error.code, error.details)
    except BrokenStream as error:
        return Failed(str(error))
    except MemoryError:
        return Failed(f"the {name} needs more memory than this machine has", "PROCESSING_FAILED")
    except OSError as error:
        traceback.print_exc()  # into the job's log
        return Failed(f"the {name} cannot read or write a file: {error.strerror}", "PIPELINE_UNAVAILABLE")
    except Exception as error:
        traceback.print_exc()
        return Failed(f"the {name} failed ({type(error).__name__}); its log says more", "PROCESSING_FAILED")


def converted(job_file: Path, places: dict[str, str], emit: Emit) -> Event:
    from converters.pipeline import Pipeline

    request = request_from_json(json.loads(job_file.read_text("utf-8")) | places)
    return Pipeline(request, job_file.parent, emit).run()


def sampled(job_file: Path) -> Event:
    from converters.samples.requests import write_sample

    return write_sample(sample_from_json(json.loads(job_file.read_text("utf-8"))), job_file.parent)


def evaluated(job_file: Path, emit: Emit) -> Event:
    from converters.evaluation.compare import evaluate

    return evaluate(evaluation_from_json(json.loads(job_file.read_text("utf-8"))), job_file.parent, emit)


def cataloged() -> Event:
    from converters.ladder import BrokenLevel, catalog

    try:
        return catalog()
    except BrokenLevel as error:
        return Failed(str(error), "PROCESSING_FAILED")


def private_stdout() -> TextIO:
    """The real stdout, for events; whatever a library prints from now on goes to stderr."""
    events = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(events, "w", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
