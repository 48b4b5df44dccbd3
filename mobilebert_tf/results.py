"""What a Pipeline returns: a result for each text, by the model's head."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """A predicted token for a [MASK]."""

    token: str
    probability: float


@dataclass(frozen=True)
class Filled:
    """A masked LM's result: for each [MASK] of the text its candidates, best first."""

    text: str
    masks: list[list[Candidate]]


@dataclass(frozen=True)
class Classified:
    """A classifier's result: the likeliest class, and the probabilities of all classes."""

    text: str
    label: str
    probability: float
    probabilities: dict[str, float]


@dataclass(frozen=True)
class MultiLabelClassified:
    """A multi-label classifier's result: the labels from their thresholds on, the likeliest first,
    perhaps none, and the probabilities of all labels."""

    text: str
    labels: list[str]
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Scored:
    """The score of a regression, or of a text as one of several choices."""

    text: str
    score: float


@dataclass(frozen=True)
class TextSpan:
    """A labelled part of a text, text[start:end]: a word, an entity or an answer."""

    text: str
    start: int
    end: int
    label: str
    probability: float


@dataclass(frozen=True)
class Labelled:
    """A token classifier's result: the labelled words, and the entities that they form if the
    labels mark entities; see tasks/tags.py.

    The words of a text are as in training, as far as they can be told: see text/words.py. Given
    words are as they were given, in a text with blanks between them; those that were cut off have
    the label "" and probability 0. A word's label is that of its first piece, as in training.
    """

    text: str
    words: list[TextSpan]
    entities: list[TextSpan]


@dataclass(frozen=True)
class Answered:
    """A span model's result: the answer is context[start:end], "" if there is none; the candidates
    are ordered, best first."""

    text: str
    answer: str
    start: int
    end: int
    probability: float
    candidates: list[TextSpan]


@dataclass(frozen=True)
class Embedded:
    """The encoder's embedding of the text, [H]."""

    text: str
    embedding: list[float]


Result = Filled | Classified | MultiLabelClassified | Scored | Labelled | Answered | Embedded
