"""The format that an export is asked for in."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query

from control_plane.domain.exports import ExportFormat, parse_format


def parsed_format(
    export_format: Annotated[str, Query(json_schema_extra={"enum": list(ExportFormat)})] = ExportFormat.ONNX.value,
) -> ExportFormat:
    return parse_format(export_format)


WantedFormat = Annotated[ExportFormat, Depends(parsed_format)]
