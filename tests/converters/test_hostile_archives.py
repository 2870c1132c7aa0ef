"""Files that would run code when torch loads them are refused, and their code does not run.

Each of them first runs its code through torch's own loader, so that the test shows a real danger.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from converters.contract import TensorFact
from converters.recipe import Refused, UnsupportedSource
from tests.converters.conversions import convert
from tests.converters.torch_modules_to_convert import BATCH, Mlp, save_exported, save_script, seeded

X = TensorFact("x", "FP32", (-1, 16))


class Payload:
    """Unpickling it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A folder that exists once hostile code has run."""
    return tmp_path / "ran"


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    return save_exported(seeded(Mlp), (torch.zeros(2, 16),), ({0: BATCH},), tmp_path / "mlp.pt2")


def rewrite(source: Path, target: Path, part: str, change: Callable[[bytes], bytes]) -> Path:
    """The same archive with one part changed; what is not there yet is added."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        root = old.namelist()[0].partition("/")[0]
        names = [name.partition("/")[2] for name in old.namelist()]
        for name in names:
            content = old.read(f"{root}/{name}")
            new.writestr(f"{root}/{name}", change(content) if name == part else content)
        if part not in names:
            new.writestr(f"{root}/{part}", change(b""))
    return target


def edited(change: Callable[[Any], None]) -> Callable[[bytes], bytes]:
    def apply(content: bytes) -> bytes:
        program = json.loads(content)
        change(program)
        return json.dumps(program).encode()

    return apply


def torch_runs_it(file: Path, mark: Path) -> bool:
    with contextlib.suppress(Exception):  # whatever it says afterwards: did the code run?
        torch.export.load(file).module()(torch.zeros(3, 16))
    ran = mark.exists()
    if ran:
        mark.rmdir()
    return ran


