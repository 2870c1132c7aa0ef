"""`tritonplane infer`: a prompt in, its continuation streamed to the terminal, or images drawn into files."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import tritonplane_client as client
import typer

from control_plane.cli.console import note, print_json, print_text
from control_plane.cli.drawing import Wish, draw
from control_plane.cli.remote import Remote, with_server

if TYPE_CHECKING:
    from tritonplane_client import ApiClient
    from tritonplane_client.schemas import SamplingOptions

STDIN = "-"
DRAWING_TYPES = ("diffusion", "hybrid")
TEXTS, IMAGES = "Texts", "Images"

Model = Annotated[str, typer.Argument(help="NAME, NAME:REVISION or NAME@ALIAS.", show_default=False)]
_PROMPT = "The text to continue, or what a hybrid model is to draw; - reads it from stdin."
Prompt = Annotated[str | None, typer.Argument(help=_PROMPT, show_default=False)]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same text or images.")]
NoStream = Annotated[bool, typer.Option("--no-stream", help="Print the answer when it is whole.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No figures on stderr.")]

_MAX_TOKENS = "At most so many new tokens; the server's default is 100."
MaxTokens = Annotated[int | None, typer.Option(help=_MAX_TOKENS, rich_help_panel=TEXTS)]
Temperature = Annotated[float | None, typer.Option(help="0 always takes the likeliest token.", rich_help_panel=TEXTS)]
_TOP_P = "Choose among the likeliest tokens of this joint probability."
TopP = Annotated[float | None, typer.Option(help=_TOP_P, rich_help_panel=TEXTS)]
_TOP_K = "Choose among so many of the likeliest tokens."
TopK = Annotated[int | None, typer.Option(help=_TOP_K, rich_help_panel=TEXTS)]
_STOP = "Stop before this text; may be given several times."
Stop = Annotated[list[str] | None, typer.Option(help=_STOP, rich_help_panel=TEXTS)]

_STEPS = "So many denoising steps, 1 to 100; the server's default is 20."
Steps = Annotated[int | None, typer.Option(help=_STEPS, rich_help_panel=IMAGES)]
Images = Annotated[int | None, typer.Option(help="So many images, 1 to 16.", rich_help_panel=IMAGES)]
Label = Annotated[str | None, typer.Option(help="Which of a diffusion model's labels to draw.", rich_help_panel=IMAGES)]
_GUIDANCE = "How strongly the prompt or label is followed; 1 is plain."
Guidance = Annotated[float | None, typer.Option(help=_GUIDANCE, rich_help_panel=IMAGES)]
_OUTPUT = "A folder for the images, or a file's name that ends in .png; otherwise they go into this folder."
Output = Annotated[Path | None, typer.Option("--output", "-o", help=_OUTPUT, rich_help_panel=IMAGES)]


@with_server
def infer(  # noqa: PLR0913 - typer reads a command's options from its parameters
    remote: Remote,
    model: Model,
    prompt: Prompt = None,
    *,
    seed: Seed = None,
    no_stream: NoStream = False,
    quiet: Quiet = False,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    stop: Stop = None,
    steps: Steps = None,
    images: Images = None,
    label: Label = None,
    guidance: Guidance = None,
    output: Output = None,
) -> None:
    """Continue a prompt, or draw images with a model of type diffusion or hybrid. Ctrl-C stops it.

    Tokens are printed as they are made. Images are written as PNG files, and their paths printed. With --json the whole
    answer is printed at once, as the server's JSON; images are then written only with --output.
    """
    texts = {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "top_k": top_k, "stop": stop}
    pictures = {"steps": steps, "images": images, "label": label, "guidance": guidance, "output": output}
    text = sys.stdin.read() if prompt == STDIN else prompt
    with remote.connect() as server:
        if server.get_model(model)["type"] in DRAWING_TYPES:
            _refuse(model, "draws images", texts)
            wanted = {"num_steps": steps, "num_images": images, "seed": seed, "label": label, "guidance": guidance}
            wish = Wish(model, text, _given(wanted), output)
            draw(server, wish, as_json=remote.as_json, live=not no_stream, quiet=quiet)
        else:
            _refuse(model, "draws no images", pictures)
            sampling = _given({**texts, "stop": None, "stop_sequences": stop, "seed": seed})
            _write(server, remote, model, text, sampling, stream=not no_stream, quiet=quiet)


def _given(options: dict[str, Any]) -> Any:
    return {name: value for name, value in options.items() if value not in (None, [])}


def _refuse(model: str, what_it_does: str, options: dict[str, Any]) -> None:
    """Raises InvalidArgument where an option is set that this kind of model has no use for."""
    for name in _given(options):
        raise client.InvalidArgument(f"{model} {what_it_does}: --{name.replace('_', '-')} means nothing to it")


def _write(
    server: ApiClient,
    remote: Remote,
    model: str,
    prompt: str | None,
    options: SamplingOptions,
    *,
    stream: bool,
    quiet: bool,
) -> None:
    if prompt is None:
        raise client.InvalidArgument(f"{model} needs a PROMPT: the text to continue, or - for what stdin holds")
    if remote.as_json:
        print_json(server.generate(model, prompt, **options))
        return
    figures = (_print_stream if stream else _print_whole)(server, model, prompt, options)
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
