"""MLPerf Mobile's question answering benchmark: its records and its score.

The data, SQuAD 1.1's dev set cut into windows, are in mlcommons/mobile_models. The rules are those
of mlcommons/mobile_app_open (flutter/cpp/datasets/squad.cc and squad_utils/common.h).
"""

import os
import string
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from mobilebert_tf.errors import InputError, tensorflow_reason
from mobilebert_tf.tasks.squad import Question
from mobilebert_tf.tasks.squad_answers import check_logits, score, span_scores, word_f1
from mobilebert_tf.tasks.squad_windows import Features

FLOAT_F1 = 89.4  # percent, of MLPerf's float model on all 10,833 windows
TARGET = 0.93  # share of the float model's F1 that a submission must reach

_CANDIDATES = 20  # best starts, and best ends, of a window
_LONGEST_ANSWER = 30  # tokens
_MAX_BYTES = 1 << 30  # of an unpacked file; the published files have 40 MB
_CHUNK = 1 << 16  # bytes
_NUMBERS = ("input_ids", "input_mask", "segment_ids", "token_to_orig_map", "token_is_max_context")
# The app lower-cases ASCII only, and recognises an article only if no punctuation is attached.
_PLAIN = str.maketrans(string.ascii_uppercase, string.ascii_lowercase, string.punctuation)
_ARTICLES = {"a", "an", "the", "A", "An", "The"}


@dataclass(frozen=True)
class MlperfSquad:
    """The N windows of the benchmark and their Q questions.

    Args:
        questions: their texts are joined pieces, their contexts the joined words of the paragraph;
            the starts of the answers are unknown.
        features: as from make_features, except that starts and ends are those of a token's word.
        pieces: the tokens of each window as text, string [N,(tokens)].
        words: of each question's paragraph, split at white space.
        lowered: these words as BERT's BasicTokenizer splits them, with blanks between.
    """

    questions: list[Question]
    features: Features
    pieces: tf.RaggedTensor
    words: list[list[str]]
    lowered: list[list[str]]


# ---------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------


def read_mlperf(samples: str | os.PathLike, truth: str | os.PathLike) -> MlperfSquad:
    """Reads the benchmark's two files.

    Args:
        samples: the windows: squad_eval.tfrecord, or its _mini or _tiny form.
        truth: the answers: squad_groundtruth.tfrecord.

    Raises InputError for files that are missing, damaged, too large, or do not belong together.
    """
    windows = _parse(samples, ("qas_id", "tokens"), _NUMBERS)
    truths = _parse(truth, ("qas_id", "answers", "words", "tokens"), ())
    window_ids, truth_ids = _ids(samples, windows), _ids(truth, truths)
    _check_lengths(samples, window_ids, windows)
    ids = list(dict.fromkeys(window_ids))  # of the Q questions
    missing = set(ids) - set(truth_ids)
    if missing:
        raise InputError(f"{truth} does not hold question {min(missing)} of {samples}")
    truth_rows = {id: row for row, id in enumerate(truth_ids)}
    rows = [truth_rows[id] for id in ids]
    truths = {name: tf.gather(values, rows) for name, values in truths.items()}
    words, lowered, answers = (_lists(truths[name]) for name in ("words", "tokens", "answers"))
    numbers = {id: number for number, id in enumerate(ids)}
    question_index = np.array([numbers[id] for id in window_ids], np.int32)  # [N]
    order = np.argsort(question_index, kind="stable")
    windows = {name: tf.gather(values, order) for name, values in windows.items()}
    features = _features(samples, windows, question_index[order], ids=ids, words=words)
    first = np.searchsorted(features.question_index, np.arange(len(ids)))  # [Q]
    pieces = _lists(tf.gather(windows["tokens"], first))
    questions = [
        Question(
            id=id,
            question=_question_text(pieces[index], features.words[first[index]]),
            context=" ".join(words[index]),
            answers=tuple(answers[index]),
            starts=(),
            is_impossible=False,
        )
        for index, id in enumerate(ids)
    ]
    return MlperfSquad(
        questions=questions,
        features=features,
        pieces=windows["tokens"],
        words=words,
        lowered=lowered,
    )


def _parse(
    path: str | os.PathLike, texts: Sequence[str], numbers: Sequence[str]
) -> dict[str, tf.RaggedTensor]:
    """Returns the records' values by name: string or int64 [N,(values)]."""
    _check_stream(path)
    features = {name: tf.io.RaggedFeature(tf.string) for name in texts}
    features |= {name: tf.io.RaggedFeature(tf.int64) for name in numbers}
    try:
        records = tf.data.TFRecordDataset(os.fspath(path), compression_type="ZLIB")
        serialized = list(records.as_numpy_iterator())
        if not serialized:
            raise InputError(f"{path} holds no record")
        return tf.io.parse_example(serialized, features)
    except tf.errors.OpError as error:
        reason = tensorflow_reason(error)
        raise InputError(f"{path} is damaged, or no MLPerf file: {reason}") from None


