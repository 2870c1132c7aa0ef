"""Images, for both clients."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Unpack

from tritonplane_client import operations
from tritonplane_client.caller import AsyncCaller, Caller
from tritonplane_client.drawings import DrawingOptions, DrawingReader, DrawingStep, Drawn, read_drawn


class DrawingCalls(Caller):
    """What `ApiClient` does with models that draw."""

    def draw(self, model: str, prompt: str | None = None, **options: Unpack[DrawingOptions]) -> Drawn:
        """PNG images. A hybrid model draws what `prompt` says; a diffusion one takes none, but perhaps a `label`."""
        reply = self._call(operations.draw(model, prompt, options))
        return read_drawn(reply["output"], reply)

    def stream_drawing(
        self, model: str, prompt: str | None = None, **options: Unpack[DrawingOptions]
    ) -> Generator[DrawingStep | Drawn, None, None]:
        """Each step as it is done, and at last the images. Closing the generator stops the drawing."""
        return self._frames(operations.stream_drawing(model, prompt, options), DrawingReader())


class AsyncDrawingCalls(AsyncCaller):
    """What `AsyncApiClient` does with models that draw."""

    async def draw(self, model: str, prompt: str | None = None, **options: Unpack[DrawingOptions]) -> Drawn:
        reply = await self._call(operations.draw(model, prompt, options))
        return read_drawn(reply["output"], reply)

    def stream_drawing(
        self, model: str, prompt: str | None = None, **options: Unpack[DrawingOptions]
    ) -> AsyncGenerator[DrawingStep | Drawn, None]:
        """`aclose` it (or use `contextlib.aclosing`) to stop the drawing early."""
        return self._frames(operations.stream_drawing(model, prompt, options), DrawingReader())
