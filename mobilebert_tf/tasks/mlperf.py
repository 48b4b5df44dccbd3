"""MLPerf Mobile's question answering benchmark: its records and its score.

mlcommons/mobile_models holds the data, SQuAD 1.1's dev set cut into windows; the rules are those of
mlcommons/mobile_app_open (flutter/cpp/datasets/squad.cc and squad_utils/common.h).
"""

import os
import string
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from mobilebert_tf.errors import InputError
from mobilebert_tf.tasks.squad import Features, Question
from mobilebert_tf.tasks.squad_answers import check_logits, score, span_scores, word_f1

FLOAT_F1 = 89.4  # percent, of MLPerf's own float model on all 10,833 windows
TARGET = 0.93  # share of the float model's F1 that a submission must reach

_CANDIDATES = 20  # best starts, and best ends, of a window
_LONGEST_ANSWER = 30  # tokens
_MOST_BYTES = 1 << 30  # of a file unpacked; the published ones have 40 MB
_CHUNK = 1 << 16  # bytes
_NUMBERS = ("input_ids", "input_mask", "segment_ids", "token_to_orig_map", "token_is_max_context")
# The app lower-cases ASCII alone, and takes an article for one only without punctuation.
_PLAIN = str.maketrans(string.ascii_uppercase, string.ascii_lowercase, string.punctuation)
_ARTICLES = {"a", "an", "the", "A", "An", "The"}


@dataclass(frozen=True)
class MlperfSquad:
    """The benchmark's N windows, and the Q questions that they belong to.

    Args:
        questions: their text is put together from pieces, their context from the paragraph's
            words; where the answers start is not known.
        features: as make_features gives them, but a token's starts and ends are its word's.
        pieces: each window's tokens as text, string [N,(tokens)].
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
    """Reads the windows (squad_eval.tfrecord, or _mini, _tiny) and squad_groundtruth.tfrecord.

    Raises InputError for files that are missing, damaged, too large, or do not fit each other.
    """
    windows = _parse(samples, ("qas_id", "tokens"), _NUMBERS)
    given = _parse(truth, ("qas_id", "answers", "words", "tokens"), ())
    ids, known = _ids(samples, windows), _ids(truth, given)
    _check_lengths(samples, ids, windows)
    asked = list(dict.fromkeys(ids))
    lacking = set(asked) - set(known)
    if lacking:
        raise InputError(f"{truth} does not hold question {min(lacking)} of {samples}")
    place = {id: row for row, id in enumerate(known)}
    given = {name: tf.gather(rows, [place[id] for id in asked]) for name, rows in given.items()}
    words, lowered, answers = (_lists(given[name]) for name in ("words", "tokens", "answers"))
    number = {id: index for index, id in enumerate(asked)}
    index = np.array([number[id] for id in ids], np.int32)  # [N]
    order = np.argsort(index, kind="stable")  # a question's windows follow each other
    windows = {name: tf.gather(rows, order) for name, rows in windows.items()}
    features = _features(samples, windows, index[order], asked, words)
    first = np.searchsorted(features.question_index, np.arange(len(asked)))  # [Q]
    pieces = _lists(tf.gather(windows["tokens"], first))
    questions = [
        Question(
            id=id,
            question=_asked(pieces[index], features.words[first[index]]),
            context=" ".join(words[index]),
            answers=tuple(answers[index]),
            starts=(),
            is_impossible=False,
        )
        for index, id in enumerate(asked)
    ]
    return MlperfSquad(questions, features, windows["tokens"], words, lowered)


def _parse(
    path: str | os.PathLike, texts: Sequence[str], numbers: Sequence[str]
) -> dict[str, tf.RaggedTensor]:
    """The records' values by name: string or int64 [N,(values)]."""
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
        reason = error.message.splitlines()[0]
        raise InputError(f"{path} is damaged, or no MLPerf file: {reason}") from None


def _check_stream(path: str | os.PathLike) -> None:
    """Unpacks the file once without keeping it: TensorFlow would unpack whatever it holds."""
    unpacker, size = zlib.decompressobj(), 0
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                size += len(unpacker.decompress(chunk))
                if size > _MOST_BYTES:
                    raise InputError(f"{path} unpacks to more than {_MOST_BYTES >> 20} MB: refused")
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
    # Interned: the words of a paragraph come again with each of its questions.
    return [sys.intern(value.decode("utf-8", "replace")) for value in values.numpy()]