def _check_stream(path: str | os.PathLike) -> None:
    """Raises InputError if a file is damaged or unpacks to too many bytes.

    TensorFlow would unpack it into memory whatever its size.
    """
    unpacker, size = zlib.decompressobj(), 0
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                size += len(unpacker.decompress(chunk))
                if size > _MAX_BYTES:
                    raise InputError(f"{path} unpacks to more than {_MAX_BYTES >> 20} MB: refused")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except zlib.error as error:
        raise InputError(f"{path} is damaged, or no zlib stream: {error}") from None
    if not unpacker.eof:
        raise InputError(f"{path} is cut short: download it again")


def _ids(path: str | os.PathLike, rows: dict[str, tf.RaggedTensor]) -> list[str]:
    if (rows["qas_id"].row_lengths().numpy() != 1).any():
        raise InputError(f"{path}: each record needs one qas_id")
    return _texts(rows["qas_id"].flat_values)


def _lists(rows: tf.RaggedTensor) -> list[list[str]]:
    texts, limits = _texts(rows.flat_values), rows.row_splits.numpy()
    return [texts[start:end] for start, end in zip(limits, limits[1:], strict=False)]


def _texts(values: tf.Tensor) -> list[str]:
    # Interned, because the words of a paragraph are repeated for each of its questions.
    return [sys.intern(value.decode("utf-8", "replace")) for value in values.numpy()]


def _check_lengths(
    path: str | os.PathLike, ids: list[str], windows: dict[str, tf.RaggedTensor]
) -> None:
    """Raises InputError unless each record is [CLS] question [SEP] context [SEP] and padding, with
    one entry of the maps for each token of the context."""
    tokens, length, mask, segments, mapped, nearest = (
        windows[name].row_lengths().numpy() for name in ("tokens", *_NUMBERS)
    )  # [N] each
    wrong = (length != length[0]) | (length != mask) | (length != segments)
    wrong |= (mapped != nearest) | (mapped < 1) | (tokens - mapped < 3) | (tokens > length)
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(f"{path}: the record of question {ids[row]} has lists that do not fit")


def _features(
    path: str | os.PathLike,
    windows: dict[str, tf.RaggedTensor],
    question_index: np.ndarray,
    *,
    ids: list[str],
    words: list[list[str]],
) -> Features:
    """Returns the windows as Features.

    Args:
        path: of their file, for messages.
        windows: values of the records, ordered by question.
        question_index: index of each window's question, int32 [N].
        ids: of the questions.
        words: of each question's paragraph.
    """
    input_ids, mask, segments = (
        windows[name].to_tensor().numpy().astype(np.int32) for name in _NUMBERS[:3]
    )  # [N,T] each
    word, starts, ends = (np.full(input_ids.shape, -1, np.int32) for _ in range(3))
    max_context = np.zeros(input_ids.shape, bool)
    spans = [_word_spans(paragraph) for paragraph in words]
    word_map, context_map = (windows[name] for name in _NUMBERS[3:])
    limits = word_map.row_splits.numpy()  # [N+1]
    word_map, context_map = word_map.flat_values.numpy(), context_map.flat_values.numpy()
    lengths = windows["tokens"].row_lengths().numpy()
    for row, (question, tokens) in enumerate(zip(question_index, lengths, strict=True)):
        values = slice(limits[row], limits[row + 1])
        if not 0 <= word_map[values].min() <= word_map[values].max() < len(words[question]):
            raise InputError(f"{path}: question {ids[question]} has a token of no word")
        text = slice(tokens - 1 - (limits[row + 1] - limits[row]), tokens - 1)
        word[row, text], max_context[row, text] = word_map[values], context_map[values]
        starts[row, text], ends[row, text] = spans[question][:, word_map[values]]
    return Features(
        input_ids=input_ids,
        input_mask=mask,
        segment_ids=segments,
        question_index=question_index,
        starts=starts,
        ends=ends,
        max_context=max_context,
        words=word,
        start_positions=None,
        end_positions=None,
        skipped={},
    )


def _word_spans(words: list[str]) -> np.ndarray:
    """Returns start and end of each word in the joined words: int32 [2,words]."""
    ends = np.cumsum([len(word) + 1 for word in words], dtype=np.int32) - 1
    return np.stack([ends - [len(word) for word in words], ends])


