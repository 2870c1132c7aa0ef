"""docs/cli.md and the commands say the same."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from control_plane.cli.app import app

REFERENCE = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()
TOLD = re.findall(r"^\| `tritonplane ([^`]+)`", REFERENCE, re.MULTILINE)
EXAMPLES = re.findall(
    r"tritonplane (?:serve|doctor|setup|infer|models|optimize|jobs|events|keys)\b[^\n]*",
    REFERENCE.split("## Examples")[1],
)


def _commands(command: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if not hasattr(command, "commands"):
        return {path: command}
    found: dict[tuple[str, ...], Any] = {}
    for name, below in command.commands.items():
        found |= _commands(below, (*path, name))
    return found


COMMANDS = _commands(typer.main.get_command(app))


def test_every_command_is_in_the_reference_and_nothing_else() -> None:
    told = {tuple(word for word in line.split() if word.islower()) for line in TOLD}
    assert told == set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_arguments_of_each_command_are_those_of_the_reference(path: tuple[str, ...]) -> None:
    [line] = [line for line in TOLD if tuple(word for word in line.split() if word.islower()) == path]
    told = [word for word in line.split() if word.isupper()]
    assert told == [parameter.name.upper() for parameter in COMMANDS[path].params if _is_argument(parameter)]


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_option_of_the_examples_exists(example: str) -> None:
    _, *words = shlex.split(example)
    path = tuple(words[:2]) if tuple(words[:2]) in COMMANDS else tuple(words[:1])
    known = {option for parameter in COMMANDS[path].params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("path", [path for path in COMMANDS if path != ("serve",)], ids=" ".join)
def test_every_command_but_serve_has_json(path: tuple[str, ...]) -> None:
    assert "--json" in {option for parameter in COMMANDS[path].params for option in parameter.opts}


def _is_argument(parameter: Any) -> bool:
    return parameter.param_type_name == "argument"
