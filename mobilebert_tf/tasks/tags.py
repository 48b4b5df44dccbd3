"""Tagging schemes of labelled words: what the labels of a token classifier say about entities.

The scheme is read from the labels alone, so that a metric, a prediction and an exported file, which
knows nothing but its labels, agree about it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

OUTSIDE = "O"
UNNAMED = "entity"  # the kind of entities whose labels name none: B, I, O
# The letters of each scheme. All of them are read the same way, by the letters' meaning below.
_SCHEMES = {"IO": "I", "BIO": "BI", "BIOES": "BIES", "BILOU": "BILU", "BMES": "BMES"}
_BEGINS, _ENDS = "BSU", "ESLU"  # the letters that begin an entity, or are its last word
_MARKED = re.compile("([BIESLUM])(?:-(.+))?", re.DOTALL)
_NUMBER = re.compile(r"-?\d+")


@dataclass(frozen=True)
class TagScheme:
    """How labels mark entities.

    Args:
        name: IO, BIO, BIOES, BILOU or BMES; "plain" for labels of words that form no entities, as
            parts of speech; "numbers" for labels whose meaning the data do not give.
        kinds: of the entities, sorted.
        ignored: labels that the scheme does not have; they count as outside.
    """

    name: str
    kinds: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def has_entities(self) -> bool:
        return self.name in _SCHEMES

    def describe(self) -> str:
        """Returns what is said to the user about it."""
        if self.name == "numbers":
            return "the labels are numbers: words are scored one by one, give names to see entities"
        if not self.has_entities:
            return "plain labels, which mark no entities: words are scored one by one"
        text = f"{self.name} labels of entities: {', '.join(self.kinds)}"
        if self.ignored:
            text += f"; counted as outside: {', '.join(self.ignored)}"
        return text

    def to_bio(self, labels: Sequence[str]) -> list[str]:
        """Returns the labels of a text's words as B-kind, I-kind and O, whatever the scheme.

        An entity that does not begin as its scheme wants begins with its first word, as in seqeval.
        """
        result, open_kind = [], None
        for label in labels:
            letter, kind = self._parts(label)
            if letter is None:
                result.append(OUTSIDE)
                open_kind = None
                continue
            begins = letter in _BEGINS or kind != open_kind
            result.append(f"{'B' if begins else 'I'}-{kind}")
            open_kind = None if letter in _ENDS else kind
        return result

    def _parts(self, label: str) -> tuple[str | None, str]:
        """Returns the letter and the kind of a label; no letter for one outside of entities."""
        if not self.has_entities or label == OUTSIDE or label in self.ignored:
            return None, ""
        if label in self.kinds:  # IO without a letter: PER, ORG, O
            return "I", label
        letter, kind = _MARKED.fullmatch(label).groups()
        return letter, kind or UNNAMED


def tag_scheme(labels: Sequence[str]) -> TagScheme:
    """Returns the scheme of a token classifier's labels.

    Labels with a letter and a dash (B-PER) are of the first scheme that has all their letters. If
    no label has one but there is an O, B and I alone are letters too; other names are kinds of
    entities, whose words stand together.
    """
    names = [label for label in labels if label != OUTSIDE]
    if all(map(_NUMBER.fullmatch, names)):
        return TagScheme("numbers")
    marked = {label: _MARKED.fullmatch(label) for label in names}
    with_kind = {label: match for label, match in marked.items() if match and match[2]}
    if with_kind and (OUTSIDE in labels or len(with_kind) == len(names)):
        return _scheme(names, with_kind)
    if OUTSIDE not in labels:
        return TagScheme("plain")
    if all(marked.values()) and "B" in marked:
        return _scheme(names, marked)
    return TagScheme("IO", tuple(sorted(names)))


def _scheme(names: Sequence[str], marked: dict[str, re.Match]) -> TagScheme:
    letters = {match[1] for match in marked.values()}
    name = next((n for n, known in _SCHEMES.items() if letters <= set(known)), None)
    if name is None:  # letters of several schemes
        return TagScheme("plain")
    kinds = {match[2] or UNNAMED for match in marked.values()}
    ignored = tuple(label for label in names if label not in marked)
    return TagScheme(name, tuple(sorted(kinds)), ignored)