def refused(file: Path, tmp_path: Path, mark: Path, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        convert(file, tmp_path / "work", inputs=(X,))
    assert not mark.exists()


@pytest.mark.parametrize("name", ["model.pt", "model.pt2", "model.pth", "model.bin"])
def test_a_pickle_by_any_name_is_not_opened(tmp_path: Path, mark: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(pickle.dumps(Payload(mark)))
    with pytest.raises(UnsupportedSource, match="pickle can run code"):
        convert(file, tmp_path / "work")
    assert not mark.exists()


def test_a_checkpoint_of_torch_save_is_not_opened(tmp_path: Path, mark: Path) -> None:
    torch.save({"weights": torch.zeros(2), "more": Payload(mark)}, tmp_path / "model.pt")
    refused(tmp_path / "model.pt", tmp_path, mark, "pickle can run code")


def test_a_folder_with_a_renamed_checkpoint_is_not_opened(tmp_path: Path, mark: Path) -> None:
    for name in ("model.pt", "model.pt2"):
        folder = tmp_path / f"folder-{name}"
        folder.mkdir()
        torch.save(Payload(mark), folder / name)
        refused(folder, tmp_path, mark, "(no TorchScript archive|file cannot be opened)")


def test_a_script_with_a_pickle_in_the_place_of_its_constants_runs_nothing(tmp_path: Path, mark: Path) -> None:
    source = save_script(seeded(Mlp), tmp_path / "mlp.pt")
    for part in ("data.pkl", "constants.pkl"):
        file = rewrite(source, tmp_path / "hostile.pt", part, lambda _: pickle.dumps(Payload(mark), protocol=2))
        refused(file, tmp_path, mark, "cannot be opened")


@pytest.mark.parametrize("call", ["torch.save(x, 'PATH')", "torch.from_file('PATH', True, 16)"])
def test_a_script_that_reaches_files_is_refused_before_it_is_loaded(tmp_path: Path, mark: Path, call: str) -> None:
    source = save_script(seeded(Mlp), tmp_path / "mlp.pt")
    with zipfile.ZipFile(source) as archive:
        # Its name is torch's to choose, and changes when modules of one kind were saved before.
        part = next(name.partition("/")[2] for name in archive.namelist() if name.endswith(".py"))
    line = call.replace("PATH", str(mark)).encode()
    file = rewrite(source, tmp_path / "hostile.pt", part, lambda code: code + b"    # " + line + b"\n")

    refused(file, tmp_path, mark, "reaches beyond the model")


def test_a_folder_is_not_a_module(tmp_path: Path, mark: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("m/__main__.py", f"import os; os.mkdir({str(mark)!r})")
        archive.writestr("m/code/__torch__.py", "import os\n")
        archive.writestr("m/constants.pkl", pickle.dumps(Payload(mark)))
    refused(tmp_path / "model.pt", tmp_path, mark, "TorchScript")


def test_pickled_weights_of_an_exported_program_are_refused(tmp_path: Path, mark: Path, exported: Path) -> None:
    def pickled(config: Any) -> None:
        for entry in config["config"].values():
            entry["use_pickle"] = True

    marked = rewrite(exported, tmp_path / "m1.pt2", "data/weights/model_weights_config.json", edited(pickled))
    payload = tmp_path / "payload.pt"
    torch.save(Payload(mark), payload)
    file = rewrite(marked, tmp_path / "m2.pt2", "data/weights/weight_0", lambda _: payload.read_bytes())
    assert torch_runs_it(file, mark)

    refused(file, tmp_path, mark, "keeps '0.weight' as a pickle")


def test_pickled_constants_of_an_exported_program_are_refused(tmp_path: Path, mark: Path, exported: Path) -> None:
    def pickled(config: Any) -> None:
        config["config"]["c"] = {
            "path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None,
        }  # fmt: skip

    constants = "data/constants/model_constants_config.json"
    marked = rewrite(exported, tmp_path / "m1.pt2", constants, edited(pickled))
    file = rewrite(marked, tmp_path / "m2.pt2", "data/constants/opaque_obj_0", lambda _: pickle.dumps(Payload(mark)))
    assert torch_runs_it(file, mark)

    refused(file, tmp_path, mark, "keeps 'c' as a pickle")


def test_sample_inputs_of_an_exported_program_are_never_read(tmp_path: Path, mark: Path, exported: Path) -> None:
    payload = tmp_path / "payload.pt"
    torch.save((Payload(mark),), payload)
    file = rewrite(exported, tmp_path / "m.pt2", "data/sample_inputs/model.pt", lambda _: payload.read_bytes())
    assert torch_runs_it(file, mark)

    convert(file, tmp_path / "work")

    assert not mark.exists()


def test_weights_of_an_older_format_are_refused(tmp_path: Path, mark: Path, exported: Path) -> None:
    payload = tmp_path / "payload.pt"
    torch.save({"0.weight": Payload(mark)}, payload)
    file = rewrite(exported, tmp_path / "m.pt2", "data/weights/model.pt", lambda _: payload.read_bytes())
    assert torch_runs_it(file, mark)

    refused(file, tmp_path, mark, "pickle")


def size(text: str) -> Callable[[Any], None]:
    def change(program: Any) -> None:
        tensors = program["graph_module"]["graph"]["tensor_values"]
        tensors["input"]["sizes"][0] = {"as_expr": {"expr_str": text, "hint": {"as_int": 2}}}

    return change


def test_a_size_that_is_python_is_not_evaluated(tmp_path: Path, mark: Path, exported: Path) -> None:
    text = f"__import__('os').mkdir({str(mark)!r}) or Symbol('s31')"
    file = rewrite(exported, tmp_path / "m.pt2", "models/model.json", edited(size(text)))
    assert torch_runs_it(file, mark)

    refused(file, tmp_path, mark, "no arithmetic over symbols")


@pytest.mark.parametrize(
    "text",
    ["().__class__", "eval('1')", "[s0 for s0 in (1,)]", "lambda: 1", "Symbol('__import__')", "s0 if s0 else s1",
     "Symbol(*s0)", "f's0'", "s0!", "1 " + "+ 1 " * 5000],
)  # fmt: skip
def test_a_size_must_be_arithmetic(tmp_path: Path, mark: Path, exported: Path, text: str) -> None:
    file = rewrite(exported, tmp_path / "m.pt2", "models/model.json", edited(size(text)))
    refused(file, tmp_path, mark, "no arithmetic over symbols")


@pytest.mark.parametrize(
    "target",
    ["torch.hub.load", "torch.load", "torch.ops.aten.from_file.default", "torch.ops.aten.save.default",
     "_operator.methodcaller", "torch.ops.aten.__class__.__init__", "torch.serialization.os.system",
     "torch.ops.load_library", "math.os", "#x:y", "eval"],
)  # fmt: skip
def test_a_function_that_is_no_operator_is_not_called(tmp_path: Path, mark: Path, exported: Path, target: str) -> None:
    def change(program: Any) -> None:
        program["graph_module"]["graph"]["nodes"][0]["target"] = target

    file = rewrite(exported, tmp_path / "m.pt2", "models/model.json", edited(change))

    refused(file, tmp_path, mark, "no operator of torch's own")


def test_a_function_given_as_an_argument_is_looked_at_too(tmp_path: Path, mark: Path, exported: Path) -> None:
    def change(program: Any) -> None:
        argument = {"name": "f", "arg": {"as_operator": "torch.hub.load"}, "kind": 1}
        program["graph_module"]["graph"]["nodes"][0]["inputs"].append(argument)

    file = rewrite(exported, tmp_path / "m.pt2", "models/model.json", edited(change))

    refused(file, tmp_path, mark, "no operator of torch's own")


def test_a_name_that_would_be_source_code_is_refused(tmp_path: Path, mark: Path, exported: Path) -> None:
    name = f"x):\n  import os; os.mkdir({str(mark)!r})\ndef f(y"
    file = rewrite(
        exported,
        tmp_path / "m.pt2",
        "models/model.json",
        lambda content: content.replace(b'"input"', json.dumps(name).encode()),
    )
    refused(file, tmp_path, mark, "which is no name")


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        ({"type": "collections.defaultdict", "context": "{}"}, "collections.defaultdict"),
        # The marker is written with an escape, which only the second reading of the JSON resolves.
        (
            {"type": "builtins.dict", "context": '[{"_\\u005fenum__": 1, "fqn": "antigravity:x", "name": "y"}]'},
            "something else than strings",
        ),
    ],
)
def test_structures_that_name_python_classes_are_refused(
    tmp_path: Path, mark: Path, exported: Path, tree: dict[str, str], reason: str
) -> None:
    def change(program: Any) -> None:
        root = program["graph_module"]["module_call_graph"][0]
        leaf = {"type": None, "context": None, "children_spec": []}
        root["signature"]["out_spec"] = json.dumps([1, {**tree, "children_spec": [leaf]}])

    file = rewrite(exported, tmp_path / "m.pt2", "models/model.json", edited(change))

    refused(file, tmp_path, mark, reason)


def test_guards_are_code_and_are_left_out(tmp_path: Path, mark: Path, exported: Path) -> None:
    def change(program: Any) -> None:
        program["guards_code"] = [f"__import__('os').mkdir({str(mark)!r})"]

    file = rewrite(exported, tmp_path / "m.pt2", "models/model.json", edited(change))

    convert(file, tmp_path / "work")

    assert not mark.exists()


def test_compiled_libraries_are_refused(tmp_path: Path, mark: Path, exported: Path) -> None:
    file = rewrite(exported, tmp_path / "m.pt2", "data/aotinductor/model/model.so", lambda _: b"\x7fELF")
    refused(file, tmp_path, mark, "compiled libraries")


def test_a_broken_archive_is_refused_in_one_sentence(tmp_path: Path, mark: Path, exported: Path) -> None:
    for change in (lambda _: b"{}", lambda _: b"[" * 100_000, lambda _: b"\xff"):
        file = rewrite(exported, tmp_path / "m.pt2", "models/model.json", change)
        refused(file, tmp_path, mark, "torch.export file")
