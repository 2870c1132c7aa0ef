"""`python -m converters inspect PATH`: one job, its events as JSON lines on a stdout that nothing else can reach."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TextIO

from converters.contract import Event, Failed, to_line
from converters.inspection import InvalidModel, inspect

USAGE = "usage: python -m converters inspect PATH"


def main(arguments: list[str]) -> int:
    match arguments:
        case ["inspect", path]:
            with private_stdout() as events:
                event = attempt(Path(path))
                events.write(to_line(event) + "\n")
            return 1 if isinstance(event, Failed) else 0
        case _:
            sys.stderr.write(f"{USAGE}\n")
            return 2


def attempt(path: Path) -> Event:
    try:
        return inspect(path)
    except InvalidModel as error:
        return Failed(str(error))
    except MemoryError:
        return Failed("opening it needs more memory than its size justifies")
    except Exception as error:
        return Failed(f"it could not be read ({type(error).__name__})")


def private_stdout() -> TextIO:
    """The real stdout, for events; whatever a library prints from now on goes to stderr."""
    events = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(events, "w", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
