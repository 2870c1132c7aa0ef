"""The product, opened without its wire."""

from __future__ import annotations

from pathlib import Path

from control_plane.bootstrap import open_product
from control_plane.settings import load_settings


async def test_a_product_whose_triton_does_not_come_up_is_not_ready_and_says_so(tmp_path: Path) -> None:
    async with open_product(load_settings(state_dir=tmp_path / "state")) as product:
        assert await product.is_ready(0.01) is False
