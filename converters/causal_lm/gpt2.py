"""Writes GPT-2 as a graph of the form that the onnxruntime-genai builder gives others; the builder has no GPT-2.

Attention is GroupQueryAttention without rotation, so that a server shares key-value buffers in place; positions are
learned, and come as `position_ids`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.causal_lm.config import CausalLmConfig
from converters.causal_lm.weights import weight_files
from converters.onnx_graphs.files import save_graph
from converters.recipe import UnsupportedSource

_MICROSOFT = "com.microsoft"
_OPSETS = {"": 21, _MICROSOFT: 1}
_IR_VERSION = 10
_ACTIVATIONS = {"gelu_new": "tanh", "gelu_fast": "tanh", "gelu_pytorch_tanh": "tanh", "gelu": "none"}


def write_gpt2(source: Path, target: Path, config: CausalLmConfig, dtype: str) -> None:
    """Write model.onnx into `target`. Raises: UnsupportedSource."""
    _check(config.parsed)
    graph = _Graph(Weights(source, np.dtype(np.float16 if dtype == "fp16" else np.float32)), config)
    save_graph(graph.write(), target)


def _check(parsed: Any) -> None:
    if parsed.activation_function not in _ACTIVATIONS:
        raise UnsupportedSource(
            f"GPT-2 with the activation {parsed.activation_function!r} is not supported; "
            f"these are: {', '.join(sorted(_ACTIVATIONS))}"
        )
    if parsed.add_cross_attention:
        raise UnsupportedSource("GPT-2 with cross-attention to an encoder is not supported")


class Weights:
    """Tensors of a checkpoint by the names of the model without its head, in one type."""

    def __init__(self, source: Path, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self._files: dict[str, tuple[Any, str]] = {}
        from safetensors import safe_open

        for file in weight_files(source):
            if file.endswith(".safetensors"):
                content = safe_open(source / file, framework="pt")
                self._files |= {name.removeprefix("transformer."): (content, name) for name in content.keys()}  # noqa: SIM118

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def read(self, name: str) -> NDArray[Any]:
        content, stored = self._files[name]
        tensor: NDArray[Any] = content.get_tensor(stored).float().numpy().astype(self.dtype)
        return tensor


class _Graph:
    """Collects nodes and weights; each method adds a part and gives the name of what it computes."""

    def __init__(self, weights: Weights, config: CausalLmConfig) -> None:
        self._weights, self._config, self._parsed = weights, config, config.parsed
        self._nodes: list[Any] = []
        self._tensors: list[Any] = []

    def write(self) -> Any:
        from onnx import helper

        hidden = self._embed()
        self._lengths()
        for layer in range(self._config.layers):
            hidden = self._layer(layer, hidden)
        self._head(self._norm("ln_f", hidden))
        inputs, outputs = self._interface()
        graph = helper.make_graph(self._nodes, "gpt2", inputs, outputs, self._tensors)
        opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS.items()]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="tritonplane")

    def _node(self, kind: str, name: str, inputs: Iterable[str], domain: str = "", **attributes: Any) -> str:
        from onnx import helper

        made = helper.make_node(kind, list(inputs), [f"{name}/output"], name=name, domain=domain, **attributes)
        self._nodes.append(made)
        return f"{name}/output"

    def _tensor(self, name: str, value: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self._tensors.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def _weight(self, name: str) -> str:
        return self._tensor(name, self._weights.read(name))

    def _embed(self) -> str:
        """Tied embeddings are stored once, as the output matrix: quantization then serves both from one table."""
        if self._parsed.tie_word_embeddings:
            self._tensor("lm_head.weight", self._weights.read("wte.weight").T)
            table = self._node("Transpose", "wte/Transpose", ["lm_head.weight"], perm=[1, 0])
        else:
            self._tensor("lm_head.weight", self._weights.read("lm_head.weight").T)
            table = self._weight("wte.weight")
        tokens = self._node("Gather", "wte/Gather", [table, "input_ids"])
        places = self._node("Gather", "wpe/Gather", [self._weight("wpe.weight"), "position_ids"])
        return self._node("Add", "embeddings/Add", [tokens, places])

    def _lengths(self) -> None:
        """What attention asks of each row: its last index, and the longest length of all rows."""
        from onnx import TensorProto

        one, axis = self._tensor("one", np.array(1, np.int64)), self._tensor("axis", np.array([1], np.int64))
        total = self._node("ReduceSum", "lengths/ReduceSum", ["attention_mask", axis], keepdims=0)
        last = self._node("Sub", "lengths/Sub", [total, one])
        self._last = self._node("Cast", "lengths/Cast", [last], to=TensorProto.INT32)
        shape = self._node("Shape", "lengths/Shape", ["attention_mask"])
        longest = self._node("Gather", "lengths/Gather", [shape, one])
        self._longest = self._node("Cast", "lengths/CastLongest", [longest], to=TensorProto.INT32)

    def _layer(self, layer: int, hidden: str) -> str:
        name = f"h.{layer}"
        attended = self._attention(layer, self._linear(f"{name}.attn.c_attn", self._norm(f"{name}.ln_1", hidden)))
        hidden = self._node("Add", f"{name}/Add", [hidden, self._linear(f"{name}.attn.c_proj", attended)])
        wide = self._linear(f"{name}.mlp.c_fc", self._norm(f"{name}.ln_2", hidden))
        curve = _ACTIVATIONS[self._parsed.activation_function]
        active = self._node("Gelu", f"{name}.mlp/Gelu", [wide], approximate=curve)
        return self._node("Add", f"{name}.mlp/Add", [hidden, self._linear(f"{name}.mlp.c_proj", active)])

    def _norm(self, name: str, hidden: str) -> str:
        inputs = [hidden, self._weight(f"{name}.weight"), self._weight(f"{name}.bias")]
        epsilon = float(self._parsed.layer_norm_epsilon)
        return self._node("LayerNormalization", f"{name}/LayerNormalization", inputs, axis=-1, epsilon=epsilon)

    def _linear(self, name: str, hidden: str) -> str:
        """GPT-2 stores its matrices as inputs x outputs, as MatMul wants them."""
        product = self._node("MatMul", f"{name}/MatMul", [hidden, self._weight(f"{name}.weight")])
        return self._node("Add", f"{name}/Add", [product, self._weight(f"{name}.bias")])

    def _attention(self, layer: int, packed: str) -> str:
        from onnx import helper

        config, name = self._config, f"h.{layer}.attn/GroupQueryAttention"
        scale = 1 / math.sqrt(config.head_size) if self._parsed.scale_attn_weights else 1.0
        if self._parsed.scale_attn_by_inverse_layer_idx:
            scale /= layer + 1
        past = [f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"]
        present = [f"present.{layer}.key", f"present.{layer}.value"]
        self._nodes.append(
            helper.make_node(
                "GroupQueryAttention",
                [packed, "", "", *past, self._last, self._longest],
                [f"{name}/output", *present],
                name=name,
                domain=_MICROSOFT,
                num_heads=config.heads,
                kv_num_heads=config.heads,
                scale=scale,
            )
        )
        return f"{name}/output"

    def _head(self, hidden: str) -> None:
        from onnx import helper

        self._nodes.append(helper.make_node("MatMul", [hidden, "lm_head.weight"], ["logits"], name="lm_head/MatMul"))

    def _interface(self) -> tuple[list[Any], list[Any]]:
        from onnx import TensorProto, helper

        integer, real = TensorProto.INT64, helper.np_dtype_to_tensor_dtype(self._weights.dtype)
        vocabulary = self._config.vocab_size
        inputs = [
            helper.make_tensor_value_info("input_ids", integer, ["batch_size", "sequence_length"]),
            helper.make_tensor_value_info("attention_mask", integer, ["batch_size", "total_sequence_length"]),
            helper.make_tensor_value_info("position_ids", integer, ["batch_size", "sequence_length"]),
        ]
        outputs = [helper.make_tensor_value_info("logits", real, ["batch_size", "sequence_length", vocabulary])]
        for layer in range(self._config.layers):
            for part in ("key", "value"):
                rows = ["batch_size", self._config.heads, "past_sequence_length", self._config.head_size]
                total = ["batch_size", self._config.heads, "total_sequence_length", self._config.head_size]
                inputs.append(helper.make_tensor_value_info(f"past_key_values.{layer}.{part}", real, rows))
                outputs.append(helper.make_tensor_value_info(f"present.{layer}.{part}", real, total))
        return inputs, outputs
