"""What goes wrong, as one sentence with a hint on stderr and an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tritonplane_client as client
import typer

from control_plane.cli.console import note, visible

REFUSED = 1
USAGE = 2
NO_SERVER = 3
MODELS_SHOWN = 10
HINTS = {
    "UNAUTHORIZED": "give --api-key or set TRITONPLANE_API_KEY; without them a server on this machine is asked with the"
    " admin.key of its state directory (TRITONPLANE_STATE_DIR)",
    "FORBIDDEN": "use a key of a higher role; `tritonplane keys create` makes one",
    "MODEL_NOT_READY": "`tritonplane models load NAME` loads it",
}


@contextmanager
def explained() -> Iterator[None]:
    """Turns what the client raises into a sentence and an exit code."""
    try:
        yield
    except client.TritonplaneError as failure:
        complain(failure.message, _code(failure), hint(failure))
        raise typer.Exit(exit_code(failure)) from failure
    except (FileNotFoundError, PermissionError) as failure:
        complain(str(failure))
        raise typer.Exit(USAGE) from failure


def complain(message: str, code: str | None = None, advice: str | None = None) -> None:
    note(f"tritonplane: {visible(message)}" + (f" ({code})" if code else ""))
    if advice:
        note(f"hint: {visible(advice)}")


def exit_code(failure: client.TritonplaneError) -> int:
    if isinstance(failure, client.InvalidArgument):
        return USAGE
    unreached = (client.ConnectionFailed, client.ConnectionLost, client.RequestTimedOut, client.UnexpectedAnswer)
    return NO_SERVER if isinstance(failure, unreached) else REFUSED


def hint(failure: client.TritonplaneError) -> str | None:
    """What to try next, where that is known."""
    if not isinstance(failure, client.ApiError):
        return None
    if failure.retry_after_s is not None:
        return f"try again in {failure.retry_after_s:.0f} s"
    if failure.code == "FORBIDDEN" and failure.details.get("field"):
        return None  # what was asked is nobody's to have
    if failure.code in HINTS:
        return HINTS[failure.code]
    if failure.code == "MODEL_NOT_FOUND":
        return _other_models(failure)
    return _where_to_look(failure) if isinstance(failure, client.ServerError) else None


def _code(failure: client.TritonplaneError) -> str | None:
    return failure.code if isinstance(failure, client.ApiError) else None


def _other_models(failure: client.ApiError) -> str | None:
    if failure.details.get("suggestion"):
        return str(failure.details["suggestion"])
    names = failure.details.get("available_models")
    return f"there are: {', '.join(map(str, names[:MODELS_SHOWN]))}" if names else None


def _where_to_look(failure: client.ApiError) -> str:
    requires = failure.details.get("requires")
    if requires:
        return f"it needs {', '.join(requires) if isinstance(requires, list) else requires}"
    if failure.request_id:
        return (
            f"the server's log says more about request {failure.request_id}; `tritonplane doctor` looks at the machine"
        )
    return "`tritonplane doctor` looks at the machine"
