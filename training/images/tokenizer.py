"""Cuts prompts into the tokens that the text encoder reads; the same prompts always make the same tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from training.images.prompts import Writer

PAD, UNKNOWN, BEGIN = "[PAD]", "[UNK]", "[CLS]"


def train_tokenizer(seed: int, vocab_size: int, prompts: int = 20_000) -> Tokenizer:
    """WordPiece on prompts: whole words where they are frequent, pieces and letters elsewhere; digits stand alone."""
    writer = Writer(seed)
    tokenizer = _tokenizer(_train_pieces([writer.write().text for _ in range(prompts)], vocab_size))
    tokenizer.add_special_tokens([PAD, UNKNOWN, BEGIN])
    # A text always begins with a token, so that an empty one is a text too.
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, tokenizer.token_to_id(BEGIN))]
    )
    return tokenizer


def _tokenizer(pieces: Sequence[str]) -> Tokenizer:
    numbers = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token=UNKNOWN, max_input_chars_per_word=40))
    steps = [normalizers.NFKC(), normalizers.Lowercase(), normalizers.StripAccents()]
    tokenizer.normalizer = normalizers.Sequence(steps)
    cuts = [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits(individual_digits=True)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    return tokenizer


def _train_pieces(texts: Sequence[str], vocab_size: int) -> list[str]:
    """In the order of their numbers.

    Of pairs that are equally frequent the trainer joins the one of the lower numbers, and the letters inside words it
    numbers as its hash table holds them, anew each time. So they are given to it in order, as "special tokens", which
    it numbers first; in this tokenizer they would be cut out of a text as such, and only its pieces are kept.
    """
    tokenizer = _tokenizer([])
    inside = sorted({letter for text in texts for word in _words(tokenizer, text) for letter in word[1:]})
    first = [PAD, UNKNOWN, BEGIN, *(f"##{letter}" for letter in inside)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=first, min_frequency=2, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    numbers = tokenizer.get_vocab()
    return sorted(numbers, key=numbers.__getitem__)


def _words(tokenizer: Tokenizer, text: str) -> Iterator[str]:
    cut = tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
    return (word for word, _ in cut)
