"""The heads that a model can have, and everything that differs from head to head."""

import collections
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mobilebert_tf.errors import InputError, check_number

LONGEST_LABEL = 1000  # characters
NEXT_SENTENCE_LABELS = ("next", "random")  # in the order of BERT's next sentence logits


HeadName = Literal[
    "encoder",
    "pretraining",
    "masked_lm",
    "next_sentence",
    "classifier",
    "multi_label_classifier",
    "regression",
    "multiple_choice",
    "token_classifier",
    "span",
]


@dataclass(frozen=True)
class HeadKind:
    """Properties of one kind of head.

    Args:
        outputs: names of the outputs of an exported file and of a KerasModel.
        layer: the head's first dense layer, by its path in the Keras model. It reads the last
            block's output, through the pooler unless `by_token`. None if the head has no layer.
        by_token: whether the outputs have an entry for each token, in their second dimension.
        has_labels: whether the head's classes are named by the user.
        multi_label: whether a text may have any number of the labels: each has a probability of its
            own, the sigmoid of its logit, and is chosen from a threshold on.
        huggingface: suffix of Hugging Face's class for this head.
        huggingface_layer: name of the head's output layer in Hugging Face's files; the masked LM
            has a table of its own.
        google_scope: variable scope of the head's output layer in Google's checkpoints; None if
            Google's code has no such head.
    """

    outputs: tuple[str, ...]
    layer: str | None
    huggingface: str
    by_token: bool = False
    has_labels: bool = False
    multi_label: bool = False
    huggingface_layer: str | None = None
    google_scope: str | None = None


HEADS: dict[str, HeadKind] = {
    "encoder": HeadKind(("embedding",), layer=None, huggingface="Model"),
    "pretraining": HeadKind(
        ("mlm_logits",),
        layer="masked_lm/transform",
        by_token=True,
        huggingface="ForPreTraining",
        huggingface_layer="cls.seq_relationship",
        google_scope="cls/seq_relationship/",
    ),
    "masked_lm": HeadKind(
        ("mlm_logits",), layer="masked_lm/transform", by_token=True, huggingface="ForMaskedLM"
    ),
    "next_sentence": HeadKind(
        ("probability",),
        layer="next_sentence",
        huggingface="ForNextSentencePrediction",
        huggingface_layer="cls.seq_relationship",
        google_scope="cls/seq_relationship/",
    ),
    "classifier": HeadKind(
        ("probability",),
        layer="classifier",
        has_labels=True,
        huggingface="ForSequenceClassification",
        huggingface_layer="classifier",
        google_scope="",
    ),
    # After the classifier, whose class Hugging Face has for both: its problem_type tells which.
    "multi_label_classifier": HeadKind(
        ("probability",),
        layer="classifier",
        has_labels=True,
        multi_label=True,
        huggingface="ForSequenceClassification",
        huggingface_layer="classifier",
    ),
    "regression": HeadKind(
        ("score",),
        layer="classifier",
        huggingface="ForSequenceClassification",
        huggingface_layer="classifier",
        google_scope="",
    ),
    "multiple_choice": HeadKind(
        ("score",),
        layer="classifier",
        huggingface="ForMultipleChoice",
        huggingface_layer="classifier",
    ),
    "token_classifier": HeadKind(
        ("token_probability",),
        layer="classifier",
        by_token=True,
        has_labels=True,
        huggingface="ForTokenClassification",
        huggingface_layer="classifier",
    ),
    "span": HeadKind(
        ("start_logits", "end_logits"),
        layer="span",
        by_token=True,
        huggingface="ForQuestionAnswering",
        huggingface_layer="qa_outputs",
        google_scope="cls/squad/",
    ),
}
# Names of the outputs with an entry for each token.
TOKEN_OUTPUTS = frozenset(name for kind in HEADS.values() if kind.by_token for name in kind.outputs)