def _question_text(pieces: list[str], words: np.ndarray) -> str:
    """Returns the question from the pieces between [CLS] and [SEP]."""
    return " ".join(pieces[1 : int((words >= 0).argmax()) - 1]).replace(" ##", "")


# ---------------------------------------------------------------------------------------------
# Score
# ---------------------------------------------------------------------------------------------


def score_mlperf(
    data: MlperfSquad,
    start_logits: np.ndarray,
    end_logits: np.ndarray,
    float_f1: float = FLOAT_F1,
) -> dict[str, float]:
    """Returns the scores that the MLPerf app computes, and whether they reach its target.

    The app's F1 differs from the official one: an article counts as an empty word, which may match
    another empty word. Where logits are equal, the app's choice depends on its sorting.

    Args:
        data: the benchmark.
        start_logits, end_logits: float [N,T].
        float_f1: F1 of the same model in float, in percent.

    The result has f1 (the app's), official_exact and official_f1, in percent; total, the number of
    questions; target (93 % of float_f1) and passed (1 or 0).

    Raises InputError for logits that are not finite or have another shape.
    """
    check_logits(data.features, start_logits, end_logits)
    texts = app_answers(data, start_logits, end_logits)
    f1 = 100 * float(np.mean([_app_f1(q.answers, texts[q.id]) for q in data.questions]))
    official = score(data.questions, texts)
    return {
        "f1": f1,
        "official_exact": official["exact"],
        "official_f1": official["f1"],
        "total": official["total"],
        "target": TARGET * float_f1,
        "passed": int(f1 >= TARGET * float_f1),
    }


def app_answers(
    data: MlperfSquad, start_logits: np.ndarray, end_logits: np.ndarray
) -> dict[str, str]:
    """Returns the app's answer to each question by id; "" where it finds none."""
    features = data.features
    limits = np.searchsorted(features.question_index, np.arange(len(data.questions) + 1))  # [Q+1]
    result = {}
    for index, question in enumerate(data.questions):
        rows = slice(limits[index], limits[index + 1])
        start = _best_candidates(start_logits[rows], features.max_context[rows])
        end = _best_candidates(end_logits[rows], features.words[rows] >= 0)
        scores = span_scores(start, end, _LONGEST_ANSWER)  # [W,T,30]
        window, first, more = map(int, np.unravel_index(scores.argmax(), scores.shape))
        result[question.id] = ""
        if np.isfinite(scores[window, first, more]):
            result[question.id] = _text(
                data, index, rows.start + window, first=first, last=first + more
            )
    return result


def _best_candidates(logits: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Returns the logits [W,T] with -inf at all but the best tokens, and at tokens not allowed.

    As in the app, padding and tokens that are not allowed are among the best.
    """
    order = np.argsort(-logits, axis=1, kind="stable")[:, :_CANDIDATES]
    best = np.zeros(logits.shape, bool)
    np.put_along_axis(best, order, True, axis=1)
    return np.where(best & allowed, logits, -np.inf)


def _text(data: MlperfSquad, question: int, row: int, *, first: int, last: int) -> str:
    """Returns a window's tokens first to last as they are written in the paragraph."""
    word = data.features.words[row]
    span = slice(word[first], word[last] + 1)
    words = " ".join(data.words[question][span])
    lowered = " ".join(data.lowered[question][span])
    start = data.pieces.row_splits[row]
    pieces = " ".join(_texts(data.pieces.flat_values[start + first : start + last + 1]))
    return _cut(pieces.replace(" ##", "").replace("##", ""), lowered, words)


def _cut(answer: str, lowered: str, words: str) -> str:
    """Returns the part of the words at the answer's position in their lower-cased form.

    As in the app, positions are counted in characters without blanks, so they shift where
    lower-casing removed an accent that is a character of its own. Returns all words if the answer
    is not found.
    """
    start = lowered.find(answer)
    if start < 0:
        return words
    before = len(lowered[:start].replace(" ", ""))
    length = len(answer.replace(" ", ""))
    positions = [i for i, character in enumerate(words) if character != " "]
    if not length or before + length > len(positions):
        return words
    return words[positions[before] : positions[before + length - 1] + 1]


def _app_f1(answers: Sequence[str], text: str) -> float:
    """Returns the app's F1, 0 to 1, with the best matching of the true answers."""
    predicted = [_app_word(word) for word in text.split(" ")]
    return max(
        word_f1([_app_word(word) for word in gold.split(" ")], predicted) for gold in answers
    )


def _app_word(word: str) -> str:
    return "" if word in _ARTICLES else word.translate(_PLAIN)
