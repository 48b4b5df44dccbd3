"""One vocabulary for tests, and the texts that it knows: a corpus, and texts with labels."""

import random
import string
from pathlib import Path

import numpy as np

from mobilebert_tf.text.tokenizer import SPECIAL_TOKENS, WordPiece

LABELS = ("bad", "good", "so so")
SUBJECTS = "the dog|an old cat|this boat|that red house|a small dog|every teacher".split("|")
VERBS = "runs|sleeps|never sees a river|always likes the 3 stones|writes".split("|")
PLACES = "under the tree|near a small road|behind it|over 9 big rivers, too|at home".split("|")
PRAISE, BLAME = ("good", "fine", "great"), ("bad", "poor", "awful")
NEUTRAL = ("the", "a", "film", "plot", "is", "was")
WORDS = (
    *"the a this that an who dog cat house river tree road stone boat john smith japan".split(),
    *"runs sleeps sees likes sat born old red small big under over behind near and".split(),
    *("never", "always"),
    *(*PRAISE, *BLAME, *NEUTRAL),
)
CHARACTERS = string.ascii_lowercase + string.digits
VOCABULARY = list(
    dict.fromkeys(
        [
            *SPECIAL_TOKENS,
            *(*WORDS, "1895", "1943", "##ese"),
            *(*CHARACTERS, *(f"##{character}" for character in CHARACTERS)),
            *".,!?()'\"-–",
        ]
    )
)
TOKENIZER = WordPiece(VOCABULARY)


def write_corpus(path: Path, documents: int = 40, seed: int = 7) -> Path:
    """Paragraphs of one to five sentences, one a line, a blank line between documents."""
    rng = random.Random(seed)

    def sentence() -> str:
        return " ".join(rng.choice(part) for part in (SUBJECTS, VERBS, PLACES)).capitalize() + "."

    def paragraph() -> str:
        return " ".join(sentence() for _ in range(rng.randint(1, 5)))

    texts = ["\n".join(paragraph() for _ in range(rng.randint(3, 6))) for _ in range(documents)]
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
