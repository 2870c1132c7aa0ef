"""What the server runs with, and where each setting comes from (X-ADM-01)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from control_plane.domain.configuration import Origin
from control_plane.settings import Settings, effective_settings, load_settings


def told(**given: object) -> dict[str, tuple[object, str]]:
    effective = effective_settings(load_settings(**given))
    json.dumps([one.value for one in effective])  # every value is JSON
    return {one.name.removeprefix("TRITONPLANE_"): (one.value, one.origin.value) for one in effective}


def test_x_adm_01_each_setting_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tritonplane.toml").write_text('log_level = "debug"\nport = 9001\nextra_ports = [9002]\n')
    monkeypatch.setenv("TRITONPLANE_PORT", "9000")
    monkeypatch.setenv("TRITONPLANE_AUTH_ANONYMOUS_ROLE", "viewer")
    monkeypatch.setenv("LLMGINE_API_DEBUG", "true")
    settings = told(state_dir=tmp_path)
    assert set(settings) == {name.upper() for name in Settings.model_fields}
    assert settings["PORT"] == (9000, "environment")
    assert settings["DEBUG"] == (True, "environment")
    assert settings["AUTH_ANONYMOUS_ROLE"] == ("viewer", "environment")
    assert settings["LOG_LEVEL"] == ("debug", "file")
    assert settings["EXTRA_PORTS"] == ([9002], "file")
    assert settings["STATE_DIR"] == (str(tmp_path), "option")
    assert settings["GRPC_PORT"] == (50051, "default")
    assert {origin for _, origin in settings.values()} == {origin.value for origin in Origin}


def test_x_adm_01_secrets_are_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITONPLANE_JWT_SECRET", "a secret of at least thirty-two bytes")
    monkeypatch.setenv("TRITONPLANE_DATABASE_URL", "sqlite+aiosqlite://me:hunter2@/tmp/x.db")
    settings = told()
    assert settings["JWT_SECRET"] == ("(set)", "environment")
    assert settings["BOOTSTRAP_ADMIN_KEY"] == (None, "default")
    assert "hunter2" not in str(settings)
