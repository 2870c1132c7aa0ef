"""Turn a training checkpoint into what ships: the fp16 source directory, and the served ONNX model beside it.

Run: python -m training.export CHECKPOINT TOKENIZER MODEL_DIRECTORY
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from training.architecture import Shape, build_model
from training.checkpoints import read_checkpoint
from training.quantize import quantize_graph
from training.tokenizer import END_OF_TEXT

CHAT_TEMPLATE = Path(__file__).parent / "chat_template.jinja"


def load_checkpoint(path: Path) -> LlamaForCausalLM:
    """Read a model from a checkpoint of `training.train`, in fp32."""
    checkpoint = read_checkpoint(path)
    model = build_model(Shape(**checkpoint["shape"]), seed=0)
    model.load_state_dict(checkpoint["model"])
    return model


def write_source(model: LlamaForCausalLM, tokenizer: Tokenizer, target: Path) -> None:
    """Write the fp16 Hugging Face directory that any other tool can start from."""
    target.mkdir(parents=True, exist_ok=True)
    model.to(torch.float16).save_pretrained(target)  # type: ignore[arg-type]
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        model_max_length=model.config.max_position_embeddings,
        # Detokenizing must give back the prompt's own spaces: this is code.
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE.read_text(encoding="utf-8")
    fast.save_pretrained(target)
    _name_tokenizer_class(target / "tokenizer_config.json")
    # safetensors writes for the owner alone; a shipped file is for everybody.
    (target / "model.safetensors").chmod(0o644)


def _name_tokenizer_class(path: Path) -> None:
    # transformers 5 writes a class that transformers 4 does not know; both read this one.
    config = json.loads(path.read_text(encoding="utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    config.pop("backend", None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_graph(source: Path, target: Path) -> None:
    """Write the fp32 ONNX graph of a source directory with the onnxruntime-genai builder, offline.

    The builder fuses attention into GroupQueryAttention, whose KV buffers a server can share in place.
    """
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(source), "-o", str(target)]
    with tempfile.TemporaryDirectory() as cache:
        command += ["-p", "fp32", "-e", "cpu", "-c", cache, "--extra_options", "hf_token=false"]
        subprocess.run(command, check=True, capture_output=True, text=True)


def write_served(source: Path, target: Path) -> None:
    """Fill a Triton version directory: the 8-bit graph, the tokenizer, and what a server must know."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        write_graph(source, Path(folder))
        quantize_graph(Path(folder) / "model.onnx", target / "model.onnx")
    shutil.copyfile(source / "tokenizer.json", target / "tokenizer.json")
    shutil.copyfile(CHAT_TEMPLATE, target / "chat_template.jinja")
    facts = serving_facts(json.loads((source / "config.json").read_text(encoding="utf-8")))
    (target / "generation.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def serving_facts(config: dict[str, Any]) -> dict[str, Any]:
    return {
        "context_length": config["max_position_embeddings"],
        "eos_token_ids": [config["eos_token_id"]],
        "bos_token_id": config["bos_token_id"],
        "vocab_size": config["vocab_size"],
        "num_hidden_layers": config["num_hidden_layers"],
        "num_key_value_heads": config["num_key_value_heads"],
        "head_size": config["head_dim"],
    }


def export(model: LlamaForCausalLM, tokenizer: Tokenizer, target: Path) -> None:
    """Write `source/` and `1/` of a model directory; what people wrote there (config.pbtxt, README) stays."""
    write_source(model, tokenizer, target / "source")
    write_served(target / "source", target / "1")


def load_source(path: Path) -> LlamaForCausalLM:
    """Read a source directory back as a plain fp32 model."""
    model: LlamaForCausalLM = LlamaForCausalLM.from_pretrained(path, dtype=torch.float32)
    return model


if __name__ == "__main__":
    export(load_checkpoint(Path(sys.argv[1])), Tokenizer.from_file(sys.argv[2]), Path(sys.argv[3]))
