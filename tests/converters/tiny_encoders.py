"""Random encoders of every family, small enough to convert in a second, in the files that Hugging Face keeps."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from converters.samples.texts import sentences

HIDDEN, LAYERS, POSITIONS, VOCABULARY = 32, 2, 64, 400
_BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_ALBERT = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
_ROLES = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
# Attention that prefers some tokens: with the usual range a random model's answers are hardly different.
_RANGE = 0.2


@dataclass(frozen=True)
class Family:
    """How a family is made small, and what its tokenizer is called in tokenizer_config.json."""

    model_type: str
    tokenizer: str  # wordpiece, bytes or unigram
    tokenizer_class: str
    special: tuple[str, ...] = _BERT
    config: dict[str, Any] = field(default_factory=dict)
    has_types: bool = False

    @property
    def roles(self) -> dict[str, str]:
        """The special tokens by what they are for."""
        if self.special[0] == "<s>":
            names = ("<pad>", "<unk>", "<s>", "</s>", "<mask>", "<s>", "</s>")
            return dict(zip((*_ROLES, "bos_token", "eos_token"), names, strict=True))
        return dict(zip(_ROLES, (*self.special[:2], "[CLS]", "[SEP]", "[MASK]"), strict=True))


_SHIFTED = {"max_position_embeddings": POSITIONS + 2, "pad_token_id": 1, "type_vocab_size": 1}
_RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
FAMILIES = {
    family.model_type: family
    for family in (
        Family("bert", "wordpiece", "BertTokenizer", has_types=True),
        Family("electra", "wordpiece", "ElectraTokenizer", config={"embedding_size": 16}, has_types=True),
        Family("distilbert", "wordpiece", "DistilBertTokenizer",
               config={"dim": HIDDEN, "n_layers": LAYERS, "n_heads": 2, "hidden_dim": 64}),
        Family("mpnet", "wordpiece", "MPNetTokenizer", _ROBERTA, _SHIFTED),
        Family("albert", "unigram", "AlbertTokenizer", _ALBERT, {"embedding_size": 16}, has_types=True),
        Family("xlm-roberta", "unigram", "XLMRobertaTokenizer", _ROBERTA, _SHIFTED),
        Family("camembert", "unigram", "CamembertTokenizer", (*_ROBERTA, "<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"),
               _SHIFTED),
        Family("deberta-v2", "unigram", "DebertaV2Tokenizer",
               config={**_RELATIVE, "position_buckets": 16, "norm_rel_ebd": "layer_norm", "share_att_key": True}),
        Family("deberta", "bytes", "DebertaTokenizer", config=_RELATIVE),
        Family("roberta", "bytes", "RobertaTokenizer", _ROBERTA, _SHIFTED),
        Family("modernbert", "bytes", "PreTrainedTokenizerFast",
               config={"pad_token_id": 0, "local_attention": 8, "global_attn_every_n_layers": 2}),
    )
}  # fmt: skip


def save_encoder(folder: Path, family: str = "bert", **config: Any) -> Path:
    """A Hugging Face directory of a random encoder."""
    return _save(folder, FAMILIES[family], AutoModel, config)


def save_classifier(folder: Path, family: str = "bert", **config: Any) -> Path:
    """A Hugging Face directory of a random sequence classifier."""
    return _save(folder, FAMILIES[family], AutoModelForSequenceClassification, config)


def save_sentence_encoder(
    folder: Path, pooling: dict[str, Any] | None = None, *modules: tuple[str, dict[str, Any]], **words: Any
) -> Path:
    """A sentence-transformers directory. `modules`: kinds and configurations after the pooling."""
    save_encoder(folder)
    kinds = ["Transformer", "Pooling", *(kind for kind, _ in modules)]
    paths = ["", *(f"{number}_{kind}" for number, kind in enumerate(kinds) if number)]
    write(folder / "modules.json", [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ])  # fmt: skip
    write(folder / "sentence_bert_config.json", {"max_seq_length": 48, "do_lower_case": False, **words})
    write(folder / "1_Pooling/config.json", {"word_embedding_dimension": HIDDEN, **(pooling or {})})
    torch.manual_seed(1)
    for path, (kind, config) in zip(paths[2:], modules, strict=True):
        write(folder / path / "config.json", config)
        if kind == "Dense":
            shape = (config["out_features"], config["in_features"])
            bias = {"linear.bias": torch.randn(shape[0])} if config.get("bias", True) else {}
            save_file({"linear.weight": torch.randn(shape) / 4, **bias}, folder / path / "model.safetensors")
        if kind == "LayerNorm":
            size = config["dimension"]
            save_file({"norm.weight": torch.rand(size) + 0.5, "norm.bias": torch.randn(size)},
                      folder / path / "model.safetensors")  # fmt: skip
    return folder


def write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def change(file: Path, **fields: Any) -> None:
    """Other values in a JSON object."""
    write(file, {**json.loads(file.read_text()), **fields})


def _save(folder: Path, family: Family, auto_class: Any, config: dict[str, Any]) -> Path:
    torch.manual_seed(0)
    tokenizer = _tokenizer(family)
    roles = family.roles
    ids = {f"{role}_id": tokenizer.token_to_id(roles[role]) for role in ("pad_token", "cls_token", "sep_token")}
    settings = {
        **{"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": 64},
        **{"vocab_size": VOCABULARY, "max_position_embeddings": POSITIONS, "initializer_range": _RANGE},
        **{"bos_token_id": ids["cls_token_id"], "eos_token_id": ids["sep_token_id"], **ids},
        **family.config,
        **config,
    }
    model = auto_class.from_config(AutoConfig.for_model(family.model_type, **settings))
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    words = {"tokenizer_class": family.tokenizer_class, "model_max_length": POSITIONS, "do_lower_case": True}
    write(folder / "tokenizer_config.json", {**words, **roles})
    return folder


def _tokenizer(family: Family) -> Tokenizer:
    tokenizer = _TRAINED[family.tokenizer](family)
    first, last = family.roles["cls_token"], family.roles["sep_token"]
    ends = [(token, tokenizer.token_to_id(token)) for token in (first, last)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{first} $A {last}", special_tokens=ends)
    return tokenizer


def _text() -> Iterable[str]:
    return islice(sentences(), 60)


def _wordpiece(family: Family) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token=family.roles["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=list(family.special), show_progress=False)
    tokenizer.train_from_iterator(_text(), trainer)
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _bytes(family: Family) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(family.special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_text(), trainer)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _unigram(family: Family) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(family.special),
        unk_token=family.roles["unk_token"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(_text(), trainer)
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


_TRAINED = {"wordpiece": _wordpiece, "bytes": _bytes, "unigram": _unigram}
