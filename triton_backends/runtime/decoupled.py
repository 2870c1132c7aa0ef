"""What every decoupled model does around its work: says that it is one, takes requests in, and ends."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from triton_backends.runtime.model_files import BrokenModel
from triton_backends.runtime.parameters import InvalidParameter, parse_parameters
from triton_backends.runtime.replies import Reply, ReplyPump
from triton_backends.runtime.triton import Request

CANCEL_ID, CANCEL = "cancel_id", "cancel"  # request parameters of every decoupled model


class QueueFull(RuntimeError):
    """As many requests are under way or waiting as may be; said as Triton itself says it of its own queues."""

    def __init__(self, why: str) -> None:
        super().__init__(f"Exceeds maximum queue size: {why}")


class Closable(Protocol):
    def close(self) -> None: ...


def require_decoupled(config: Mapping[str, Any]) -> None:
    """Raises: BrokenModel."""
    if not config.get("model_transaction_policy", {}).get("decoupled"):
        raise BrokenModel("config.pbtxt must say model_transaction_policy { decoupled: true }")


def accept(
    requests: Sequence[Request], pump: ReplyPump, submit: Callable[[Request, dict[str, Any], Reply], None]
) -> None:
    """Hand each request to `submit` with its parameters and its way back; answer those that it refuses.

    A request with the parameter `cancel_id` can be cancelled by another one, whose `cancel` is the same and whose
    inputs do not matter. Cancelling the call instead crashes Triton now and then, before 2.57.
    """
    for request in requests:
        parameters = parse_parameters(request.parameters())
        name = str(parameters.pop(CANCEL_ID, ""))
        reply = pump.open(request.get_response_sender(), frozenset(request.requested_output_names()), name)
        if CANCEL in parameters:
            pump.cancel(str(parameters[CANCEL]))
            reply.finish()
            continue
        try:
            submit(request, parameters, reply)
        except InvalidParameter as error:
            reply.fail(str(error), "INVALID_ARG")
        except QueueFull as error:
            reply.fail(str(error), "UNAVAILABLE")


def close_all(*parts: Closable) -> None:
    """Close a model's parts, in this order, and let go of what Triton gave them."""
    for part in parts:
        part.close()
    # A reply and its work know each other. What Triton gave them crashes the process if it goes with the interpreter,
    # when the shared memory it lies in is closed already.
    gc.collect()
