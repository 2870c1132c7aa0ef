"""`tritonplane models`: what there is, and what is loaded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from control_plane.cli.console import (
    count,
    duration,
    note,
    percent,
    print_fields,
    print_json,
    print_table,
    side_console,
    size,
    time,
)
from control_plane.cli.durations import seconds
from control_plane.cli.progress import download_bar, upload_bar
from control_plane.cli.remote import Remote, with_server
from control_plane.cli.watching import follow_job, require_completed

if TYPE_CHECKING:
    from tritonplane_client.schemas import LoadConfig, MetricsReply, RevisionInfo

app = typer.Typer(no_args_is_help=True, help="List, import, export, load and unload models.")
Model = Annotated[str, typer.Argument(help="A model: NAME, NAME:REVISION or NAME@ALIAS.", show_default=False)]
DIGEST_SHOWN = 19  # "sha256:" and twelve digits


@app.command("list")
@with_server
def list_models(
    remote: Remote,
    model_type: Annotated[str | None, typer.Option("--type", help="transformer, diffusion or hybrid.")] = None,
    status: Annotated[str | None, typer.Option(help="loaded, unloaded or optimizing.")] = None,
) -> None:
    """List the models and what each is doing."""
    with remote.connect() as server:
        found = server.list_models(model_type=model_type, status=status)
    if remote.as_json:
        print_json(found)
        return
    rows = [
        (
            model["name"],
            model["type"],
            model.get("state", model["status"]),
            model.get("version"),
            model.get("backend"),
            model["dtype"],
            count(model["parameters"]),
            size(model["size_bytes"]),
        )
        for model in found
    ]
    print_table(("NAME", "TYPE", "STATE", "REVISION", "BACKEND", "DTYPE", "PARAMS", "SIZE"), rows)


@app.command("show")
@with_server
def show(remote: Remote, model: Model) -> None:
    """Show everything that is known of a model."""
    with remote.connect() as server:
        found = server.get_model(model)
    if remote.as_json:
        print_json(found)
        return
    told = {
        "parameters": count(found["parameters"]),
        "size_bytes": size(found["size_bytes"]),
        "memory_bytes": size(found.get("memory_bytes")),
        "created_at": time(found["created_at"]),
        "updated_at": time(found["updated_at"]),
    }
    print_fields([(name, told.get(name, value)) for name, value in found.items()])


@app.command("revisions")
@with_server
def revisions(remote: Remote, model: Model) -> None:
    """List the revisions of a model, and the aliases that point at them."""
    with remote.connect() as server:
        found = server.revisions(model)
    if remote.as_json:
        print_json(found)
        return
    aliases = found["aliases"]
    headings = ("REVISION", "ALIASES", "STATE", "HEALTH", "BACKEND", "PRECISION", "SIZE", "CREATED", "SOURCE", "DIGEST")
    print_table(headings, [_revision_row(revision, aliases) for revision in found["revisions"]])


@app.command("metrics")
@with_server
def metrics(
    remote: Remote,
    model: Model,
    since: Annotated[str, typer.Option(help="From so long ago: 90s, 15m, 12h, 7d.")] = "24h",
) -> None:
    """Show what a model did of late, and what it takes. A bare NAME counts all of its revisions."""
    start = datetime.now(UTC) - timedelta(seconds=seconds(since))
    with remote.connect() as server:
        found = server.metrics(model, start)
    if remote.as_json:
        print_json(found)
        return
    print_fields(_metrics_rows(found))


@app.command("import")
@with_server
def import_model(
    remote: Remote,
    path: Annotated[
        Path,
        typer.Argument(
            help="A .onnx file, a Hugging Face or Triton model directory (or a zip of one), or a torch file."
        ),
    ],
    name: Annotated[str, typer.Option(help="The model's public name; a new one, or one that gets a new revision.")],
    precision: Annotated[
        str | None, typer.Option(help="fp32, fp16, bf16, int8, int8_static, q8 or q4; left out, the model's own.")
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", help="What a TorchScript file takes, once for each input: NAME:FP32:-1,16"),
    ] = None,
    on_server: Annotated[
        bool, typer.Option("--on-server", help="PATH is on the server, below its import root.")
    ] = False,
) -> None:
    """Send a model to the server, which checks it, converts it where need be, and publishes it as a revision.

    Nothing is loaded yet. Ctrl-C while the server is at work leaves the job alone.
    """
    with remote.connect() as server:
        if on_server:
            asked = server.submit_import_from_server(name, str(path), precision=precision, inputs=inputs or [])
        else:
            with upload_bar(path.name) as progress:
                asked = server.submit_import(name, path, progress, precision=precision, inputs=inputs or [])
        job = follow_job(server, asked["job_id"])
    if remote.as_json:
        print_json(job)
    require_completed(job)
    if not remote.as_json:
        done = job["result"] or {}
        revision = f"{name}:{done['revision']}"
        typer.echo(f"imported {revision} ({done['format']}, {size(done['size_bytes'])})")
        note(f"load it: tritonplane models load {revision}")


@app.command("export")
@with_server
def export_model(
    remote: Remote,
    model: Model,
    export_format: Annotated[
        str, typer.Option("--format", help="onnx, safetensors, torchscript, triton (all of it, a zip) or tensorrt.")
    ] = "onnx",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A file, or a folder for a file of the server's name.")
    ] = Path(),
) -> None:
    """Fetch a model from the server, converted where need be, and compare its SHA-256.

    Ctrl-C while the server is at work leaves the job alone.
    """
    if not output.is_dir() and not output.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {str(output.parent)!r}", param_hint="--output")
    with remote.connect() as server:
        job = follow_job(server, server.submit_export(model, export_format)["job_id"])
        if remote.as_json:
            print_json(job)
        require_completed(job)
        with download_bar(model) as progress:
            place = server.download_export((job["result"] or {})["export_id"], output, progress)
    if not remote.as_json:
        typer.echo(f"exported {model} to {place} ({size(place.stat().st_size)})")


@app.command("load")
@with_server
def load(
    remote: Remote,
    model: Model,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the model to answer.", min=1, max=3600)] = 300,
    instances: Annotated[int | None, typer.Option(help="How many copies Triton runs; may make a new revision.")] = None,
    max_batch_size: Annotated[int | None, typer.Option(help="Requests per batch; may make a new revision.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Load the revision of this precision.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
) -> None:
    """Load a model into Triton, and return when it answers."""
    wanted = {"instance_count": instances, "max_batch_size": max_batch_size, "dtype": dtype, "device": device}
    config: LoadConfig = {"timeout_seconds": timeout}
    config.update({key: value for key, value in wanted.items() if value is not None})  # type: ignore[typeddict-item]
    with remote.connect() as server, side_console().status(f"loading {model}"):
        reply = server.load_model(model, **config)
    if remote.as_json:
        print_json(reply)
    else:
        typer.echo(f"loaded {reply['model_id']}")


@app.command("unload")
@with_server
def unload(
    remote: Remote,
    model: Model,
    purge: Annotated[bool, typer.Option("--purge", help="Also delete the model and all of its revisions.")] = False,
) -> None:
    """Unload a model from Triton once its requests in flight have finished."""
    with remote.connect() as server, side_console().status(f"unloading {model}"):
        reply = server.purge_model(model) if purge else server.unload_model(model)
    if remote.as_json:
        print_json(reply)
    else:
        typer.echo(f"{'purged' if purge else 'unloaded'} {model}")


def _metrics_rows(found: MetricsReply) -> list[tuple[str, object]]:
    numbers = found["metrics"]
    rate = numbers["tokens_per_second"]
    return [
        ("model", found["model_id"]),
        ("from", time(found["start_time"])),
        ("to", time(found["end_time"])),
        ("inferences", numbers["inference_count"]),
        ("errors", f"{numbers['error_count']} ({percent(numbers['error_rate'])})"),
        ("average", duration(numbers["avg_inference_time"])),
        ("p50", duration(numbers["p50_inference_time"])),
        ("p95", duration(numbers["p95_inference_time"])),
        ("p99", duration(numbers["p99_inference_time"])),
        ("queue", duration(numbers["avg_queue_time"])),
        ("tokens", numbers["tokens_generated"]),
        ("tokens/s", None if rate is None else f"{rate:.1f}"),
        ("memory", size(numbers["memory_usage_bytes"])),
    ]


def _revision_row(revision: RevisionInfo, aliases: dict[str, int]) -> tuple[object, ...]:
    pointing = [alias for alias, number in sorted(aliases.items()) if number == revision["revision"]]
    return (
        revision["revision"],
        ", ".join(pointing),
        revision["state"],
        revision["health"]["status"],
        revision["backend"],
        revision["precision"],
        size(revision["size_bytes"]),
        time(revision["created_at"]),
        revision["source"],
        revision["digest"][:DIGEST_SHOWN],
    )
