"""A number within its bounds, or the refusal that names them."""

from __future__ import annotations

from control_plane.domain.errors import InvalidRequest


def within(name: str, value: float, low: float, high: float) -> None:
    """Raises InvalidRequest; nothing is ever clamped."""
    if not low <= value <= high:
        raise InvalidRequest(f"{name} must be {low} to {high}, got {value}", field=name)
