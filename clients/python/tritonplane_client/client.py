"""The blocking client."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, Unpack

from tritonplane_client import operations
from tritonplane_client.drawing_calls import DrawingCalls
from tritonplane_client.export_calls import ExportCalls
from tritonplane_client.job_calls import JobCalls
from tritonplane_client.operations import Operation
from tritonplane_client.optimization_calls import OptimizationCalls
from tritonplane_client.packing import ProgressReader, pack
from tritonplane_client.schemas import (
    GenerationReply,
    HealthReply,
    ImportOptions,
    ImportReply,
    InferReply,
    KeyInfo,
    LoadConfig,
    LoadReply,
    MeReply,
    MetricsReply,
    ModelInfo,
    NewKeyReply,
    ProgressCallback,
    RevisionsReply,
    Role,
    SamplingOptions,
    SubmittedReply,
    TensorInput,
    TokenReply,
    UnloadReply,
)
from tritonplane_client.tokens import Token, TokenReader

T = TypeVar("T")


class ApiClient(JobCalls, ExportCalls, OptimizationCalls, DrawingCalls):
    """A tritonplane server, one method for each thing it does. Use it in a `with` block, or call `close`.

    `base_url` falls back to TRITONPLANE_URL, then http://127.0.0.1:8000; without `api_key` and `token`,
    TRITONPLANE_API_KEY is used. Units: seconds of silence, `timeout` for look-ups, `work_timeout` for calls that
    make the server work (load, import, inference).
    Raises: the family of TritonplaneError, from every method.
    """

    def health(self) -> HealthReply:
        """Needs no credential. Raises UnavailableError, whose details name what is down."""
        return self._call(operations.health())

    def list_models(
        self, *, skip: int = 0, limit: int = 1000, model_type: str | None = None, status: str | None = None
    ) -> list[ModelInfo]:
        return self._call(operations.list_models(skip=skip, limit=limit, model_type=model_type, status=status))

    def get_model(self, model: str) -> ModelInfo:
        return self._call(operations.get_model(model))

    def load_model(self, model: str, *, idempotency_key: str | None = None, **config: Unpack[LoadConfig]) -> LoadReply:
        """Returns when the model answers a probe. Loading what is loaded is fine.

        Under an `idempotency_key` of yours, here and elsewhere, it is done once within 24 hours however often it is
        sent, and is sent again when its connection breaks. Raises ConflictError for a key of another request.
        """
        return self._call(operations.load_model(model, config).under(idempotency_key))

    def unload_model(self, model: str) -> UnloadReply:
        """Returns when requests in flight have finished. Unloading what is not loaded is fine."""
        return self._call(operations.unload_model(model))

    def purge_model(self, model: str) -> UnloadReply:
        """Unload and delete every revision. Raises ConflictError for a model that ships with the product."""
        return self._call(operations.unload_model(model, purge=True))

    def import_model(
        self,
        name: str,
        path: str | Path,
        progress: ProgressCallback | None = None,
        **options: Unpack[ImportOptions],
    ) -> ImportReply:
        """Send a model, and wait until it is a revision: an `.onnx`, `.pt` (TorchScript, torch.export) or zip file, a
        Triton model directory or a Hugging Face directory (both are zipped into the temporary folder first).

        Becomes revision 1 of a new model, or the next revision of an existing one; nothing is loaded.
        """
        return self._send(operations.import_model(name, options), path, progress)

    def import_from_server(
        self, name: str, server_path: str, *, idempotency_key: str | None = None, **options: Unpack[ImportOptions]
    ) -> ImportReply:
        """Import what already lies below the server's import root; `server_path` is relative to that."""
        return self._call(operations.import_model(name, options, server_path).under(idempotency_key))

    def submit_import(
        self,
        name: str,
        path: str | Path,
        progress: ProgressCallback | None = None,
        **options: Unpack[ImportOptions],
    ) -> SubmittedReply:
        """Send a model as `import_model` does, and return as soon as it has arrived: its job goes on."""
        return self._send(operations.submit_import(name, options), path, progress)

    def submit_import_from_server(
        self, name: str, server_path: str, *, idempotency_key: str | None = None, **options: Unpack[ImportOptions]
    ) -> SubmittedReply:
        return self._call(operations.submit_import(name, options, server_path).under(idempotency_key))

    def revisions(self, model: str) -> RevisionsReply:
        return self._call(operations.revisions(model))

    def metrics(
        self, model: str, start: datetime | str | None = None, end: datetime | str | None = None
    ) -> MetricsReply:
        """What it did from `start` to `end` (by default the last 24 hours), and its size now.

        A bare name counts all revisions of the model. A time is an aware datetime, or RFC 3339.
        """
        return self._call(operations.metrics(model, start, end))

    def generate(self, model: str, prompt: str, **options: Unpack[SamplingOptions]) -> GenerationReply:
        return self._call(operations.generate(model, prompt, options))

    def stream(self, model: str, prompt: str, **options: Unpack[SamplingOptions]) -> Generator[Token, None, None]:
        """Tokens as they are made. Closing the generator, or leaving its `for` loop for good, stops the generation.

        Raises: at the first token what `generate` raises; later ApiError or StreamInterrupted.
        """
        return self._frames(operations.stream(model, prompt, options), TokenReader())

    def infer(
        self,
        model: str,
        inputs: Sequence[TensorInput],
        outputs: Sequence[str] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> InferReply:
        """Tensors in, tensors out, as KServe's JSON has them. `outputs` None: all of them."""
        return self._call(operations.infer(model, inputs, outputs, parameters))

    def create_key(
        self, name: str, role: Role = "user", *, rate_limit_policy: str | None = None, expires_at: str | None = None
    ) -> NewKeyReply:
        """A new API key, shown this once. `expires_at`: RFC 3339; None works until it is deleted."""
        return self._call(operations.create_key(name, role, rate_limit_policy=rate_limit_policy, expires_at=expires_at))

    def list_keys(self) -> list[KeyInfo]:
        return self._call(operations.list_keys())

    def delete_key(self, key_id: str) -> None:
        """The key stops working at once."""
        self._call(operations.delete_key(key_id))

    def token(
        self,
        *,
        subject: str | None = None,
        role: Role | None = None,
        expires_in: int | None = None,
        rate_limit_policy: str | None = None,
    ) -> TokenReply:
        """A JWT: your own, or for an admin anybody's. Units: `expires_in` seconds."""
        return self._call(
            operations.token(subject=subject, role=role, expires_in=expires_in, rate_limit_policy=rate_limit_policy)
        )

    def me(self) -> MeReply:
        return self._call(operations.me())

    def _send(self, operation: Operation[T], path: str | Path, progress: ProgressCallback | None) -> T:
        with TemporaryDirectory(prefix="tritonplane-") as folder:
            packed = pack(Path(path), Path(folder))
            with ProgressReader(packed, progress) as upload:
                return self._call(operation, {"file": (packed.name, upload)})
