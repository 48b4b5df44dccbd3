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

from mobilebert_tf.checkpoints.formats import LoadedModel, load
from mobilebert_tf.cli import door
from mobilebert_tf.data.prepared_text import PreparedText, prepare_text
from mobilebert_tf.errors import InputError, named
from mobilebert_tf.files import write_json, write_whole
from mobilebert_tf.modeling.config import ModelConfig, load_model_config
from mobilebert_tf.modeling.model import MobileBert, checksum
from mobilebert_tf.modeling.model_directory import load_model, save_model
from mobilebert_tf.reports.attention_examples import save_examples
from mobilebert_tf.reports.run_report import write_report
from mobilebert_tf.text.tokenizer import WordPiece
from mobilebert_tf.training.distiller import Distiller
from mobilebert_tf.training.from_teacher import copy_from_teacher
from mobilebert_tf.training.held_out import batches, map_distances, masked_lm_accuracy
from mobilebert_tf.training.initial_model import initial_config, initial_model, read_init
from mobilebert_tf.training.layer_transfer import check_fit, layer_map
from mobilebert_tf.training.loop import LoopStage, prepare_process, train
from mobilebert_tf.training.pretraining import pretrain_alone
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
    given = _read_teacher(config)
    init = read_init(config.init, config.student, DistillConfig.student, config)
    tokenizer = _given_tokenizer(config, given, init)
    start = init.model.config if init else load_model_config(config.student)
    stages = plan(config.strategy, start.num_hidden_layers, config.transfer, config.distillation)
    with open_run(config) as folder:
        text = prepare_text(config, folder / "data", tokenizer)
        student_config = start if init else initial_config(config.student, text)
        if given is None:
            teacher = load_model(_pretrain_teacher(config, student_config, text, folder))
        else:
            teacher = given.model
        inputs = {"the teacher": teacher} | ({"`init`": init.model} if init else {})
        folder.check_unchanged({name: checksum(model) for name, model in inputs.items()})
        check_fit(teacher.config, student_config, config.transfer)
        if not (folder / "student").exists():
            keras.utils.set_random_seed(config.seed)
            student = initial_model(student_config, init)
            if init is None:
                _copy_from_teacher(teacher, student)
            _train_student(config, stages, student, text=text, teacher=teacher, folder=folder)
        _evaluate(config, text, teacher, folder)
        write_report(folder.path)
    print(f"\nreport: {folder / 'report.html'}\nstudent: {folder / 'student'}")


def _read_teacher(config: DistillConfig) -> LoadedModel | None:
    """Returns the given teacher; None if one is to be pre-trained.

    Raises InputError if it cannot teach.
    """
    if config.teacher is None:
        return None
    with named("teacher"):
        teacher = load(config.teacher)
    head = teacher.model.head
    if not head.predicts_masks:
        raise InputError(
            f"{config.teacher} has no masked LM head ({head.kind}) for a student to learn from: "
            "name a model that was pre-trained with one"
        )
    if teacher.tokenizer is None:
        raise InputError(f"{config.teacher} has no vocabulary (vocab.txt): it cannot read text")
    return teacher


def _given_tokenizer(
    config: DistillConfig, teacher: LoadedModel | None, init: LoadedModel | None
) -> WordPiece | None:
    """Returns the tokenizer of the teacher or of `init`; None if neither is given.

    Raises InputError if they differ.
    """
    tokenizers = [model.tokenizer for model in (teacher, init) if model is not None]
    if len(tokenizers) == 2 and not tokenizers[0].reads_as(tokenizers[1]):
        raise InputError(f"{config.init} has another vocabulary or casing than {config.teacher}")
    return tokenizers[0] if tokenizers else None


def _pretrain_teacher(
    config: DistillConfig, student: ModelConfig, text: PreparedText, folder: RunFolder
) -> Path:
    """Returns the directory of a teacher that is pre-trained here, unless it is there already.

    Raises InputError before the pre-training if teacher and student would not fit.
    """
    teacher = initial_config(config.teacher_model, text).replace(vocab_size=student.vocab_size)
    check_fit(teacher, student, config.transfer)
    directory = folder / "teacher"
    if not directory.exists():
        print(f"no --teacher given: pre-training {config.teacher_model} first")
        keras.utils.set_random_seed(config.seed)
        model = initial_model(teacher, None)
        pretrain_alone(
            model, config.teacher_training, text, name="teacher", folder=folder, config=config
        )
    return directory


def _copy_from_teacher(teacher: MobileBert, student: MobileBert) -> None:
    copied = copy_from_teacher(teacher, student)
    outside = {w.path for w in student.weights if not w.path.startswith("block_")}
    if outside - copied:
        paths = ", ".join(sorted(outside - copied))
        print(f"not in the teacher, so initialised at random: {paths}", flush=True)


def _train_student(
    config: DistillConfig,
    stages: list[Stage],
    student: MobileBert,
    *,
    text: PreparedText,
    teacher: MobileBert,
    folder: RunFolder,
) -> None:
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
    write_json(folder / "evaluation.json", evaluation)
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
