"""Language models of two layers with random weights, in the layout in which Hugging Face models are given."""

from __future__ import annotations

import json
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from converters.samples.texts import sentences

END = "<|end|>"
VOCABULARY = 300
CONTEXT = 128
# Wide enough that every part of the model shows in its logits.
_SPREAD = 0.4
_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "initializer_range": _SPREAD,
}
_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": CONTEXT}
_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
_LONG_ROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7],
    "long_factor": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
    "original_max_position_embeddings": 64,
}
# Windows are shorter than the texts of the checks, and rotary bases not what a builder would assume.
WINDOW = {"sliding_window": 16}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "ernie": ("Ernie4_5Config", {"head_dim": 16}),
    "gemma": ("GemmaConfig", {"head_dim": 16}),
    "gemma2": ("Gemma2Config", {"head_dim": 16, "query_pre_attn_scalar": 16, **WINDOW}),
    "gemma3": ("Gemma3TextConfig", {"head_dim": 16, "query_pre_attn_scalar": 16, "num_hidden_layers": 7, **WINDOW}),
    "gpt2": ("GPT2Config", _GPT2),
    "gpt2-scaled": ("GPT2Config", {**_GPT2, "activation_function": "gelu", "scale_attn_by_inverse_layer_idx": True}),
    "granite": ("GraniteConfig", {"attention_multiplier": 0.3, "embedding_multiplier": 2.0, "logits_scaling": 2.0}),
    "hunyuan": ("HunYuanDenseV1Config", {"head_dim": 16}),
    "llama": ("LlamaConfig", {}),
    "llama-tied": ("LlamaConfig", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    "llama3": ("LlamaConfig", {"rope_parameters": _LLAMA3_ROPE}),
    "mistral": ("MistralConfig", {"sliding_window": None}),
    "mistral-window": ("MistralConfig", WINDOW),
    "nemotron": ("NemotronConfig", {"head_dim": 32}),
    "phi": ("PhiConfig", {"hidden_size": 64, "num_key_value_heads": 2}),
    "phi3": ("Phi3Config", {"original_max_position_embeddings": CONTEXT, **WINDOW}),
    "phi3-long": ("Phi3Config", {"original_max_position_embeddings": 64, "rope_parameters": _LONG_ROPE}),
    "qwen2": ("Qwen2Config", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen3": ("Qwen3Config", {"head_dim": 16}),
}


def write_model(name: str, folder: Path, dtype: torch.dtype = torch.float32, **changes: Any) -> Path:
    """Save one of MODELS, with the tokenizer."""
    kind, own = MODELS[name]
    shape = _SHAPE if kind != "GPT2Config" else {key: _SHAPE[key] for key in ("bos_token_id", "eos_token_id")}
    shape = shape | {"vocab_size": VOCABULARY, "initializer_range": _SPREAD}
    torch.manual_seed(0)
    config = getattr(transformers, kind)(**{**shape, **own, **changes})
    model = AutoModelForCausalLM.from_config(config)
    if kind == "PhiConfig":  # biases begin as zeros, and would hide their absence
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=_SPREAD) if parameter.ndim == 1 else None
    model.to(dtype).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer(), eos_token=END, bos_token=END, pad_token=END).save_pretrained(
        folder
    )
    return folder


@cache
def tokenizer() -> Tokenizer:
    """Byte-level BPE of a few merges."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(islice(sentences(), 200), trainer)
    return made


def change_json(file: Path, **changes: Any) -> None:
    """None removes a key."""
    document = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))


def change_weights(folder: Path, **changes: Any) -> None:
    """By tensor name, with `__` for a point; None removes it."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    for name, value in changes.items():
        key = name.replace("__", ".")
        if value is None:
            del tensors[key]
        else:
            tensors[key] = value
    save_file(tensors, file, metadata={"format": "pt"})
