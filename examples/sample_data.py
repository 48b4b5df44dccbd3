"""Writes a small text and labelled reviews, for those who have no data at hand yet.

`python examples/sample_data.py` writes my_text.txt, unlabelled.txt and reviews/ in the current
folder. A file that exists stays as it is. The sentences come from a fixed grammar: enough to see
every command of docs/guide.md work, not enough to learn a language from.
"""

import itertools
import random
from pathlib import Path

GOOD = ("lovely", "funny", "moving", "brilliant", "charming", "warm")
BAD = ("dull", "boring", "empty", "awful", "clumsy", "cold")
THINGS = ("film", "story", "plot", "cast", "music", "script")
DEGREES = ("really", "rather", "quite", "simply")
FRAMES = ("the {} was {} {}.", "what a {}: {} {}!", "i found the {} {} {}.", "this {} is {} {}.")


def reviews(adjectives) -> list[str]:
    """Returns every sentence of the grammar with one of the adjectives."""
    parts = itertools.product(FRAMES, THINGS, DEGREES, adjectives)
    return [frame.format(*words) for frame, *words in parts]


def write(path: str, text: str) -> None:
    """Writes a file unless it exists; prints which of the two it was."""
    file = Path(path)
    file.parent.mkdir(exist_ok=True)
    if file.exists():
        print(f"{path} exists and stays as it is")
        return
    file.write_text(text, encoding="utf-8")
    print(f"{path}: {len(text.splitlines())} lines")


def main() -> None:
    shuffle = random.Random(0).shuffle
    rows = [(text, "good") for text in reviews(GOOD)] + [(text, "bad") for text in reviews(BAD)]
    shuffle(rows)
    lines = [f"{text}\t{label}\n" for text, label in rows]
    for name, part in (("train", lines[:800]), ("dev", lines[800:950])):
        write(f"reviews/{name}.tsv", "text\tlabel\n" + "".join(part))
    write("unlabelled.txt", "".join(f"{text}\n" for text, _ in rows[950:]))
    texts = [text.capitalize() for text, _ in rows]
    shuffle(texts)
    # A document is a few lines of three sentences each; a blank line ends it.
    paragraphs = [" ".join(texts[i : i + 3]) for i in range(0, len(texts), 3)]
    documents = ["\n".join(paragraphs[i : i + 4]) for i in range(0, len(paragraphs), 4)]
    write("my_text.txt", "\n\n".join(documents) + "\n")


if __name__ == "__main__":
    main()
