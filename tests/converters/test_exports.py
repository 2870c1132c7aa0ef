"""What leaves as TorchScript or safetensors answers, and weighs, as what it was made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from converters.checks.results import require_passed
from converters.checks.torchscript import check_torchscript
from converters.checks.weights import check_weights
from converters.contract import Converted, Facts
from converters.formats import Artifact, Format
from converters.recipe import OutOfTolerance, Refused, UnsupportedSource
from converters.torch_modules.torch_export import open_exported
from tests.converters.conversions import checks, convert, model_file
from tests.converters.tiny_encoders import HIDDEN, save_classifier, save_encoder, save_sentence_encoder
from tests.converters.tiny_language_models import VOCABULARY, write_model
from tests.converters.torch_modules_to_convert import (
    BATCH,
    Convolutional,
    Encoder,
    save_exported,
    save_exported_encoder,
    seeded,
)


def script(converted: Converted) -> torch.jit.ScriptModule:
    assert [path.name for path in (Path(converted.directory) / "1").iterdir()] == ["model.pt"]
    return torch.jit.load(model_file(converted, "model.pt"))


def arguments(module: torch.jit.ScriptModule) -> list[str]:
    return [argument.name for argument in module.forward.schema.arguments[1:]]


# One for each way to attend and to tell positions.
@pytest.mark.parametrize("name", ["gemma3", "gpt2", "llama3", "mistral-window", "phi3-long", "qwen3"])
def test_a_language_model_leaves_as_a_module_from_tokens_to_logits(name: str, tmp_path: Path) -> None:
    source = write_model(name, tmp_path / "source")

    converted = convert(source, tmp_path / "work", "hf_to_torchscript")

    module = script(converted)
    assert arguments(module) == ["input_ids", "attention_mask"]
    ids = torch.arange(33)[None] % VOCABULARY
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)(ids).logits
        answer = module(ids, torch.ones_like(ids))
    assert answer.shape == (1, 33, VOCABULARY)
    torch.testing.assert_close(answer, expected, atol=1e-4, rtol=1e-4)
    assert checks(converted)["max_difference"] < 1e-5


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_an_encoder_leaves_as_a_module_from_tokens_to_its_embedding(family: str, tmp_path: Path) -> None:
    converted = convert(save_encoder(tmp_path / "source", family), tmp_path / "work", "hf_to_torchscript")

    module = script(converted)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    assert arguments(module) == (names if family == "bert" else names[:2])
    ids = torch.arange(12).reshape(3, 4) + 5
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    assert module(**{name: given[name] for name in arguments(module)}).shape == (3, HIDDEN)


def test_a_sentence_encoder_leaves_with_all_of_its_modules(tmp_path: Path) -> None:
    source = save_sentence_encoder(tmp_path / "source", {"pooling_mode_mean_tokens": True}, ("Normalize", {}))

    module = script(convert(source, tmp_path / "work", "hf_to_torchscript"))

    ids = torch.arange(8).reshape(2, 4) + 5
    vectors = module(ids, torch.ones_like(ids), torch.zeros_like(ids))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))


def test_a_classifier_leaves_with_logits_and_probabilities(tmp_path: Path) -> None:
    source = save_classifier(tmp_path / "source")

    module = script(convert(source, tmp_path / "work", "hf_to_torchscript"))

    ids = torch.arange(8).reshape(2, 4) + 5
    logits, probabilities = module(ids, torch.ones_like(ids), torch.zeros_like(ids))
    with torch.no_grad():
        expected = AutoModelForSequenceClassification.from_pretrained(source)(ids).logits
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(probabilities, logits.softmax(1))


def test_a_module_that_answers_otherwise_is_not_given_away(tmp_path: Path) -> None:
    source = write_model("llama", tmp_path / "source")
    other = convert(write_model("qwen2", tmp_path / "other"), tmp_path / "work", "hf_to_torchscript")
    made = Artifact(Format.TORCHSCRIPT, Path(other.directory) / "1", Facts())
    with pytest.raises(OutOfTolerance, match="max_difference"):
        require_passed(check_torchscript(Artifact(Format.CAUSAL_LM, source, Facts()), made))


def test_code_of_a_model_s_own_is_not_run_for_an_export(tmp_path: Path) -> None:
    source = write_model("llama", tmp_path / "source")
    config = (source / "config.json").read_text()
    (source / "config.json").write_text(config.replace("{", '{"auto_map": {"AutoModel": "evil.Model"},', 1))
    with pytest.raises(UnsupportedSource, match="auto_map"):
        convert(source, tmp_path / "work", "hf_to_torchscript")


class Nested(nn.Module):
    """Takes a pair and gives a dict, with a size that depends on another."""

    def forward(self, pair: tuple[torch.Tensor, torch.Tensor]) -> dict[str, torch.Tensor]:
        left, right = pair
        return {"joined": torch.cat([left, right], 1).reshape(left.shape[0], -1), "sum": left.sum(1)}


def test_an_exported_program_leaves_as_a_module_that_takes_all_its_sizes(tmp_path: Path) -> None:
    converted = convert(save_exported_encoder(tmp_path / "e.pt2"), tmp_path / "work", "torch_export_to_torchscript")

    module = script(converted)
    assert arguments(module) == ["ids", "mask"]
    ids = torch.arange(45).reshape(5, 9)
    with torch.no_grad():
        for answer, expected in zip(
            module(ids, torch.ones_like(ids)), seeded(Encoder)(ids, torch.ones_like(ids)), strict=True
        ):
            torch.testing.assert_close(answer, expected, atol=1e-5, rtol=1e-4)
    assert checks(converted)["max_difference"] < 1e-5
    assert (converted.facts.parameters, converted.facts.dtype) == (10144, "float32")


def test_a_program_with_one_output_gives_that_output(tmp_path: Path) -> None:
    file = save_exported(seeded(Convolutional), (torch.zeros(2, 3, 32, 32),), ({0: BATCH},), tmp_path / "c.pt2")

    module = script(convert(file, tmp_path / "work", "torch_export_to_torchscript"))

    assert module(torch.zeros(7, 3, 32, 32)).shape == (7, 5)


def test_a_program_s_nested_values_are_taken_and_given_one_by_one(tmp_path: Path) -> None:
    pair = (torch.zeros(2, 3), torch.zeros(2, 4))
    file = save_exported(Nested(), (pair,), (({0: BATCH}, {0: BATCH}),), tmp_path / "n.pt2")

    module = script(convert(file, tmp_path / "work", "torch_export_to_torchscript"))

    joined, total = module(torch.ones(5, 3), torch.ones(5, 4))
    assert (joined.shape, total.tolist()) == ((5, 7), [3.0] * 5)


def test_a_trace_in_which_sizes_became_numbers_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    program = open_exported(save_exported_encoder(folder / "model.pt2"))
    module = program.module(check_guards=False)
    module._forward_pre_hooks.clear()
    ids = torch.zeros(2, 8, dtype=torch.long)
    torch.jit.trace(module, (ids, ids), check_trace=False).save(str(tmp_path / "model.pt"))
    with pytest.raises(OutOfTolerance, match="refuses what its source takes"):
        check_torchscript(
            Artifact(Format.TORCH_EXPORT, folder, Facts()), Artifact(Format.TORCHSCRIPT, tmp_path, Facts())
        )


def save_graph(folder: Path, *initializers: TensorProto) -> Path:
    """A graph with these weights, one constant, and one weight in a branch."""
    inner = numpy_helper.from_array(np.full((2,), 7, np.float32), "w")
    branches = {
        name: helper.make_graph(
            [helper.make_node("Identity", ["w"], [f"{name}_out"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [2])],
            [inner],
        )
        for name in ("then_branch", "else_branch")
    }
    constant = numpy_helper.from_array(np.arange(2, dtype=np.float32), "value")
    nodes = [
        helper.make_node("Constant", [], ["c"], value=constant),
        helper.make_node("If", ["yes"], ["i"], name="branch", **branches),
        helper.make_node("Add", ["c", "i"], ["y"]),
    ]
    yes = helper.make_tensor_value_info("yes", TensorProto.BOOL, [])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    graph = helper.make_graph(nodes, "g", [yes], [y], initializers)
    folder.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    return folder


def test_weights_leave_under_their_names_types_and_shapes(tmp_path: Path) -> None:
    source = save_graph(
        tmp_path / "source",
        numpy_helper.from_array(np.arange(6, dtype=np.int8).reshape(2, 3), "a"),
        numpy_helper.from_array(np.zeros((0, 4), np.float16), "nothing"),
        helper.make_tensor("half", TensorProto.BFLOAT16, [2], [1.5, -2.0]),
    )

    converted = convert(source, tmp_path / "work", "onnx_to_safetensors")

    found = load_file(model_file(converted, "model.safetensors"))
    named = {"a", "nothing", "half", "c", "branch/then_branch/w", "branch/else_branch/w"}
    assert set(found) == named
    assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (found["half"].dtype, found["half"].tolist()) == (torch.bfloat16, [1.5, -2.0])
    assert (found["nothing"].dtype, found["nothing"].shape) == (torch.float16, (0, 4))
    assert found["branch/then_branch/w"].tolist() == [7.0, 7.0]
    assert checks(converted)["differing_weights"] == 0


def test_weights_in_a_file_beside_the_graph_leave_too(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.arange(512, dtype=np.float32), "w")
    source = save_graph(tmp_path / "source", weight)
    model = onnx.load(source / "model.onnx")
    onnx.save(model, source / "model.onnx", save_as_external_data=True, location="weights.data", size_threshold=0)

    converted = convert(source, tmp_path / "work", "onnx_to_safetensors")

    assert load_file(model_file(converted, "model.safetensors"))["w"].tolist() == list(range(512))


def test_a_weight_that_changed_on_the_way_is_found(tmp_path: Path) -> None:
    source = save_graph(tmp_path / "source", numpy_helper.from_array(np.float32([1, 2]), "a"))
    converted = convert(source, tmp_path / "work", "onnx_to_safetensors")
    weights = load_file(model_file(converted, "model.safetensors"))
    weights["a"][0] = 9
    (tmp_path / "made").mkdir()
    save_file(weights, tmp_path / "made/model.safetensors")
    found = check_weights(
        Artifact(Format.ONNX, source, Facts()), Artifact(Format.SAFETENSORS, tmp_path / "made", Facts())
    )
    with pytest.raises(OutOfTolerance, match="differing_weights is 1"):
        require_passed(found)


def test_a_type_that_safetensors_does_not_have_is_refused(tmp_path: Path) -> None:
    source = save_graph(tmp_path / "source", helper.make_tensor("q", TensorProto.INT4, [2], [1, -2]))
    with pytest.raises(Refused, match="'q' is of the type INT4"):
        convert(source, tmp_path / "work", "onnx_to_safetensors")
