"""The tasks by name: where the examples come from, what the head is, what the score is."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from seqeval.metrics import f1_score as entity_f1

from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.model import MODEL_INPUTS, Task
from mobilebert_tf.tasks.examples import NO_LABEL, Examples, encode
from mobilebert_tf.tasks.glue import GLUE, read_split
from mobilebert_tf.tasks.metrics import scores
from mobilebert_tf.tasks.mlperf import MlperfSquad, app_answers, read_mlperf, score_mlperf
from mobilebert_tf.tasks.squad import (
    Features,
    Question,
    load_squad,
    make_features,
    proportions,
    read_squad,
)
from mobilebert_tf.tasks.squad_answers import Answer, answers, score
from mobilebert_tf.tasks.tfds import TFDS
from mobilebert_tf.tasks.user_files import Columns, has_split, read_own
from mobilebert_tf.text.tokenizer import WordPiece

OWN = {  # the user's own data: kind of head, metrics
    "classification": ("classifier", ("accuracy", "macro_f1")),
    "regression": ("regression", ("pearson", "spearman")),
    "tokens": ("token_classifier", ("entity_f1", "accuracy")),
}
SQUAD = {"squad": "v1.1", "squad-v2": "v2.0"}  # and what its files' names have in them
MLPERF = "mlperf-squad"
MLPERF_FILES = ("squad_eval.tfrecord", "squad_groundtruth.tfrecord")
TASKS = (*GLUE, *OWN, *SQUAD, MLPERF)
# Tokens, unless the user or the model says otherwise; the second one's of questions' windows.
SEQUENCE_LENGTH, SPAN_LENGTH = 128, 384


@dataclass(frozen=True)
class TextTask:
    """Classification, regression or token classification of texts.

    Args:
        name: one of TASKS.
        kind: of the head (mobilebert_tf.modeling.model.Task).
        labels: in the order of the class numbers.
        metrics: the official ones.
        splits: examples by split: train, dev or the several that a task has, test.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    splits: Mapping[str, Examples] = field(default_factory=dict)

    @property
    def dev_splits(self) -> list[str]:
        return [name for name in self.splits if name.startswith("dev")]

    def head(self, sequence_length: int) -> Task:
        labels = self.labels if self.kind != "regression" else ()
        return Task(self.kind, labels, sequence_length, self.metrics[0])

    def encode(self, split: str, tokenizer: WordPiece, longest: int) -> dict[str, np.ndarray]:
        """Arrays of the split's examples, as data.examples.encode."""
        return encode(self.splits[split], tokenizer, longest)

    def predictions(self, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Class numbers [N] or [N,T], or scores [N], from a model's outputs by name."""
        if self.kind == "regression":
            return outputs["score"][:, 0]
        name = "token_probability" if self.kind == "token_classifier" else "probability"
        return outputs[name].argmax(axis=-1)

    def score(self, split: str, arrays: Mapping, outputs: Mapping) -> dict[str, float]:
        """The metrics on encoded examples; none if they have no targets."""
        if "targets" not in arrays:
            return {}
        targets, predictions = arrays["targets"], self.predictions(outputs)
        names = [name for name in self.metrics if name != "entity_f1"]
        found = scores(names, targets, predictions)
        if "entity_f1" in self.metrics:
            rows = [row != NO_LABEL for row in targets]
            named = [
                [[self.labels[i] for i in line[row]] for line, row in zip(lines, rows, strict=True)]
                for lines in (targets, predictions)
            ]
            found = {"entity_f1": float(entity_f1(*named, zero_division=0))} | found
        return found

    def rows(self, split: str, outputs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        """id and prediction of each text, for a table or a submission."""
        predictions = self.predictions(outputs)
        if self.kind == "regression":
            named = [float(value) for value in predictions]
        else:
            named = [self.labels[int(number)] for number in predictions]
        ids = self.splits[split].ids
        return [{"id": i, "prediction": p} for i, p in zip(ids, named, strict=True)]


@dataclass(frozen=True)
class SpanTask:
    """Extractive question answering, with windows over documents of any length (SQuAD).

    Args:
        name: a key of SQUAD.
        splits: questions by split: train, dev.
    """

    name: str
    splits: Mapping[str, Sequence[Question]]
    kind: str = "span"
    labels: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("f1", "exact")
    _features: dict[str, Features] = field(default_factory=dict)

    @property
    def dev_splits(self) -> list[str]:
        return [name for name in self.splits if name == "dev"]

    def head(self, sequence_length: int) -> Task:
        return Task("span", (), sequence_length, self.metrics[0])

    def encode(self, split: str, tokenizer: WordPiece, longest: int) -> dict[str, np.ndarray]:
        """Arrays of all windows; for training targets [N,2], positions of first and last token."""
        training = split == "train"
        sizes = (longest, *proportions(longest))
        features = make_features(self.splits[split], tokenizer, *sizes, training)
        for reason, count in features.skipped.items():
            if count:
                print(f"{self.name} {split}: {count} questions: {reason}")
        self._features[split] = features
        arrays = {name: getattr(features, name) for name in MODEL_INPUTS}
        if not len(arrays["input_ids"]):
            raise InputError(f"{self.name} {split}: no question has a context with text")
        if training:
            ends = (features.start_positions, features.end_positions)
            arrays["targets"] = np.stack(ends, axis=1)
        return arrays

    def answers(self, split: str, outputs: Mapping[str, np.ndarray]) -> dict[str, Answer]:
        """An answer for each question's id, from the outputs for the arrays encoded last."""
        logits = (outputs["start_logits"], outputs["end_logits"])
        version_2 = self.name == "squad-v2"
        return answers(self.splits[split], self._features[split], *logits, version_2=version_2)

    def score(self, split: str, arrays: Mapping, outputs: Mapping) -> dict[str, float]:
        """Official exact match and F1 in percent; for SQuAD 2.0 also their best thresholds'.

        Those decide between "no answer" and the best span: of it, whatever was answered.
        """
        found = self.answers(split, outputs)
        texts = {id: answer.text for id, answer in found.items()}
        if self.name != "squad-v2":
            values = score(self.splits[split], texts)
            return {name: values[name] for name in self.metrics}
        nulls = {id: answer.null_score_difference for id, answer in found.items()}
        spans = {id: next((s.text for s in a.best if s.text), "") for id, a in found.items()}
        values = score(self.splits[split], texts, nulls)
        answered = score(self.splits[split], spans, nulls)
        values |= {name: answered[name] for name in answered if name.startswith("best_")}
        return {n: v for n, v in values.items() if not n.endswith("total")}

    def rows(self, split: str, outputs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        found = self.answers(split, outputs)
        return [{"id": id, "prediction": answer.text} for id, answer in found.items()]


@dataclass(frozen=True)
class MlperfTask:
    """The MLPerf Mobile benchmark's question answering: its own windows, order and scoring."""

    data: MlperfSquad
    name: str = MLPERF
    kind: str = "span"
    labels: tuple[str, ...] = ()

    @property
    def splits(self) -> dict[str, Sequence[Question]]:
        return {"dev": self.data.questions}

    def encode(self, split: str, tokenizer: WordPiece, longest: int) -> dict[str, np.ndarray]:
        """The benchmark's own arrays, whose length is 384. InputError for a shorter model."""
        arrays = {name: getattr(self.data.features, name) for name in MODEL_INPUTS}
        width = arrays["input_ids"].shape[1]
        if longest < width:
            raise InputError(f"the benchmark has {width} tokens, the model takes {longest}")
        return arrays

    def score(self, split: str, arrays: Mapping, outputs: Mapping) -> dict[str, float]:
        return score_mlperf(self.data, outputs["start_logits"], outputs["end_logits"])

    def rows(self, split: str, outputs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        texts = app_answers(self.data, outputs["start_logits"], outputs["end_logits"])
        return [{"id": id, "prediction": text} for id, text in texts.items()]


AnyTask = TextTask | SpanTask | MlperfTask


def open_task(
    name: str,
    data_dir: str | Path,
    splits: Sequence[str],
    columns: Columns | None = None,
    labels: Sequence[str] | None = None,
) -> AnyTask:
    """A task with the examples of some splits.

    Args:
        name: one of TASKS.
        data_dir: where its files are; "tfds" for GLUE and SQuAD from TensorFlow Datasets.
        splits: of train, dev and test; dev stands for all dev splits of the task, and so does
            test.
        columns: of the user's own files.
        labels: a model's, that the user's own files must have; null: those of the train split.

    Raises InputError for an unknown task, and for files that are missing or wrong.
    """
    if name in GLUE:
        task = GLUE[name]
        wanted = [dev.replace("dev", s) if s != "train" else s for s in splits for dev in task.dev]
        found = {split: read_split(name, data_dir, split) for split in dict.fromkeys(wanted)}
        kind = "classifier" if task.labels else "regression"
        return _told(TextTask(name, kind, task.labels, task.metrics, found))
    if name in SQUAD:
        return SpanTask(name, {s: _questions(name, data_dir, s) for s in splits})
    if name == MLPERF:
        return MlperfTask(read_mlperf(*(Path(data_dir) / file for file in MLPERF_FILES)))
    if name not in OWN:
        raise InputError(f"no task named '{name}'; tasks: {', '.join(TASKS)}")
    kind, metrics = OWN[name]
    found = {}
    for split in splits:
        if split == "train" or has_split(data_dir, split):
            found[split], labels = read_own(data_dir, split, kind, columns or Columns(), labels)
    return _told(TextTask(name, kind, tuple(labels or ()), metrics, found))


def _told(task: TextTask) -> TextTask:
    """The task; classes that are trained, but that a dev split has no example of, are said."""
    if task.kind == "regression" or "train" not in task.splits:
        return task
    tokens = task.kind == "token_classifier"
    classes = {
        split: set(itertools.chain.from_iterable(rows.targets)) if tokens else set(rows.targets)
        for split, rows in task.splits.items()
        if rows.targets is not None
    }
    for split in task.dev_splits:
        missing = [task.labels[i] for i in sorted(classes["train"] - classes[split])]
        if missing:
            print(f"{task.name} {split}: no example of {', '.join(missing)}, which train has")
    return task


def _questions(name: str, data_dir: str | Path, split: str) -> list[Question]:
    if str(data_dir) == TFDS:
        return load_squad(SQUAD[name], split)
    return read_squad(_squad_file(data_dir, split, SQUAD[name]))


def _squad_file(data_dir: str | Path, split: str, version: str) -> Path:
    """SPLIT.json, or the one file of the split with the version in its name (train-v1.1.json)."""
    named = Path(data_dir) / f"{split}.json"
    found = sorted(Path(data_dir).glob(f"{split}*{version}*.json"))
    if named.is_file() or not found:
        return named
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise InputError(f"{data_dir} has more than one file for {split}: {names}")
    return found[0]
