"""Opens torch.export archives without unpickling and without evaluating what is written in them.

`torch.export.load` of torch 2.13 must not be given a stranger's file: it unpickles weights and constants where the
archive says so, falls back to full unpickling for sample inputs, loads compiled libraries, and hands expressions of
the program to `sympify`, which is `eval`. So the parts are read here: weights as raw bytes only, the program as JSON
whose every word that torch would look up or evaluate is checked first, and nothing else of the archive at all.
Source: torch/export/pt2_archive/_package.py, torch/_export/serde/serialize.py.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

from converters.onnx_graphs.files import first_line
from converters.recipe import Refused

_PROGRAM = "models/model.json"
_WEIGHTS, _CONSTANTS = "data/weights/model_weights_config.json", "data/constants/model_constants_config.json"
# Where torch 2.8 kept them; torch still prefers these, and unpickles them.
_PICKLED = {"data/weights/model.pt", "data/constants/model.pt"}
_PROGRAM_BYTES_MAX = 256 * 2**20
_AGAIN = "save it again with torch.export.save of torch 2.13"
# Functions of a graph are operators of torch's registry, or arithmetic on sizes.
_TARGETS = re.compile(
    r"torch\.ops\.(aten|prims)\.(__i?(and|or|xor|lshift|rshift)__|(?!__|from_file\b|save\b)\w+)\.(?!__)\w+"
    r"|torch\.ops\.higher_order\.(cond|while_loop|scan|wrap_with_set_grad_enabled|wrap_with_autocast)"
    r"|torch\.(sym_\w+|_check|_check_is_size)"
    r"|_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|pow|neg|pos|and_|or_|xor|lshift|rshift|eq|ne|lt|le|gt|ge)"
    r"|math\.(ceil|floor|trunc|sqrt|log2|pow)"
)
# Names end up in Python source when torch prints the graph as code; the text of an argument does so as a literal.
_NAME = re.compile(r"[\w.:\-]*", re.ASCII)
_ARGUMENT = re.compile(r"[\w.:\-+*/=<>,()\[\] ]*", re.ASCII)
_TREES = {"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict", None}
_EXPRESSION_NODES = (
    *(ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Load, ast.Constant, ast.BinOp, ast.UnaryOp, ast.Compare),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.USub, ast.UAdd),
    *(ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE),
)
# fmt: off
_FUNCTIONS = frozenset({
    "Symbol", "Integer", "Float", "Rational", "Max", "Min", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or",
    "Not", "Add", "Mul", "Pow", "Abs", "true", "false", "floor", "ceiling", "FloorDiv", "ModularIndexing",
    "Where", "PythonMod", "Mod", "CleanDiv", "CeilToInt", "FloorToInt", "CeilDiv", "LShift", "RShift",
    "PowByNatural", "FloatPow", "FloatTrueDiv", "IntTrueDiv", "TruncToFloat", "TruncToInt", "RoundToInt",
    "RoundDecimal", "ToFloat", "Identity",
})
# fmt: on
_SYMBOL = re.compile(r"[a-z]{1,4}\d{1,9}")
_EXPRESSION_CHARACTERS_MAX = 4000


def open_exported(file: Path) -> Any:
    """The `torch.export.ExportedProgram`. Raises: Refused."""
    import torch
    from torch._export.serde import serialize
    from torch.export.pt2_archive import _package

    try:
        with _package.PT2ArchiveReader(str(file)) as reader:
            names = set(reader.get_file_names())
            _check_parts(names)
            program = checked_program(_read_json(reader, _PROGRAM))
            for config in (_WEIGHTS, _CONSTANTS):
                _check_payloads(_read_json(reader, config))
            parsed = serialize._dict_to_dataclass(serialize.ExportedProgram, program)
            weights = _package._load_state_dict(reader, "model")
            constants = _package._load_constants(reader, "model")
        # Given as values these are taken as they are; given as bytes they would be unpickled.
        if not isinstance(weights, dict) or not isinstance(constants, dict):
            raise Refused(f"the torch.export file's weights are a pickle, which is not opened; {_AGAIN}")
        return serialize.ExportedProgramDeserializer().deserialize(parsed, weights, constants, None)
    except (
        *(RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, OSError),
        torch._export.verifier.SpecViolationError,
        serialize.SerializeError,
    ) as error:
        if isinstance(error, Refused):
            raise
        raise Refused(f"the torch.export file cannot be opened: {first_line(error)}") from error


def _check_parts(names: set[str]) -> None:
    programs = {name for name in names if name.startswith("models/")}
    if programs != {_PROGRAM}:
        raise Refused(f"the torch.export file must hold one program named 'model'; {_AGAIN}")
    missing = {_WEIGHTS, _CONSTANTS} - names
    if names & _PICKLED:
        raise Refused(f"the torch.export file's weights are a pickle, which is not opened; {_AGAIN}")
    if missing:
        raise Refused(f"the torch.export file has no {min(missing)}; {_AGAIN}")
    if any(name.startswith("data/aotinductor/") for name in names):
        raise Refused("the torch.export file holds compiled libraries, which are not loaded; save the program alone")


def _read_json(reader: Any, name: str) -> Any:
    content = reader.read_bytes(name)
    if len(content) > _PROGRAM_BYTES_MAX:
        raise Refused(f"the torch.export file's {name} is over {_PROGRAM_BYTES_MAX} bytes")
    try:
        return json.loads(content)
    except RecursionError as error:
        raise Refused(f"the torch.export file's {name} is nested too deeply") from error


def _check_payloads(config: Any) -> None:
    for name, payload in config["config"].items():
        path = payload["path_name"]
        if payload["use_pickle"] is not False or not re.fullmatch(r"(weight|tensor)_\d+", path):
            raise Refused(f"the torch.export file keeps {name[:100]!r} as a pickle, which is not opened; {_AGAIN}")


def checked_program(program: Any) -> Any:
    """The program without what its author's tools noted in it. Raises Refused for a word that does not belong there."""
    graph_module = program["graph_module"]
    program["guards_code"] = []
    graph_module["metadata"] = {}
    root = [entry for entry in graph_module["module_call_graph"] if entry["fqn"] == ""]
    for entry in root:
        if entry["signature"] is not None:
            _check_tree(entry["signature"]["in_spec"])
            _check_tree(entry["signature"]["out_spec"])
    graph_module["module_call_graph"] = [*root]
    _check_words(program)
    return program


