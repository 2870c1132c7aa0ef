"""Prompts and what they ask for: a digit or none, and a style or none; also misspelt, and about other things."""

from __future__ import annotations

import random
import string
from dataclasses import dataclass

from training.images.digits import Slant, Weight
from training.images.unet import NULL_ROW
from training.images.vocabulary import (
    BOLD,
    DIGITS,
    FILLERS,
    HELD_OUT_TEMPLATES,
    HELD_OUT_THINGS,
    LOOKALIKES,
    NEGATIVE_TEMPLATES,
    NUMBERS,
    SLANTED,
    TEMPLATES,
    THIN,
    THINGS,
)


@dataclass(frozen=True)
class Prompt:
    """`digit` is NULL_ROW where the text asks for no single digit."""

    text: str
    digit: int
    weight: Weight
    slant: Slant


@dataclass(frozen=True)
class Habits:
    """How often people do what."""

    negative: float = 0.22
    styled: float = 0.45
    misspelt: float = 0.25
    filled: float = 0.3
    ending: float = 0.2


class Writer:
    """Writes prompts, the same for the same seed. `held_out`: in forms and about things that are not trained on."""

    def __init__(self, seed: int, *, held_out: bool = False, habits: Habits | None = None) -> None:
        self._random = random.Random(f"{seed} {held_out}")
        self._habits = habits or Habits()
        self._held_out = held_out
        self._templates = HELD_OUT_TEMPLATES if held_out else TEMPLATES
        self._things = HELD_OUT_THINGS if held_out else THINGS

    def write(self, digit: int | None = None) -> Prompt:
        """A prompt for `digit`; None writes about anything."""
        negative = digit is None and self._random.random() < self._habits.negative
        if negative and self._random.random() < 0.4:
            return Prompt(self._several(), NULL_ROW, Weight.ANY, Slant.ANY)
        wanted = NULL_ROW if negative else self._random.randrange(10) if digit is None else digit
        template = self._random.choice(NEGATIVE_TEMPLATES if negative else self._templates)
        style, weight, slant = self._style() if "{s}" in template else ("", Weight.ANY, Slant.ANY)
        return Prompt(self._filled(template, style, wanted), wanted, weight, slant)

    def _filled(self, template: str, style: str, digit: int) -> str:
        while "{n}" in template:
            template = template.replace("{n}", self._thing(), 1)
        ends = template.endswith("{s}")
        text = template.replace("{s}", style.rstrip() if ends else style)
        if not self._held_out and self._random.random() < self._habits.filled:
            text = self._interrupted(text)
        name = "" if digit == NULL_ROW else self._random.choice(DIGITS[digit])
        if self._random.random() < self._habits.misspelt:
            name, text = self._misspelt(name), self._misspelt(text)
        return self._finished(text.replace("{d}", name))

    def _finished(self, text: str) -> str:
        if self._random.random() < self._habits.ending:
            text += self._random.choice((".", "!", "?", " please", "...", " :)"))
        return self._random.choice((text, text, text.capitalize(), text.upper()))

    def _style(self) -> tuple[str, Weight, Slant]:
        words: list[str] = []
        weight, slant = Weight.ANY, Slant.ANY
        if self._random.random() < self._habits.styled:
            kind = self._random.randrange(4)
            if kind < 3:
                weight = (Weight.BOLD, Weight.THIN, Weight.ANY)[kind]
                words += [] if kind == 2 else [self._random.choice((BOLD, THIN)[kind])]
            if kind >= 2 or self._random.random() < 0.25:
                slant = Slant.SLANTED
                words.append(self._random.choice(SLANTED))
        self._random.shuffle(words)
        return "".join(f"{word} " for word in words), weight, slant

    def _thing(self) -> str:
        if self._random.random() < 0.2:
            return self._random.choice(LOOKALIKES)
        if self._random.random() < 0.2:
            letters = [self._random.choice((string.ascii_lowercase, "aeiou")[place % 2]) for place in range(8)]
            return "".join(letters[: self._random.randint(3, 8)])
        return self._random.choice(self._things)

    def _interrupted(self, text: str) -> str:
        """With a word or two somewhere that change nothing, so that unknown words are learned to be passed over."""
        words = text.split(" ")
        for _ in range(self._random.randint(1, 2)):
            word = self._random.choice(FILLERS) if self._random.random() < 0.6 else self._thing()
            words.insert(self._random.randint(0, len(words)), word)
        return " ".join(words)

    def _several(self) -> str:
        """Numbers that have more than one digit, or two of them."""
        first, second = (self._random.choice(DIGITS[self._random.randrange(10)]) for _ in range(2))
        number = str(self._random.randint(10, 9999))
        forms = (number, self._random.choice(NUMBERS), f"{first} and {second}", f"a {first} and a {second}")
        template = self._random.choice(("{}", "a {}", "the number {}", "draw {}", "draw me the digits {}", "write {}"))
        return self._finished(template.format(self._random.choice((*forms, self._random.choice(LOOKALIKES)))))

    def _misspelt(self, text: str) -> str:
        """One letter swapped, left out, doubled or wrong in a word of three letters or more; else the text as it is."""
        words = text.split(" ")
        places = [place for place, word in enumerate(words) if len(word) >= 3 and word.isalpha()]
        if not places:
            return text
        place = self._random.choice(places)
        words[place] = self._mangled(words[place])
        return " ".join(words)

    def _mangled(self, word: str) -> str:
        at = self._random.randrange(len(word) - 1)
        wrong = self._random.choice(string.ascii_lowercase)
        # Of a short word too little would be left.
        kinds = [word[:at] + word[at + 1] + word[at] + word[at + 2 :], word[:at] + word[at] + word[at:]]
        if len(word) > 3:
            kinds += [word[:at] + word[at + 1 :], word[:at] + wrong + word[at + 1 :]]
        return self._random.choice(kinds)
