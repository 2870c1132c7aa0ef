"""What the doctor says of the converter environment."""

from __future__ import annotations

from control_plane.domain.diagnosis import Finding
from control_plane.domain.errors import Unsupported
from control_plane.gateways.processes.environment import Environment, GivenEnvironment
from control_plane.gateways.processes.packages import Requirements, imported_versions

NAME = "converter environment"


async def converter_environment(environment: Environment, requirements: Requirements) -> Finding:
    """Imports what is there; what is not there yet is no fault."""
    is_given = isinstance(environment, GivenEnvironment)
    current = environment.current()
    if current is None and not is_given:
        return Finding(NAME, True, "not made yet: made on first need, or now by `tritonplane setup convert`")
    remedy = "tritonplane setup convert --force"
    if is_given:
        remedy = "set TRITONPLANE_CONVERTER_PYTHON to a Python with what converters/requirements.txt lists, or unset it"
    if current is None:
        return Finding(
            NAME, ok=False, reason="the Python of TRITONPLANE_CONVERTER_PYTHON does not exist", remedy=remedy
        )
    try:
        found = await imported_versions(current.python)
    except Unsupported as error:
        return Finding(NAME, False, error.message, remedy)
    told = ", ".join(f"{name} {version}" for name, version in found.items())
    differences = requirements.differences(found)
    warning = f"; not as tested: {', '.join(differences)}" if differences else ""
    return Finding(NAME, True, f"{told}{warning}")