def _check_tree(spec: str) -> None:
    """A pytree names Python classes that torch would import: only plain containers pass."""
    waiting = [json.loads(spec)[1]]
    while waiting:
        tree = waiting.pop()
        if tree["type"] not in _TREES:
            raise Refused(f"the program takes or gives a {str(tree['type'])[:100]}; use tensors, tuples, lists, dicts")
        # The context of a dict is its keys; an object in it would name a class to import.
        context = json.loads(tree["context"] or "null")
        if context is not None and not (isinstance(context, list) and all(isinstance(key, str) for key in context)):
            raise Refused("the program's inputs or outputs are keyed by something else than strings")
        waiting.extend(tree["children_spec"])


def _check_words(program: Any) -> None:
    waiting: list[tuple[str, Any]] = [("", program)]
    while waiting:
        role, value = waiting.pop()
        if isinstance(value, dict):
            if "target" in value and "inputs" in value and "outputs" in value:
                # Stack traces and file names of where the program was written.
                value["metadata"] = {}
            for key, entry in value.items():
                _check_word("key", key)
                waiting.append((key, entry))
        elif isinstance(value, list):
            waiting.extend((role, entry) for entry in value)
        elif isinstance(value, str):
            _check_word(role, value)


def _check_word(role: str, word: str) -> None:
    match role:
        case "in_spec" | "out_spec" | "torch_version":
            return  # the first two are checked as trees
        case "expr_str":
            _check_expression(word)
        case "target" | "as_operator":
            if not _TARGETS.fullmatch(word):
                raise Refused(f"the program calls {word[:100]!r}, which is no operator of torch's own")
        case _:
            if not (_ARGUMENT if role in ("as_string", "as_strings") else _NAME).fullmatch(word):
                raise Refused(f"the program holds the word {word[:100]!r}, which is no name")


def _check_expression(text: str) -> None:
    """Sizes are arithmetic over symbols. torch evaluates this text as Python, so nothing else may be in it."""
    refused = Refused(f"the program holds the size {text[:100]!r}, which is no arithmetic over symbols")
    if len(text) > _EXPRESSION_CHARACTERS_MAX:
        raise refused
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise refused from error
    for node in nodes:
        if not isinstance(node, _EXPRESSION_NODES):
            raise refused
        if isinstance(node, ast.Name) and node.id not in _FUNCTIONS and not _SYMBOL.fullmatch(node.id):
            raise refused
        if isinstance(node, ast.Call) and not isinstance(node.func, ast.Name):
            raise refused
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not _SYMBOL.fullmatch(node.value):
            raise refused
