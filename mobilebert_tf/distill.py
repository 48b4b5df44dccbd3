"""python -m mobilebert_tf.distill: trains a MobileBERT student on raw text with a teacher.

The files that do the work, in its order, with sections of the paper:

text     data/corpus.py              reads the documents of the corpus
         text/vocabulary.py          learns a vocabulary, unless one is given
         data/pretraining.py         masks tokens and pairs sentences (Devlin et al., 2019)
teacher  training/pretraining.py     pre-trains an IB-BERT, unless a teacher is given (3.1)
student  modeling/layers.py          its blocks (3.1 to 3.3, figure 1)
         training/strategies.py      stages of auxiliary, joint and progressive transfer (3.5)
         training/layer_transfer.py  losses of feature maps and attention maps (3.4)
         training/distiller.py       train_step: these losses and pre-training distillation (3.4)
         training/loop.py            steps, checkpoints, history
results  training/held_out.py        masked LM accuracy and distances on held-out text
         reports/run_report.py       report.html
"""

import functools
import json
from collections.abc import Sequence
from pathlib import Path

import keras
from tabulate import tabulate

from mobilebert_tf.cli import door
from mobilebert_tf.data.prepared_text import PreparedText, prepare_text
from mobilebert_tf.errors import InputError
from mobilebert_tf.files import write_whole
from mobilebert_tf.modeling.config import load_model_config
from mobilebert_tf.modeling.model import MobileBert, build_model, checksum
from mobilebert_tf.modeling.model_directory import load_model, load_tokenizer, save_model
from mobilebert_tf.reports.attention_examples import save_examples
from mobilebert_tf.reports.run_report import write_report
from mobilebert_tf.training.distiller import Distiller
from mobilebert_tf.training.from_teacher import copy_from_teacher
from mobilebert_tf.training.held_out import batches, map_distances, masked_lm_accuracy
from mobilebert_tf.training.layer_transfer import check_fit, layer_map
from mobilebert_tf.training.loop import LoopStage, prepare_process, train
from mobilebert_tf.training.pretraining import fitted_config, pretrain_alone
from mobilebert_tf.training.run_config import DistillConfig
from mobilebert_tf.training.run_folder import RunFolder, open_run
from mobilebert_tf.training.strategies import Stage, plan


def distill(config: DistillConfig) -> None:
    """Trains a MobileBERT student on raw text by knowledge transfer from a teacher.

    Without --teacher it pre-trains one first. Writes the model directory OUTPUT_DIR/student (and
    /teacher), with history and report.html beside it. The same command continues a run that was
    killed. Next: python export/to_tflite.py --model OUTPUT_DIR/student
    """
    prepare_process(config.seed, config.precision)
    depth = load_model_config(config.student).num_hidden_layers
    stages = plan(config.strategy, depth, config.transfer, config.distillation)
    with open_run(config) as folder:
        tokenizer = load_tokenizer(config.teacher) if config.teacher else None
        text = prepare_text(config, folder / "data", tokenizer)
        teacher = load_model(_teacher_directory(config, text, folder))
        if not teacher.head.predicts_masks:
            raise InputError(
                f"{config.teacher} has no masked LM head ({teacher.head.kind}) for a student to "
                "learn from: name a model that was pre-trained with one"
            )
        folder.check_unchanged({"the teacher": checksum(teacher)})
        check_fit(teacher.config, fitted_config(config.student, text), config.transfer)
        if not (folder / "student").exists():
            _train_student(config, stages, text=text, teacher=teacher, folder=folder)
        _evaluate(config, text, teacher, folder)
        write_report(folder.path)
    print(f"\nreport: {folder / 'report.html'}\nstudent: {folder / 'student'}")


def _teacher_directory(config: DistillConfig, text: PreparedText, folder: RunFolder) -> Path:
    """Returns the directory of the given teacher, or of one that is pre-trained here.

    Raises InputError before the pre-training if teacher and student would not fit.
    """
    if config.teacher is not None:
        return Path(config.teacher)
    student, teacher = load_model_config(config.student), load_model_config(config.teacher_model)
    size = len(text.tokenizer)
    check_fit(teacher.replace(vocab_size=size), student.replace(vocab_size=size), config.transfer)
    if not (folder / "teacher").exists():
        print(f"no --teacher given: pre-training {config.teacher_model} first")
    return pretrain_alone(
        config.teacher_model,
        config.teacher_training,
        text,
        name="teacher",
        folder=folder,
        config=config,
    )


def _train_student(
    config: DistillConfig,
    stages: list[Stage],
    *,
    text: PreparedText,
    teacher: MobileBert,
    folder: RunFolder,
) -> None:
    keras.utils.set_random_seed(config.seed)
    student = build_model(fitted_config(config.student, text), "pretraining")
    copied = copy_from_teacher(teacher, student)
    outside = {w.path for w in student.weights if not w.path.startswith("block_")}
    if outside - copied:
        paths = ", ".join(sorted(outside - copied))
        print(f"not in the teacher, so initialised at random: {paths}", flush=True)
    layers = layer_map(student.config, config.transfer)
    batch = text.held_out_examples().batch(0)

    def record_distances(when: str) -> None:
        path = folder / f"distances_{when}.json"
        if not path.exists():  # a continued run has them already
            write_whole(path, json.dumps(map_distances(teacher, student, layers, batch)))

    def make_distiller(stage: Stage) -> Distiller:
        if not stage.layers:
            record_distances("after")
        return Distiller(student, stage, config.transfer, teacher)

    record_distances("before")
    examples = text.training_examples(config.seed)
    loop_stages = [
        LoopStage(stage.name, stage.phase.steps, functools.partial(make_distiller, stage))
        for stage in stages
    ]
    train(student, loop_stages, examples, name="student", folder=folder, pace=config.pace)
    record_distances("after")
    record_distances("end")
    save_model(student, folder / "student", text.tokenizer)


def _evaluate(
    config: DistillConfig, text: PreparedText, teacher: MobileBert, folder: RunFolder
) -> None:
    """Scores both models on held-out text; writes evaluation.json and maps.npz for the report."""
    student = load_model(folder / "student")
    examples = text.held_out_examples()
    layers = layer_map(student.config, config.transfer)
    models = {
        name: {
            "mlm_accuracy": masked_lm_accuracy(model, examples),
            "parameters": model.count_params(),
        }
        for name, model in (("teacher", teacher), ("student", student))
    }
    evaluation = {
        "models": models,
        "examples": sum(len(batch["input_ids"]) for batch in batches(examples)),
        "strategy": config.strategy,
        # before and after layer-wise transfer, and at the end of the run
        "distances": {
            when: json.loads((folder / f"distances_{when}.json").read_text())
            for when in ("before", "after", "end")
        },
    }
    write_whole(folder / "evaluation.json", json.dumps(evaluation, indent=2) + "\n")
    save_examples(
        folder / "maps.npz",
        teacher,
        student,
        layer_map=layers,
        tokenizer=text.tokenizer,
        batch=examples.batch(0),
    )
    rows = [
        (name, f"{values['parameters']:,}", f"{100 * values['mlm_accuracy']:.1f} %")
        for name, values in models.items()
    ]
    print("\n" + tabulate(rows, ["model", "parameters", "held-out masked LM accuracy"]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; see cli.door."""
    door(distill, DistillConfig, arguments=arguments)


if __name__ == "__main__":
    main()
