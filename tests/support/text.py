"""A small corpus for tests: English-like documents from a fixed grammar."""

import random
from pathlib import Path

SUBJECTS = "the cat|a small dog|my old friend|the quick fox|every teacher|a young student".split(
    "|"
)
VERBS = "reads|writes|finds|carries|forgets|returns".split("|")
OBJECTS = "a book|the long letter|an array of numbers|the key|some bread|the answer".split("|")
PLACES = "in the garden|at home|near the river|before noon|after the rain|on the table".split("|")


def write_corpus(path: Path, documents: int = 40, seed: int = 7) -> Path:
    """Paragraphs of two to five sentences, a blank line between documents."""
    rng = random.Random(seed)

    def sentence() -> str:
        words = (rng.choice(part) for part in (SUBJECTS, VERBS, OBJECTS, PLACES))
        return " ".join(words).capitalize() + "."

    def paragraph() -> str:
        return " ".join(sentence() for _ in range(rng.randint(2, 5)))

    texts = ["\n".join(paragraph() for _ in range(rng.randint(3, 6))) for _ in range(documents)]
    path.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    return path
