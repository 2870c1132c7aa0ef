"""`tritonplane infer`: a prompt in, its continuation streamed to the terminal."""

from __future__ import annotations

import sys
from contextlib import closing
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from control_plane.cli.console import note, print_json, print_text
from control_plane.cli.remote import Remote, with_server

if TYPE_CHECKING:
    from tritonplane_client import ApiClient
    from tritonplane_client.schemas import SamplingOptions

STDIN = "-"


@with_server
def infer(  # noqa: PLR0913 - typer reads a command's options from its parameters
    remote: Remote,
    model: Annotated[str, typer.Argument(help="A text model: NAME, NAME:REVISION or NAME@ALIAS.", show_default=False)],
    prompt: Annotated[str, typer.Argument(help="The text to continue; - reads it from stdin.", show_default=False)],
    *,
    max_tokens: Annotated[
        int | None, typer.Option(help="At most so many new tokens; the server's default is 100.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="0 always takes the likeliest token.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Choose among the likeliest tokens of this joint probability.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Choose among so many of the likeliest tokens.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same text.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="Stop before this text; may be given several times.")] = None,
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Print the answer when it is whole.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No figures on stderr.")] = False,
) -> None:
    """Continue a prompt. Tokens are printed as they are made; Ctrl-C stops the generation.

    With --json the whole answer is printed at once, as the server's JSON.
    """
    text = sys.stdin.read() if prompt == STDIN else prompt
    wanted = {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "top_k": top_k, "seed": seed}
    options: SamplingOptions = {}
    options.update({key: value for key, value in wanted.items() if value is not None})  # type: ignore[typeddict-item]
    if stop:
        options["stop_sequences"] = stop
    with remote.connect() as server:
        if remote.as_json:
            print_json(server.generate(model, text, **options))
            return
        figures = (_print_whole if no_stream else _print_stream)(server, model, text, options)
    if not quiet:
        note(figures)


def _print_whole(server: ApiClient, model: str, prompt: str, options: SamplingOptions) -> str:
    reply = server.generate(model, prompt, **options)
    print_text(reply["output"]["text"] + "\n")
    tokens, rate = len(reply["output"]["tokens"]), reply["tokens_per_second"]
    reason = reply["output"].get("finish_reason")
    return f"{tokens} tokens in {reply['inference_time']:.2f} s ({rate:.1f} tokens/s), finished: {reason}"


def _print_stream(server: ApiClient, model: str, prompt: str, options: SamplingOptions) -> str:
    """Units: the figures are as seen from here, the way to the server included."""
    began, first_s, tokens, reason = monotonic(), 0.0, 0, None
    try:
        with closing(server.stream(model, prompt, **options)) as stream:
            for token in stream:
                first_s = first_s or monotonic() - began
                print_text(token.text)
                tokens, reason = tokens + 1, token.finish_reason
    finally:
        if tokens:
            print_text("\n")
    took_s = monotonic() - began
    rate = f"{tokens / took_s:.1f} tokens/s, first after {first_s * 1000:.0f} ms"
    return f"{tokens} tokens in {took_s:.2f} s ({rate}), finished: {reason}"
