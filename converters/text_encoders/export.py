"""From a Hugging Face encoder to one graph from tokens to the answer: pooling and activation are inside it.

torch's older exporter is used: the newer one's graphs (torch 2.13) name an output twice for these models, and carry
shapes that onnxruntime's quantization contradicts. The older one's quantize, and onnxruntime knows their attention.
"""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from converters.contract import Facts
from converters.formats import GRAPH, Artifact, Format
from converters.onnx_graphs.files import facts_of, first_line, load_graph, save_graph
from converters.recipe import Refused, UnsupportedSource
from converters.text_encoders.sentence_modules import Layout, Stage
from converters.text_encoders.source import input_names

# The newest opset that the fusions of onnxruntime.transformers know well.
_OPSET = 17
_TRACED_ROWS, _TRACED_TOKENS = 2, 7


class Embedder(nn.Module):  # type: ignore[misc]
    """Tokens to one vector a text, as the layout says. Texts are padded on the right."""

    outputs = ("embedding",)

    def __init__(self, model: nn.Module, layout: Layout) -> None:
        super().__init__()
        self.model, self.names, self.poolings = model, input_names(model), layout.poolings
        width = int(model.config.hidden_size) * len(layout.poolings)
        stages = []
        for stage in layout.stages:
            module, width = _module(stage, width)
            stages.append(module)
        self.stages, self.dimensions = nn.Sequential(*stages), width

    def forward(self, *inputs: Tensor) -> Tensor:
        hidden = self.model(**dict(zip(self.names, inputs, strict=True)), return_dict=True).last_hidden_state
        pooled = torch.cat([pool(mode, hidden, inputs[1]) for mode in self.poolings], dim=1)
        return self.stages(pooled)


class Classifier(nn.Module):  # type: ignore[misc]
    """Tokens to logits and probabilities: softmax over labels, or each by itself where several may hold."""

    outputs = ("logits", "probabilities")

    def __init__(self, model: nn.Module, *, is_exclusive: bool) -> None:
        super().__init__()
        self.model, self.names, self.is_exclusive = model, input_names(model), is_exclusive
        self.dimensions = int(model.config.num_labels)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.model(**dict(zip(self.names, inputs, strict=True)), return_dict=True).logits
        return logits, logits.softmax(dim=1) if self.is_exclusive else logits.sigmoid()


class Normalize(nn.Module):  # type: ignore[misc]
    """To length 1."""

    def forward(self, embedding: Tensor) -> Tensor:
        return nn.functional.normalize(embedding, p=2.0, dim=1)


def pool(mode: str, hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """Shapes: FP32[batch, tokens, width], INT64[batch, tokens] -> FP32[batch, width]."""
    mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
    match mode:
        case "cls":
            return hidden[:, 0]
        case "max":
            return hidden.masked_fill(mask == 0, float("-inf")).amax(dim=1)
        case "mean":
            return (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)
        case "mean_sqrt_len_tokens":
            return (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9).sqrt()
        case "weightedmean":
            weights = mask.cumsum(dim=1) * mask
            return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)
        case _:  # lasttoken
            last = (attention_mask.sum(dim=1) - 1).view(-1, 1, 1).expand(-1, 1, hidden.shape[-1])
            return hidden.gather(1, last).squeeze(1)


def export(wrapper: Embedder | Classifier, folder: Path, pad_token_id: int) -> None:
    """Write model.onnx with any number of texts of any length. Raises Refused."""
    draft = folder / "draft"
    draft.mkdir()
    names, outputs = list(wrapper.names), list(wrapper.outputs)
    axes = {name: {0: "batch", 1: "tokens"} for name in names} | {name: {0: "batch"} for name in outputs}
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # The exporter warns of its age and of every constant; that other lengths work is checked afterwards.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                wrapper,
                _example(wrapper, pad_token_id),
                str(draft / GRAPH),
                dynamo=False,
                input_names=names,
                output_names=outputs,
                dynamic_axes=axes,
                opset_version=_OPSET,
            )
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise UnsupportedSource(f"torch cannot export this model: {first_line(error)}") from error
    model = load_graph(Artifact(Format.ONNX, draft, Facts()))
    found = [entry.name for entry in model.graph.input]
    if found != names:
        raise UnsupportedSource(f"the exported graph takes {', '.join(found)} instead of {', '.join(names)}")
    save_graph(model, folder)
    shutil.rmtree(draft)


def describe(folder: Path, task: str, max_tokens: int) -> Facts:
    """What the server says of the model in `folder`."""
    return facts_of(folder / GRAPH, Facts(tasks=(task,), context_length=max_tokens))


def _example(wrapper: Embedder | Classifier, pad_token_id: int) -> tuple[Tensor, ...]:
    """Two texts, the second of them shorter."""
    shape = (_TRACED_ROWS, _TRACED_TOKENS)
    ids, mask = torch.full(shape, 0 if pad_token_id else 1), torch.ones(shape, dtype=torch.int64)
    ids[1, -2:], mask[1, -2:] = pad_token_id, 0
    return (ids, mask, torch.zeros(shape, dtype=torch.int64))[: len(wrapper.names)]


def _module(stage: Stage, width: int) -> tuple[nn.Module, int]:
    """The torch module of a stage and how wide its answer is. Raises Refused."""
    if stage.weights is None:
        return Normalize(), width
    prefix = "linear." if stage.kind == "Dense" else "norm."
    tensors = {name.removeprefix(prefix): tensor.float() for name, tensor in _weights(stage.weights).items()}
    weight, bias = tensors.get("weight"), tensors.get("bias")
    expected = {"weight", "bias"} if stage.kind == "LayerNorm" or bias is not None else {"weight"}
    if weight is None or set(tensors) != expected or weight.shape[-1] != width:
        raise Refused(f"{stage.weights.parent.name} does not hold the weights of a {stage.kind} for {width} dimensions")
    module: nn.Module
    if stage.kind == "LayerNorm":
        module, made = nn.LayerNorm(width), width
    else:
        linear = nn.Linear(width, weight.shape[0], bias=bias is not None)
        module, made = nn.Sequential(linear, getattr(nn, stage.activation)()), int(weight.shape[0])
    holder = module if stage.kind == "LayerNorm" else module[0]
    try:
        holder.load_state_dict(tensors)
    except RuntimeError as error:
        raise Refused(f"{stage.weights.parent.name}: {first_line(error)}") from error
    return module, made


def _weights(file: Path) -> dict[str, Tensor]:
    """Raises Refused."""
    try:
        return dict(load_file(file))
    except Exception as error:  # safetensors raises nothing narrower.
        raise Refused(f"{file.parent.name}/{file.name} cannot be read: {first_line(error)}") from error