def _check_lengths(
    path: str | os.PathLike, ids: list[str], windows: dict[str, tf.RaggedTensor]
) -> None:
    """[CLS] question [SEP] are the tokens before the map's, [SEP] the last; padding follows."""
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
    index: np.ndarray,
    asked: list[str],
    words: list[list[str]],
) -> Features:
    ids, mask, segments = (
        windows[name].to_tensor().numpy().astype(np.int32) for name in _NUMBERS[:3]
    )  # [N,T] each
    word, starts, ends = (np.full(ids.shape, -1, np.int32) for _ in range(3))
    nearest = np.zeros(ids.shape, bool)
    spans = [_word_spans(each) for each in words]
    context = zip(index, windows["tokens"].row_lengths().numpy(), strict=True)
    maps, nearests = (windows[name] for name in _NUMBERS[3:])
    limits = maps.row_splits.numpy()  # [N+1]
    maps, nearests = maps.flat_values.numpy(), nearests.flat_values.numpy()
    for row, (question, tokens) in enumerate(context):
        values = slice(limits[row], limits[row + 1])
        if not 0 <= maps[values].min() <= maps[values].max() < len(words[question]):
            raise InputError(f"{path}: question {asked[question]} has a token of no word")
        text = slice(tokens - 1 - (limits[row + 1] - limits[row]), tokens - 1)
        word[row, text], nearest[row, text] = maps[values], nearests[values]
        starts[row, text], ends[row, text] = spans[question][:, maps[values]]
    return Features(ids, mask, segments, index, starts, ends, nearest, word, None, None, {})


def _word_spans(words: list[str]) -> np.ndarray:
    """Start and end of each word in all of them joined: int32 [2,words]."""
    ends = np.cumsum([len(word) + 1 for word in words], dtype=np.int32) - 1
    return np.stack([ends - [len(word) for word in words], ends])


def _asked(pieces: list[str], words: np.ndarray) -> str:
    """The question from the pieces between [CLS] and [SEP]."""
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
    """What the MLPerf app would show for these logits, and whether it is enough.

    The app counts words in its own way: an article is an empty word, which may match another. So
    its F1 differs from the official one, which is given as well. Where logits are equal, the app's
    choice depends on its sorting.

    Args:
        start_logits, end_logits: float [N,T].
        float_f1: percent, what the same model reaches in float.

    Returns f1 (the app's), official_exact and official_f1, in percent; total, of questions; target
    (93 % of float_f1) and passed (1 or 0). Raises InputError for logits of another shape, or that
    are no numbers.
    """
    check_logits(data.features, start_logits, end_logits)
    texts = app_answers(data, start_logits, end_logits)
    f1 = 100 * float(np.mean([_app_f1(each.answers, texts[each.id]) for each in data.questions]))
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
    """The app's answer to each question, by id; "" where it finds none."""
    features = data.features
    owned = np.searchsorted(features.question_index, np.arange(len(data.questions) + 1))  # [Q+1]
    result = {}
    for index, question in enumerate(data.questions):
        rows = slice(owned[index], owned[index + 1])
        start = _kept(start_logits[rows], features.max_context[rows])
        end = _kept(end_logits[rows], features.words[rows] >= 0)
        scores = span_scores(start, end, _LONGEST_ANSWER)  # [W,T,30]
        window, first, more = np.unravel_index(scores.argmax(), scores.shape)
        found = np.isfinite(scores[window, first, more])
        row = rows.start + window
        result[question.id] = _text(data, index, row, first, first + more) if found else ""
    return result


def _kept(logits: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """The allowed of the best candidates, of all tokens and padding; others -inf: [W,T]."""
    order = np.argsort(-logits, axis=1, kind="stable")[:, :_CANDIDATES]
    best = np.zeros(logits.shape, bool)
    np.put_along_axis(best, order, True, axis=1)
    return np.where(best & allowed, logits, -np.inf)


def _text(data: MlperfSquad, question: int, row: int, first: int, last: int) -> str:
    """A window's tokens first to last as they are written in the paragraph."""
    word = data.features.words[row]
    span = slice(word[first], word[last] + 1)
    words, lowered = (" ".join(each[question][span]) for each in (data.words, data.lowered))
    start = data.pieces.row_splits[row]
    pieces = " ".join(_texts(data.pieces.flat_values[start + first : start + last + 1]))
    return _cut(pieces.replace(" ##", "").replace("##", ""), lowered, words)


def _cut(answer: str, lowered: str, words: str) -> str:
    """The part of the words that stands where the answer does in their lower-cased form.

    Characters are counted without blanks, so accents that are letters of their own shift it: the
    app's rule. All of the words if the answer is not there.
    """
    start = lowered.find(answer)
    if start < 0:
        return words
    before = len(lowered[:start].replace(" ", ""))
    length = len(answer.replace(" ", ""))
    places = [i for i, character in enumerate(words) if character != " "]
    if not length or before + length > len(places):
        return words
    return words[places[before] : places[before + length - 1] + 1]


def _app_f1(answers: Sequence[str], text: str) -> float:
    """The app's F1, 0 to 1, against the best of the answers."""
    predicted = [_app_word(word) for word in text.split(" ")]
    return max(
        word_f1([_app_word(word) for word in gold.split(" ")], predicted) for gold in answers
    )


def _app_word(word: str) -> str:
    return "" if word in _ARTICLES else word.translate(_PLAIN)
