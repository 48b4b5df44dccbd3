"""python -m mobilebert_tf.finetune --task T --model DIR --data-dir DIR: fine-tunes on a task.

Every combination of settings and seeds is a trial. It is evaluated on the dev splits after each
epoch, and the model of the best epoch of all trials becomes OUTPUT_DIR/model.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tabulate

from mobilebert_tf.checkpoints.formats import LoadedModel, load
from mobilebert_tf.cli import door
from mobilebert_tf.errors import InputError, named
from mobilebert_tf.files import write_json
from mobilebert_tf.modeling.heads import Head
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.tasks.examples import Examples
from mobilebert_tf.tasks.registry import MLPERF, SEQUENCE_LENGTH, SPAN_LENGTH, SQUAD, open_task
from mobilebert_tf.tasks.task import Task
from mobilebert_tf.tasks.text_task import TextTask
from mobilebert_tf.tasks.user_files import read_unlabelled
from mobilebert_tf.training.distribution import on_devices
from mobilebert_tf.training.finetune_config import GRID, FinetuneConfig
from mobilebert_tf.training.finetune_trials import Trials
from mobilebert_tf.training.layer_transfer import check_fit
from mobilebert_tf.training.quantization_aware import check_folds
from mobilebert_tf.training.run_folder import open_run


def finetune(config: FinetuneConfig) -> None:
    """Fine-tunes a model on a GLUE task or your own labelled texts.

    Writes the model directory OUTPUT_DIR/model, and OUTPUT_DIR/scores.json with the dev scores of
    every trial. The same command continues a run that was killed.
    """
    with on_devices(config.devices):
        _finetune(config)


def _finetune(config: FinetuneConfig) -> None:
    keras.config.set_dtype_policy(config.precision)
    with named("model"):
        start = load(config.model)
    if start.tokenizer is None:
        raise InputError(f"{config.model} has no vocabulary (vocab.txt): it cannot read text")
    if config.task == MLPERF:
        raise InputError(f"{MLPERF} has no training data: give `task` squad")
    task = open_task(config.task, config.data_dir, ("train", "dev"), config.columns)
    if not task.dev_splits:
        raise InputError(f"{config.data_dir} has no dev split: it is needed to choose a model")
    head = task.head(_sequence_length(config, start.model))
    if config.quantization_aware:
        check_folds(start.model.config)
    teacher = _load_teacher(config, head, start) if config.teacher else None
    augment = _read_unlabelled(config, task) if config.augment else None
    with open_run(config) as folder:
        trials = Trials(
            config, task, head, start=start, teacher=teacher, augment=augment, folder=folder
        )
        results = [trials.run(trial) for trial in config.trials()]
        finished = [result for result in results if "failed" not in result]
        if not finished:
            raise InputError(f"each trial of the search failed: {results[0]['failed']}")
        best = max(finished, key=lambda result: result["ranking"])
        trials.publish(best["trial"])
        write_json(folder / "scores.json", results)
    print(_table(finished))
    if failed := len(results) - len(finished):
        print(f"{failed} of {len(results)} trials failed: {folder / 'scores.json'} says why")
    print(f"{folder / 'model'}: {best['trial']}, epoch {best['epoch']}")


def _sequence_length(config: FinetuneConfig, model: MobileBert) -> int:
    longest = model.config.max_position_embeddings
    usual = SPAN_LENGTH if config.task in SQUAD else SEQUENCE_LENGTH
    length = config.sequence_length or min(usual, longest)
    if length > longest:
        raise InputError(f"`sequence_length` is {length}: the model takes {longest} tokens")
    return length


def _load_teacher(config: FinetuneConfig, head: Head, start: LoadedModel) -> MobileBert:
    """Returns the teacher. Raises InputError if it does not fit the task or the model."""
    with named("teacher"):
        loaded = load(config.teacher)
    teacher_head = loaded.model.head
    if (teacher_head.kind, tuple(teacher_head.labels)) != (head.kind, tuple(head.labels)):
        raise InputError(
            f"{config.teacher} is no model of this task: {teacher_head.kind} "
            f"{list(teacher_head.labels)}"
        )
    if loaded.tokenizer is None or not loaded.tokenizer.reads_as(start.tokenizer):
        raise InputError(f"{config.teacher} has another vocabulary or casing than {config.model}")
    longest = loaded.model.config.max_position_embeddings
    if longest < head.sequence_length:
        raise InputError(f"{config.teacher} takes {longest} tokens: `sequence_length` {longest}")
    if config.transfer_weight:
        check_fit(loaded.model.config, start.model.config, config.transfer)
    return loaded.model


def _read_unlabelled(config: FinetuneConfig, task: Task) -> Examples:
    """Returns the texts that only the teacher labels.

    Raises InputError if they are pairs and those of the task are not, or the other way round.
    """
    assert isinstance(task, TextTask)  # FinetuneConfig refuses questions
    examples = read_unlabelled(config.augment, config.columns)
    if (examples.pairs is None) != (task.splits["train"].pairs is None):
        wanted = "single texts" if examples.pairs else "pairs of texts: name `columns.pair`"
        raise InputError(f"{config.augment} does not fit: {task.name} has {wanted}")
    return examples


def _table(results: Sequence[dict]) -> str:
    """Returns a table with the mean and standard deviation over seeds of the best dev scores."""
    settings = {}
    for result in results:
        key = tuple(result[name] for name in GRID)
        settings.setdefault(key, []).append(result)
    rows = []
    for key, group in settings.items():
        row = dict(zip(GRID, key, strict=True)) | {"seeds": len(group)}
        for name in group[0]["scores"]:
            values = [result["scores"][name] for result in group]
            spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
            row[name] = f"{np.mean(values):.4f}{spread}"
        rows.append((np.mean([result["ranking"] for result in group]), row))
    rows.sort(key=lambda row: -row[0])
    return tabulate.tabulate([row for _, row in rows], headers="keys")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; see cli.door."""
    door(finetune, FinetuneConfig, arguments=arguments)


if __name__ == "__main__":
    main()
