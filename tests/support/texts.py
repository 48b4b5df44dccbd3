"""A vocabulary, and texts that it knows: a corpus, and texts with labels."""

import random
import string
from pathlib import Path

import numpy as np

from mobilebert_tf.text.tokenizer import SPECIAL_TOKENS, WordPiece

LABELS = ("bad", "good", "so so")
SUBJECTS = "the dog|an old cat|this boat|that red house|a small dog".split("|")
VERBS = "runs|sleeps|never sees a river|always likes the 3 stones".split("|")
PLACES = "under the tree|near a small road|behind it|over 9 big rivers, too".split("|")
PRAISE, BLAME = ("good", "fine", "great"), ("bad", "poor", "awful")
NEUTRAL = ("the", "a", "film", "plot", "is", "was")
# Of the tiny models: a larger one would only make them larger.
VOCABULARY = [
    *SPECIAL_TOKENS,
    *"the a this that dog cat house river runs sleeps sees likes an old red small big".split(),
    *"under over behind near tree road stone boat and never always".split(),
    *(letter for letter in string.ascii_lowercase if letter != "a"),
    *(f"##{letter}" for letter in string.ascii_lowercase),
    *string.digits,
    *".,?!'",
]
TOKENIZER = WordPiece(VOCABULARY)
# With the words of labelled texts and of questions.
WIDE_VOCABULARY = [
    *VOCABULARY,
    *(word for word in (*PRAISE, *BLAME, *NEUTRAL) if word not in VOCABULARY),
    *"who sat born smith john japan ##ese 1895 1943".split(),
    *(f"##{digit}" for digit in string.digits),
    *'()"-–',
]
WIDE_TOKENIZER = WordPiece(WIDE_VOCABULARY)


def write_corpus(path: Path, documents: int = 40, seed: int = 7) -> Path:
    """Documents of four paragraphs, one a line, of one to five sentences; a blank line between."""
    rng = random.Random(seed)

    def sentence() -> str:
        return " ".join(rng.choice(part) for part in (SUBJECTS, VERBS, PLACES)).capitalize() + "."

    def paragraph() -> str:
        return " ".join(sentence() for _ in range(rng.randint(1, 5)))

    texts = ["\n".join(paragraph() for _ in range(4)) for _ in range(documents)]
    path.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    return path


def labelled_texts(count: int, seed: int) -> str:
    """A table of texts and labels: one word of praise or blame says which, among others."""
    rng = np.random.default_rng(seed)
    rows = ["text\tlabel"]
    for _ in range(count):
        label = rng.integers(2)
        words = list(rng.choice(NEUTRAL, rng.integers(1, 9)))
        words.insert(rng.integers(len(words) + 1), (BLAME, PRAISE)[label][rng.integers(3)])
        rows.append(f"{' '.join(words)}\t{('bad', 'good')[label]}")
    return "\n".join(rows) + "\n"
