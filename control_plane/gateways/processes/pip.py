"""pip: how to run it as its user configured it, how far it is, and why it failed in words that somebody can act on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from control_plane.gateways.processes.scrubbing import scrubbed
from control_plane.ports import Progress, Report

# What its user may have configured for pip, for Python's TLS and for programs that go through a proxy.
_PASSED = re.compile(
    r"PIP_\w+|HOME|XDG_\w+|PATH|LANG|LC_\w+|TMPDIR|LD_LIBRARY_PATH|NETRC|SSL_CERT_\w+|REQUESTS_CA_BUNDLE"
    r"|CURL_CA_BUNDLE|(?i:(?:https?|all|no)_proxy)"
)
# These would put the packages elsewhere, or keep pip from saying what it does.
_DROPPED = re.compile(r"PIP_(?:TARGET|PREFIX|ROOT|USER|PYTHON|DRY_RUN|QUIET|VERBOSE|REPORT|LOG|REQUIREMENT)\w*")
_OPTIONS = ("--no-input", "--no-color", "--progress-bar", "off", "--disable-pip-version-check")
# Shares of the whole that pip's two phases take.
COLLECTED, INSTALLED = 0.7, 1.0
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_UNREACHED = re.compile(
    r"Retrying \(|NewConnectionError|ConnectTimeoutError|ReadTimeoutError|NameResolutionError|ProxyError|SSLError"
)
_REFUSED = re.compile(r"\b(?:401|403|407) (?:Client )?Error|Proxy Authentication Required|not correct for")
_FULL = re.compile(r"No space left on device|Disk quota exceeded")
_MISSING = re.compile(r"No matching distribution found for (\S+)")
_CONFLICT = re.compile(r"Cannot install (.+?) because these package versions")
_SHOWN_LENGTH = 200
_VERSIONS = re.compile(r"\(from versions: ([^)]*)\)")


def install_command(python: str, requirements: Sequence[Path], extra_index_urls: Sequence[str] = ()) -> list[str]:
    files = [word for file in requirements for word in ("-r", str(file))]
    indexes = [word for url in extra_index_urls for word in ("--extra-index-url", url)]
    return [python, "-P", "-m", "pip", "install", *_OPTIONS, *indexes, *files]


def pip_environment(ours: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """What of our environment concerns pip. `scratch` is for its temporary files, where no place is chosen for them."""
    passed = {name: ours[name] for name in ours if _PASSED.fullmatch(name) and not _DROPPED.fullmatch(name)}
    return {"TMPDIR": str(scratch), **passed, "PIP_USER": "0", "PYTHONUNBUFFERED": "1"}


class PipOutput:
    """What pip writes, line by line. `expected`: how many packages it will collect, as far as is known before."""

    def __init__(self, expected: int, report: Report) -> None:
        self._expected, self._report = max(1, expected), report
        self._collected: set[str] = set()
        self._lines: list[str] = []
        self.to_install = 0

    def read(self, line: str) -> None:
        self._lines.append(line)
        word, _, rest = line.strip().partition(" ")
        if word == "Collecting" and (name := _NAME.match(rest)):
            self._collect(name[0])
        elif word == "Processing":  # a file in a wheel directory
            self._collect(rest.split()[0].rpartition("/")[2].partition("-")[0])
        elif word == "Downloading" and ".metadata" not in rest:
            file, _, size = rest.rpartition("/")[2].partition(" ")
            self._say(f"downloading {file.partition('-')[0]} {size}".rstrip())
        elif line.startswith("Installing collected packages:"):
            self.to_install = line.count(",") + 1
            self.installed(0)

    def installed(self, count: int) -> None:
        """How many packages are in the environment."""
        count = min(count, self.to_install)
        fraction = COLLECTED + (INSTALLED - COLLECTED) * count / max(1, self.to_install)
        self._report(Progress(fraction, f"installing {count} of {self.to_install} packages"))

    def failure(self, returncode: int) -> str:
        """Why it ended with this code: half a sentence."""
        text = "\n".join(self._lines)
        if is_about_full_disk(text):
            return "the disk is full"
        missing = _MISSING.search(text)
        if missing is not None:
            return _why_missing(missing[1], text)
        if (conflict := _CONFLICT.search(text)) is not None:
            return f"nothing that is offered is at once {scrubbed(conflict[1])}{_advice(conflict[1])}"
        errors = [line.removeprefix("ERROR: ") for line in self._lines if line.startswith("ERROR: ")]
        if not errors:
            return (
                f"pip was stopped by signal {-returncode}" if returncode < 0 else f"pip failed with code {returncode}"
            )
        return scrubbed(errors[-1])

    def _collect(self, name: str) -> None:
        self._collected.add(name.lower().replace("_", "-"))
        self._say(f"collecting {name}")

    def _say(self, doing: str) -> None:
        count = len(self._collected)
        fraction = COLLECTED * min(1.0, count / self._expected)
        self._report(Progress(fraction, f"{doing} ({min(count, self._expected)} of {self._expected})"))


def _why_missing(wanted: str, text: str) -> str:
    """pip says the same for a package that nobody offers and for an index that does not answer."""
    if _REFUSED.search(text):
        return f"the package index refuses the credentials it is given, so {wanted} cannot be had"
    versions = _VERSIONS.findall(text)
    offered = versions[-1] if versions else "none"
    if offered == "none" and _UNREACHED.search(text):
        return f"no package index can be reached for {wanted}; check the network and proxy that pip uses"
    if offered == "none":
        return f"no index or wheel directory that pip is configured with has {wanted} for this machine{_advice(wanted)}"
    return f"what pip is configured with has no {wanted}, only {offered[-_SHOWN_LENGTH:]}{_advice(wanted)}"


def _advice(wanted: str) -> str:
    if not wanted.startswith("torch"):
        return ""
    return "; --extra-index-url gives the index of another build, --torch chooses one"


def is_about_full_disk(text: str) -> bool:
    return _FULL.search(text) is not None
