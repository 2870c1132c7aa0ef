"""The words that prompts are made of."""

from __future__ import annotations

DIGITS: tuple[tuple[str, ...], ...] = (
    ("0", "zero", "nought"),
    ("1", "one"),
    ("2", "two"),
    ("3", "three"),
    ("4", "four"),
    ("5", "five"),
    ("6", "six"),
    ("7", "seven"),
    ("8", "eight"),
    ("9", "nine"),
)
BOLD = ("bold", "thick", "heavy", "fat", "strong", "chunky")
THIN = ("thin", "light", "fine", "slim", "skinny", "delicate")
SLANTED = ("slanted", "italic", "tilted", "leaning", "oblique", "sloping")

# {d} the digit, {s} its style with a space after it or nothing, {n} some other thing.
TEMPLATES = (
    "{s}{d}",
    "{s}{d}",
    "a {s}{d}",
    "an {s}{d}",
    "the {s}{d}",
    "the {s}digit {d}",
    "a {s}digit {d}",
    "digit {d}",
    "the {s}number {d}",
    "a {s}number {d}",
    "number {d}",
    "the {s}numeral {d}",
    "draw {s}{d}",
    "draw a {s}{d}",
    "draw me a {s}{d}",
    "draw me the {s}digit {d}",
    "draw me a {s}number {d}",
    "please draw the {s}number {d}",
    "write {s}{d}",
    "write the {s}number {d} for me",
    "write down a {s}{d}",
    "paint a {s}{d}",
    "paint the {s}numeral {d} please",
    "show me a {s}{d}",
    "show {s}{d}",
    "make a {s}{d}",
    "make me a {s}picture of the number {d}",
    "an image of a {s}{d}",
    "a picture of the {s}digit {d}",
    "a drawing of a {s}{d}",
    "a {s}handwritten {d}",
    "a printed {s}{d}",
    "i want a {s}{d}",
    "i would like a {s}number {d}",
    "can you draw a {s}{d}",
    "could you write the {s}digit {d}",
    "give me a {s}{d}",
    "generate a {s}{d}",
    "generate an image of the {s}digit {d}",
    "just a {s}{d}",
    "a {s}{d} on white paper",
    "a {s}{d} in black ink",
    "the {s}{d} from a calendar",
    "a {s}{d} next to a {n}",
    "the {s}number {d} on a {n}",
    "a {n} with a {s}{d} on it",
    "a {d} that is {s}",
    "the number {d}, {s}",
    "{d}, {s}",
    "{d} {s}",
)
# For measuring only; no prompt of these forms is trained on.
HELD_OUT_TEMPLATES = (
    "a nice {s}{d}",
    "sketch the {s}figure {d}",
    "let me see a {s}{d}",
    "print a {s}digit {d} now",
    "a house number: {s}{d}",
    "my favourite number is {d}",
)
NEGATIVE_TEMPLATES = (
    "{n}",
    "a {n}",
    "the {n}",
    "draw a {n}",
    "draw me a {n} and a {n}",
    "a picture of a {n}",
    "an image of the {n} by the {n}",
    "a {s}{n}",
    "something {s}",
    "paint a {s}{n} please",
    "a digit",
    "a {s}digit",
    "any number",
    "draw a {s}number",
    "surprise me",
    "hello",
    "",
    "a photo of a {n} with a {n}",
    "i want a {n}",
    "{n} {n} {n}",
    "show me the {n}",
)
# Numbers of more than one digit, and words that look like digits.
NUMBERS = (
    *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
    *("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "hundred", "thousand", "million"),
    *("dozen", "first", "second", "third", "tenth", "half", "infinity", "forty two", "ninety nine", "twenty one"),
)
LOOKALIKES = (
    *("weight", "freight", "height", "often", "someone", "none", "bone", "stone", "tone", "phone", "alone", "money"),
    *("threat", "throat", "forest", "fork", "form", "fire", "fist", "fiver", "sax", "sand", "severe", "sever", "event"),
    *("nice", "fine day", "night", "light bulb", "mine", "line", "wine", "hero", "zebra", "zone", "to", "too", "tower"),
    *("for", "far", "four-leaf", "won", "ate", "tree", "free", "eagle", "sixpence pie", "onion", "twin", "twig"),
)
# Said beside what is meant, and meaning nothing here.
FILLERS = (
    *("very", "really", "quite", "big", "small", "large", "tiny", "red", "blue", "green", "yellow", "simple", "clean"),
    *("beautiful", "pretty", "lovely", "cool", "good", "clear", "nicely", "neat", "perfect", "ugly", "funny", "old"),
    *("new", "modern", "classic", "single", "only", "lonely", "lucky", "happy", "sad", "dark", "plain", "ordinary"),
    *("quickly", "now", "today", "here", "again", "maybe", "kindly", "some", "my", "your", "our", "this", "that"),
    *("with", "from", "under", "above", "inside", "like", "as", "so", "um", "well", "ok", "hey", "hi", "thanks"),
)
THINGS = (
    *("cat", "dog", "horse", "house", "table", "chair", "tree house", "river", "mountain", "car", "bicycle", "train"),
    *("apple", "banana", "bread", "cup", "bottle", "window", "door", "book", "pencil", "letter", "word", "circle"),
    *("square", "triangle", "star", "moon", "sun", "cloud", "bird", "fish", "flower", "garden", "street", "city"),
    *("boat", "ship", "plane", "clock", "lamp", "shoe", "hat", "shirt", "face", "hand", "smile", "castle", "robot"),
    *("astronaut", "dragon", "elephant", "giraffe", "guitar", "piano", "violin", "king", "queen", "wizard", "ghost"),
    *("landscape", "portrait", "painting", "photograph", "sunset", "beach", "ocean", "desert", "island", "bridge"),
    *("sign", "poster", "wall", "cake", "jersey", "button", "key", "ball", "box", "bag", "coat", "spoon", "knife"),
    *("computer", "screen", "keyboard", "mouse", "server", "network", "engine", "wheel", "road", "map", "flag"),
)
HELD_OUT_THINGS = (
    *("umbrella", "camel", "kettle", "candle", "violet", "tractor", "helmet", "parrot", "blanket", "lighthouse"),
    *("hammer", "carpet", "pumpkin", "ladder", "mirror", "basket", "teapot", "feather", "cactus", "submarine"),
)