@dataclass(frozen=True)
class Head:
    """The output layers of a model: the task.json of a model directory.

    Args:
        kind: a key of HEADS. pretraining is masked LM and next sentence prediction; regression
            and multiple_choice give one score for each text (the choice with the highest score is
            the likeliest).
        labels: names of the classes of a classifier, multi_label_classifier or token_classifier, in
            the order of its logits.
        sequence_length: number of tokens that the head was trained on; null if unknown. An encoder
            takes no more tokens, though its position table may have more rows.
        metric: name of the metric with which the head was evaluated.
        pooling: how an encoder makes the embedding of a text: "first" is the pooled output of the
            first token, "mean" the mean of the sequence output over real tokens.
        normalized: whether that embedding has length 1.
        pairs: whether a classifier or regression was trained on pairs of texts; null if unknown.
        thresholds: for each label of a multi_label_classifier the probability from which on a text
            has it; without any, 0.5.
        joiners: of a token_classifier: where the words that it was trained on have marks in them,
            see text/words.py; without any, each mark of a raw text is a word.

    Raises InputError if pooling or normalized is set for another head than an encoder, for a
    classifier with fewer than two labels, for labels that are empty, repeated or no line of text,
    for a sequence_length below 3, for thresholds that are not one for each label of a
    multi_label_classifier, and for joiners of another head than a token_classifier.
    """

    kind: HeadName = "encoder"
    labels: Sequence[str] = ()
    sequence_length: int | None = None
    metric: str | None = None
    pooling: Literal["first", "mean"] = "first"
    normalized: bool = False
    pairs: bool | None = None
    thresholds: Sequence[float] = ()
    joiners: Sequence[str] = ()

    def __post_init__(self):
        if self.kind != "encoder" and (self.pooling != "first" or self.normalized):
            raise InputError(
                f"pooling and normalized are settings of an encoder, this is a {self.kind}"
            )
        check_number("sequence_length", self.sequence_length, 3)
        check_labels(self.kind, self.labels)
        check_thresholds(self.kind, self.labels, self.thresholds)
        check_joiners(self.kind, self.joiners)

    @property
    def has_labels(self) -> bool:
        return HEADS[self.kind].has_labels

    @property
    def output_labels(self) -> Sequence[str]:
        """The names of the head's classes."""
        return NEXT_SENTENCE_LABELS if self.kind == "next_sentence" else self.labels

    @property
    def predicts_masks(self) -> bool:
        return predicts_masks(self.kind)

    @property
    def embeds_sentences(self) -> bool:
        """Whether this is a sentence encoder: its pooling was chosen, which a bare encoder's first
        token is not."""
        return self.kind == "encoder" and (self.pooling != "first" or self.normalized)

    @property
    def predicts_next_sentence(self) -> bool:
        return self.kind in ("pretraining", "next_sentence")

    @property
    def output_layer(self) -> str | None:
        """The head's output layer in the Keras model; None for an encoder or a masked LM alone."""
        if self.predicts_next_sentence:
            return "next_sentence"
        return None if self.predicts_masks else HEADS[self.kind].layer

    @property
    def reads_pooler(self) -> bool:
        """Whether a layer of the head reads the pooled output."""
        own_layer = HEADS[self.kind].layer is not None
        return self.predicts_next_sentence or (own_layer and not HEADS[self.kind].by_token)


def check_labels(kind: str, labels: Sequence[str]) -> None:
    """Raises InputError for labels that a head cannot have: see Head."""
    if HEADS[kind].has_labels and len(labels) < 2:
        raise InputError(f"a {kind} needs at least two labels, not {len(labels)}")
    for label in labels:
        is_line = isinstance(label, str) and label.splitlines() == [label] and label.strip()
        if not is_line or len(label) > LONGEST_LABEL:
            raise InputError(
                f"the label {label!r:.60} is no line of text of 1 to {LONGEST_LABEL} characters"
            )
    (label, count), *_ = collections.Counter(labels).most_common(1) or [("", 0)]
    if count > 1:
        raise InputError(f"the label {label!r:.60} is that of {count} classes")


def check_thresholds(kind: str, labels: Sequence[str], thresholds: Sequence[float]) -> None:
    """Raises InputError for thresholds that a head cannot have: see Head."""
    if not thresholds:
        return
    numbers = all(type(value) in (int, float) and 0 <= value <= 1 for value in thresholds)
    if not HEADS[kind].multi_label or not numbers or len(thresholds) != len(labels):
        raise InputError(
            f"thresholds are {list(thresholds)}: they are for a multi_label_classifier, a number "
            "from 0 to 1 for each label"
        )


def check_joiners(kind: str, joiners: Sequence[str]) -> None:
    """Raises InputError for joiners that a head cannot have: see Head."""
    texts = isinstance(joiners, list | tuple) and all(isinstance(each, str) for each in joiners)
    if not texts or (joiners and kind != "token_classifier"):
        raise InputError(f"joiners are {joiners!r}: they are texts, of a token_classifier")


def predicts_masks(kind: str) -> bool:
    """Returns whether a kind of head is a masked language model."""
    return "mlm_logits" in HEADS[kind].outputs


def marks_places(kind: str) -> bool:
    """Returns whether a kind of head marks words of the text: an answer, or labelled words."""
    return HEADS[kind].by_token and not predicts_masks(kind)
