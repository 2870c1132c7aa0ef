"""Every setting of the server: `TRITONPLANE_*` in the environment, the same names in tritonplane.toml, or a default."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import (
    BeforeValidator,
    Field,
    PlainValidator,
    PrivateAttr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from control_plane.domain.access import Role
from control_plane.domain.configuration import EffectiveSetting, Origin
from control_plane.domain.errors import InvalidRequest
from control_plane.domain.limits import POLICIES, STANDARD, Policy, policies_of

PREFIX = "TRITONPLANE_"
FILE = Path("tritonplane.toml")
# What programs for the LLMgine server set; our own names win.
ALIASES = {"LLMGINE_API_HOST": "host", "LLMGINE_API_PORT": "port", "LLMGINE_API_DEBUG": "debug"}
CLIENT_NAMES = {"URL", "API_KEY"}  # read by the command line, not by the server
SECRETS = {"jwt_secret", "bootstrap_admin_key"}
SHOWN_LENGTH_MAX = 80


def _listed(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _endpoint(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+:[0-9]{1,5}|\[[0-9A-Fa-f:]+\]:[0-9]{1,5}", value):
        raise ValueError(value)
    return value


def _network(value: str) -> str:
    return str(ip_network(value, strict=False))


def _policies(value: object) -> Mapping[str, Policy]:
    """JSON, or the same as a table of the file."""
    told = json.loads(value) if isinstance(value, str) else value
    if not isinstance(told, dict) or not all(name and isinstance(rates, dict) for name, rates in told.items()):
        raise ValueError(value)
    try:
        return policies_of(told)
    except InvalidRequest as error:
        raise ValueError(error.message) from error


def _role(value: object) -> object:
    return None if value == "none" else value


def _public_key(value: str) -> str:
    """The key itself, also with its lines joined by a literal backslash-n as environment files have it, or its file."""
    if not value.startswith("-----BEGIN"):
        try:
            return Path(value).read_text()
        except OSError as error:
            raise ValueError(value) from error
    return value.replace("\\n", "\n")


Port = Annotated[int, Field(ge=0, le=65535)]
Ports = Annotated[tuple[Port, ...], BeforeValidator(_listed)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Endpoints = Annotated[tuple[Annotated[str, BeforeValidator(_endpoint)], ...], BeforeValidator(_listed)]
Networks = Annotated[tuple[Annotated[str, BeforeValidator(_network)], ...], BeforeValidator(_listed)]
PublicKey = Annotated[str, BeforeValidator(_public_key)]


class Settings(BaseSettings):
    """Each description completes the sentence "it must be ..."; units are in the names or in the descriptions."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, enable_decoding=False, extra="ignore", frozen=True
    )

    _given: frozenset[str] = PrivateAttr(frozenset())  # what neither the environment nor the file said

    host: str = Field("127.0.0.1", description="an address to listen on")
    port: Port = Field(8000, description="a port number, 0 to 65535")
    extra_ports: Ports = Field((), description="port numbers separated by commas")
    grpc_port: Port = Field(50051, description="a port number, 0 to 65535")
    tls_cert: Path | None = Field(None, description="the path of a PEM certificate")
    tls_key: Path | None = Field(None, description="the path of a PEM key")
    grpc_tls_cert: Path | None = Field(None, description="the path of a PEM certificate")
    grpc_tls_key: Path | None = Field(None, description="the path of a PEM key")
    state_dir: Path = Field(
        default_factory=lambda: platformdirs.user_data_path("tritonplane", appauthor=False), description="a directory"
    )
    database_url: str | None = Field(None, description="a database URL of SQLAlchemy, for an async driver")

    triton_endpoints: Endpoints = Field((), description="host:port of each external Triton, separated by commas")
    triton_bin: Path | None = Field(None, description="the path of a tritonserver program")
    converter_python: Path | None = Field(
        None, description="a ready Python for conversions; else one is made in the state directory on first need"
    )
    perf_analyzer: Path | None = Field(
        None, description="the path of a perf_analyzer program; else one is fetched on first need"
    )
    import_root: Path | None = Field(None, description="the directory that models may be imported from")
    import_allow_code: bool = Field(False, description="true or false")
    auto_load: bool = Field(False, description="true or false")
    max_concurrent_loads: int = Field(1, ge=1, le=64, description="a number, 1 to 64")
    max_concurrent_jobs: int = Field(1, ge=1, le=64, description="a number, 1 to 64")
    device_fallback: bool = Field(False, description="true or false")

    jwt_secret: str | None = Field(None, description="the secret of HS256 tokens")
    jwt_public_key: PublicKey | None = Field(None, description="a PEM public key, or the path of one that can be read")
    jwt_alg: Literal["HS256", "RS256", "ES256"] | None = Field(None, description="HS256, RS256 or ES256")
    jwt_issuer: str | None = Field(None, description="the issuer of tokens")
    jwt_audience: str | None = Field(None, description="the audience of tokens")
    bootstrap_admin_key: str | None = Field(None, description="an API key")
    auth_anonymous_role: Annotated[Role | None, BeforeValidator(_role)] = Field(
        None, description="none, viewer, user or admin"
    )
    auth_user_can_manage: bool = Field(False, description="true or false")
    metrics_auth: bool = Field(False, description="true or false")

    # Before the policy, which names one of them.
    rate_limit_policies: Annotated[Mapping[str, Policy], PlainValidator(_policies)] = Field(
        {},
        description='JSON as {"gold": {"default": "1000/60", "inference": "100/60"}}: requests/seconds by class, of'
        " default, inference, optimization, model_management and batch",
    )
    rate_limit_policy: str = Field(
        STANDARD, description=f"{', '.join(POLICIES)}, or a name in TRITONPLANE_RATE_LIMIT_POLICIES"
    )
    max_inflight_per_principal: int = Field(256, ge=1, le=1_000_000, description="a number, 1 to 1000000")
    trusted_proxies: Networks = Field((), description="addresses or networks as 10.0.0.0/8, separated by commas")

    max_body_bytes: int = Field(16 * 2**20, ge=1024, description="a number of bytes, at least 1024")
    max_upload_bytes: int = Field(8 * 2**30, ge=1024, description="a number of bytes, at least 1024")
    cors_origins: Texts = Field((), description="origins separated by commas")
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
    ] = Field("info", description="debug, info, warning or error")
    log_format: Literal["text", "json"] = Field("text", description="text or json")
    access_log: bool = Field(False, description="true or false")
    debug: bool = Field(False, description="true or false")
    hide_pid: bool = Field(False, description="true or false")
    graphql_introspection: bool = Field(True, description="true or false")
    drain_seconds: float = Field(30, ge=0, le=3600, description="a number of seconds, 0 to 3600")

    @field_validator("rate_limit_policy")
    @classmethod
    def _known_policy(cls, name: str, info: ValidationInfo) -> str:
        if name not in POLICIES and name not in info.data.get("rate_limit_policies", {}):
            raise ValueError(name)
        return name

    @property
    def policies(self) -> Mapping[str, Policy]:
        """Those in the box, and the operator's own, which win."""
        return {**POLICIES, **self.rate_limit_policies}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given in code wins over the environment, and that over the file."""
        aliased, filed = (InitSettingsSource(settings_cls, found) for found in (_aliased(), _filed()))
        return init_settings, env_settings, aliased, filed


def load_settings(**given: Any) -> Settings:
    """The settings of this process; `given` wins over all of them.

    Raises: InvalidRequest with one sentence for each setting that is wrong.
    """
    try:
        settings = Settings(**given)
        settings._given = frozenset(given)
        return settings
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{FILE} is not valid TOML: {error}") from error
    except ValidationError as error:
        # Of a list only the first wrong member is told.
        wrong = {str(fault["loc"][0]): fault["input"] for fault in reversed(error.errors())}
        raise InvalidRequest("\n".join(_sentence(name, wrong[name], given) for name in sorted(wrong))) from error


def effective_settings(settings: Settings) -> tuple[EffectiveSetting, ...]:
    """Every setting as `load_settings` found it. Of secrets only whether there is one."""
    filed = _filed()
    return tuple(
        EffectiveSetting(f"{PREFIX}{name.upper()}", _shown(name, getattr(settings, name)), origin)
        for name in Settings.model_fields
        for origin in [_origin_of(name, settings._given, filed)]
    )


def unknown_settings() -> list[str]:
    """A sentence for each name that looks like a setting and is none."""
    known = set(Settings.model_fields)
    ours = [name for name in sorted(os.environ) if name.startswith(PREFIX)]
    from_environment = [
        (name, name.removeprefix(PREFIX)) for name in ours if name.removeprefix(PREFIX) not in CLIENT_NAMES
    ]
    from_file = [(f"{name} in {FILE}", name) for name in sorted(_filed())]
    return [
        f"{shown} is not a setting of this version and has no effect{_suggestion(name.lower(), known)}"
        for shown, name in from_environment + from_file
        if name.lower() not in known
    ]


def _aliased() -> dict[str, str]:
    return {name: os.environ[alias] for alias, name in ALIASES.items() if os.environ.get(alias)}


def _filed() -> dict[str, Any]:
    """What the file says; its names may be written as in the environment."""
    found = tomllib.loads(FILE.read_text()) if FILE.is_file() else {}
    return {name.removeprefix(PREFIX).lower(): value for name, value in found.items()}


def _shown(name: str, value: object) -> object:
    """As JSON."""
    if name in SECRETS:
        return None if value is None else "(set)"
    if name == "database_url" and isinstance(value, str):
        return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:(set)@", value)
    return TypeAdapter(Any).dump_python(value, mode="json")


def _origin_of(name: str, given: frozenset[str], filed: Mapping[str, Any]) -> Origin:
    if name in given:
        return Origin.OPTION
    if os.environ.get(f"{PREFIX}{name.upper()}") or name in _aliased():
        return Origin.ENVIRONMENT
    return Origin.FILE if name in filed else Origin.DEFAULT


def _suggestion(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {PREFIX}{close[0].upper()}?" if close else ""


def _sentence(name: str, value: object, given: dict[str, Any]) -> str:
    shown = "" if name in SECRETS else f", got {str(value)[:SHOWN_LENGTH_MAX]!r}"
    return f"{_origin(name, given)} must be {Settings.model_fields[name].description}{shown}"


def _origin(name: str, given: dict[str, Any]) -> str:
    if name in given:
        return f"the option --{name.replace('_', '-')}"
    if os.environ.get(f"{PREFIX}{name.upper()}"):
        return f"{PREFIX}{name.upper()}"
    alias = next((alias for alias in ALIASES if ALIASES[alias] == name and os.environ.get(alias)), None)
    return alias or f"{name} in {FILE}"
