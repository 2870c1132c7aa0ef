"""Settings from the environment, from the file, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.domain.access import Role
from control_plane.domain.errors import InvalidRequest
from control_plane.domain.limits import LimitClass, Policy, Rate
from control_plane.settings import load_settings, unknown_settings

PEM = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"


def said(**given: object) -> str:
    with pytest.raises(InvalidRequest) as caught:
        load_settings(**given)
    return caught.value.message


def test_without_any_setting_the_server_listens_to_this_machine_only() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.grpc_port) == ("127.0.0.1", 8000, 50051)
    assert (settings.auth_anonymous_role, settings.import_allow_code, settings.max_body_bytes) == (
        None,
        False,
        16777216,
    )
    assert settings.state_dir.name == "tritonplane"


def test_every_kind_of_value_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PORT": "9000",
        "EXTRA_PORTS": "8001, 8002,8003",
        "TRITON_ENDPOINTS": "triton-0:8001,[::1]:8001",
        "STATE_DIR": "/var/lib/tritonplane",
        "IMPORT_ALLOW_CODE": "true",
        "AUTH_ANONYMOUS_ROLE": "viewer",
        "CORS_ORIGINS": "https://a.example,https://b.example",
        "LOG_LEVEL": "DEBUG",
        "DRAIN_SECONDS": "2.5",
    }.items():
        monkeypatch.setenv(f"TRITONPLANE_{name}", value)
    settings = load_settings()
    assert (settings.port, settings.extra_ports) == (9000, (8001, 8002, 8003))
    assert settings.triton_endpoints == ("triton-0:8001", "[::1]:8001")
    assert settings.state_dir == Path("/var/lib/tritonplane")
    assert (settings.import_allow_code, settings.auth_anonymous_role) == (True, Role.VIEWER)
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert (settings.log_level, settings.drain_seconds) == ("debug", 2.5)


def test_the_anonymous_role_none_means_that_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITONPLANE_AUTH_ANONYMOUS_ROLE", "none")
    assert load_settings().auth_anonymous_role is None


def test_an_empty_variable_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "EXTRA_PORTS", "JWT_SECRET", "BOOTSTRAP_ADMIN_KEY", "TRITON_BIN"):
        monkeypatch.setenv(f"TRITONPLANE_{name}", "")
    settings = load_settings()
    assert (settings.port, settings.extra_ports, settings.jwt_secret) == (8000, (), None)
    assert (settings.bootstrap_admin_key, settings.triton_bin) == (None, None)


def test_the_file_has_the_same_names_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("tritonplane.toml").write_text(
        'port = 7000\nTRITONPLANE_GRPC_PORT = 7001\nextra_ports = [7002]\ncors_origins = "*"\n'
    )
    monkeypatch.setenv("TRITONPLANE_PORT", "9000")
    settings = load_settings()
    assert (settings.port, settings.grpc_port, settings.extra_ports) == (9000, 7001, (7002,))
    assert settings.cors_origins == ("*",)


def test_what_is_given_in_code_wins_over_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITONPLANE_AUTH_ANONYMOUS_ROLE", "none")
    assert load_settings(auth_anonymous_role=Role.ADMIN).auth_anonymous_role is Role.ADMIN


def test_l_cfg_02_to_04_the_names_of_llmgine_work_and_ours_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMGINE_API_HOST", "0.0.0.0")
    monkeypatch.setenv("LLMGINE_API_PORT", "9100")
    monkeypatch.setenv("LLMGINE_API_DEBUG", "true")
    Path("tritonplane.toml").write_text('host = "::1"\n')
    settings = load_settings()
    assert (settings.host, settings.port, settings.debug) == ("0.0.0.0", 9100, True)
    monkeypatch.setenv("TRITONPLANE_PORT", "9200")
    assert load_settings().port == 9200


def test_a_public_key_may_be_text_with_escaped_lines_or_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITONPLANE_JWT_PUBLIC_KEY", PEM.replace("\n", "\\n"))
    assert load_settings().jwt_public_key == PEM
    Path("key.pem").write_text(PEM)
    monkeypatch.setenv("TRITONPLANE_JWT_PUBLIC_KEY", "key.pem")
    assert load_settings().jwt_public_key == PEM


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PORT", "http", "TRITONPLANE_PORT must be a port number, 0 to 65535, got 'http'"),
        ("PORT", "65536", "TRITONPLANE_PORT must be a port number, 0 to 65535, got '65536'"),
        ("EXTRA_PORTS", "1,x,y", "TRITONPLANE_EXTRA_PORTS must be port numbers separated by commas, got 'x'"),
        ("AUTO_LOAD", "perhaps", "TRITONPLANE_AUTO_LOAD must be true or false, got 'perhaps'"),
        (
            "AUTH_ANONYMOUS_ROLE",
            "root",
            "TRITONPLANE_AUTH_ANONYMOUS_ROLE must be none, viewer, user or admin, got 'root'",
        ),
        ("JWT_ALG", "none", "TRITONPLANE_JWT_ALG must be HS256, RS256 or ES256, got 'none'"),
        ("LOG_FORMAT", "xml", "TRITONPLANE_LOG_FORMAT must be text or json, got 'xml'"),
        (
            "TRITON_ENDPOINTS",
            "http://triton:8001",
            "TRITONPLANE_TRITON_ENDPOINTS must be host:port of each external Triton, separated by commas, "
            "got 'http://triton:8001'",
        ),
        (
            "JWT_PUBLIC_KEY",
            "/absent.pem",
            "TRITONPLANE_JWT_PUBLIC_KEY must be a PEM public key, or the path of one that can be read, "
            "got '/absent.pem'",
        ),
        (
            "RATE_LIMIT_POLICY",
            "gold",
            "TRITONPLANE_RATE_LIMIT_POLICY must be standard, truthgpt, ai-services, unlimited, or a name in "
            "TRITONPLANE_RATE_LIMIT_POLICIES, got 'gold'",
        ),
        (
            "TRUSTED_PROXIES",
            "10.0.0.0/8,proxy",
            "TRITONPLANE_TRUSTED_PROXIES must be addresses or networks as 10.0.0.0/8, separated by commas, got 'proxy'",
        ),
        (
            "MAX_INFLIGHT_PER_PRINCIPAL",
            "0",
            "TRITONPLANE_MAX_INFLIGHT_PER_PRINCIPAL must be a number, 1 to 1000000, got '0'",
        ),
    ],
)
def test_a_wrong_value_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(f"TRITONPLANE_{name}", value)
    assert said() == sentence


@pytest.mark.parametrize(
    "value",
    [
        "gold",
        "[]",
        '{"gold": "100/60"}',
        '{"": {}}',
        '{"gold": {"default": [100, 60]}}',
        '{"gold": {"default": "100"}}',
        '{"gold": {"default": "0/60"}}',
        '{"gold": {"default": "100/0"}}',
        '{"gold": {"reads": "100/60"}}',
        '{"gold": {"model_reads": "100/60"}}',
    ],
)
def test_policies_that_cannot_be_are_told_how_they_are_written(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TRITONPLANE_RATE_LIMIT_POLICIES", value)
    assert said() == (
        'TRITONPLANE_RATE_LIMIT_POLICIES must be JSON as {"gold": {"default": "1000/60", "inference": "100/60"}}: '
        "requests/seconds by class, of default, inference, optimization, model_management and batch, "
        f"got {value!r}"
    )


def test_c_rl_03_policies_of_ones_own_are_added_and_one_of_them_may_be_everybodys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = '{"gold": {"default": "1000/60", "batch": "5/3600"}, "standard": {}}'
    monkeypatch.setenv("TRITONPLANE_RATE_LIMIT_POLICIES", told)
    monkeypatch.setenv("TRITONPLANE_RATE_LIMIT_POLICY", "gold")
    monkeypatch.setenv("TRITONPLANE_TRUSTED_PROXIES", "10.1.2.3/8, ::1")
    settings = load_settings()
    assert set(settings.policies) == {"standard", "truthgpt", "ai-services", "unlimited", "gold"}
    gold = {LimitClass.DEFAULT: Rate(1000, 60), LimitClass.BATCH: Rate(5, 3600)}
    assert settings.policies[settings.rate_limit_policy] == Policy("gold", gold)
    assert settings.policies["standard"].rates == {}
    assert settings.trusted_proxies == ("10.0.0.0/8", "::1/128")


def test_policies_in_the_file_are_tables() -> None:
    Path("tritonplane.toml").write_text('[rate_limit_policies.gold]\ndefault = "1000/60"\n')
    assert load_settings().policies["gold"].rates == {LimitClass.DEFAULT: Rate(1000, 60)}


def test_every_wrong_value_has_its_own_sentence_that_names_where_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMGINE_API_PORT", "x")
    Path("tritonplane.toml").write_text("grpc_port = -1\n")
    assert said(drain_seconds=-1).splitlines() == [
        "the option --drain-seconds must be a number of seconds, 0 to 3600, got '-1'",
        "grpc_port in tritonplane.toml must be a port number, 0 to 65535, got '-1'",
        "LLMGINE_API_PORT must be a port number, 0 to 65535, got 'x'",
    ]


def test_a_wrong_secret_is_not_shown() -> None:
    Path("tritonplane.toml").write_text("jwt_secret = 4711\n")
    assert said() == "jwt_secret in tritonplane.toml must be the secret of HS256 tokens"


@pytest.mark.parametrize("content", [b"port = \n", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_told(content: bytes) -> None:
    Path("tritonplane.toml").write_bytes(content)
    assert said().startswith("tritonplane.toml is not valid TOML: ")


def test_an_unknown_name_is_told_with_the_closest_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITONPLANE_PROT", "8000")
    monkeypatch.setenv("TRITONPLANE_PORT", "8000")
    monkeypatch.setenv("TRITONPLANE_URL", "http://127.0.0.1:8000")
    monkeypatch.setenv("TRITONPLANE_API_KEY", "tpk_x")
    Path("tritonplane.toml").write_text("colour = true\nhost = '::1'\n")
    assert unknown_settings() == [
        "TRITONPLANE_PROT is not a setting of this version and has no effect; did you mean TRITONPLANE_PORT?",
        "colour in tritonplane.toml is not a setting of this version and has no effect",
    ]
    assert load_settings().port == 8000
