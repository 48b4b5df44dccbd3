"""python -m mobilebert_tf.distill: trains a MobileBERT student on raw text with a teacher.

The files that do the work, in its order, with sections of the paper:

text     data/corpus.py              reads the documents of the corpus
         text/vocabulary.py          learns a vocabulary, unless one is given
         data/pretraining.py         masks tokens and pairs sentences (Devlin et al., 2019)
         data/sentences.py           single sentences, if the teacher is a sentence encoder
teacher  training/pretraining.py     pre-trains an IB-BERT, unless a teacher is given (3.1)
student  modeling/layers.py          its blocks (3.1 to 3.3, figure 1)
         training/strategies.py      stages of auxiliary, joint and progressive transfer (3.5)
         training/layer_transfer.py  losses of feature maps and attention maps (3.4)
         training/distiller.py       train_step: these losses and pre-training distillation (3.4)
         training/loop.py            steps, checkpoints, history
results  training/held_out.py        scores on held-out text
         reports/run_report.py       report.html
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import keras
from tabulate import tabulate

from mobilebert_tf.checkpoints.formats import LoadedModel, load
from mobilebert_tf.cli import door
from mobilebert_tf.data.prepared_text import PreparedText, prepare_text
from mobilebert_tf.errors import InputError, named
from mobilebert_tf.files import write_json
from mobilebert_tf.modeling.config import ModelConfig, load_model_config
from mobilebert_tf.modeling.heads import Head
from mobilebert_tf.modeling.model import MobileBert, checksum
from mobilebert_tf.modeling.model_directory import load_model, save_model
from mobilebert_tf.reports.attention_examples import save_examples
from mobilebert_tf.reports.html_pages import percent
from mobilebert_tf.reports.run_report import write_report
from mobilebert_tf.text.tokenizer import WordPiece
from mobilebert_tf.training.distiller import Distiller
from mobilebert_tf.training.distribution import on_devices
from mobilebert_tf.training.finished import chosen_steps, is_trained
from mobilebert_tf.training.from_teacher import copy_from_teacher
from mobilebert_tf.training.held_out import (
    embedding_scores,
    evaluation_batches,
    masked_lm_scores,
    scored_examples,
)
from mobilebert_tf.training.initial_model import initial_config, initial_model, read_init
from mobilebert_tf.training.layer_measures import LayerRecorder, read_measures
from mobilebert_tf.training.layer_transfer import check_fit, layer_map
from mobilebert_tf.training.loop import LoopStage, prepare_process, train
from mobilebert_tf.training.pretraining import pretrain_alone
from mobilebert_tf.training.projection import make_projection
from mobilebert_tf.training.run_config import DistillConfig
from mobilebert_tf.training.run_folder import RunFolder, open_run
from mobilebert_tf.training.strategies import PRETRAINING, Stage, plan


def distill(config: DistillConfig) -> None:
    """Trains a MobileBERT student on raw text by knowledge transfer from a teacher.

    Without --teacher it pre-trains one first; a sentence encoder as teacher teaches another. Writes
    the model directory OUTPUT_DIR/student (and /teacher), with history and report.html beside it.
    The same command continues a run that was killed. Next: python export/to_tflite.py --model
    OUTPUT_DIR/student
    """
    with on_devices(config.devices):
        _distill(config)


def _distill(config: DistillConfig) -> None:
    prepare_process(config.seed, config.precision)
    given = _read_teacher(config)
    init = read_init(config.init, config.student, DistillConfig.student, config)
    tokenizer = _given_tokenizer(config, given, init)
    start = init.model.config if init else load_model_config(config.student)
    head = _student_head(given)
    stages = plan(
        config.strategy, start.num_hidden_layers, config.transfer, config.distillation, head
    )
    _check_teaches(config, given, stages)
    with open_run(config) as folder:
        text = prepare_text(config, folder / "data", tokenizer)
        student_config = start if init else initial_config(config.student, text)
        if init is None:
            folder.check_unchanged({"`student`": student_config.to_json()})
        if given is None:
            teacher = load_model(_pretrain_teacher(config, student_config, text, folder))
        else:
            teacher = given.model
        inputs = {"the teacher": teacher} | ({"`init`": init.model} if init else {})
        folder.check_unchanged({name: checksum(model) for name, model in inputs.items()})
        check_fit(teacher.config, student_config, config.transfer, projected=True)
        if not is_trained(folder, "student", [s.phase.steps for s in stages], config):
            keras.utils.set_random_seed(config.seed)
            student = initial_model(student_config, init, text, head)
            if init is None:
                _copy_from_teacher(teacher, student, text)
            _train_student(config, stages, student, text=text, teacher=teacher, folder=folder)
        _evaluate(config, stages, text=text, teacher=teacher, folder=folder)
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
    if teacher.tokenizer is None:
        raise InputError(f"{config.teacher} has no vocabulary (vocab.txt): it cannot read text")
    return teacher


def _student_head(teacher: LoadedModel | None) -> Head:
    """Returns the student's head: that of a sentence encoder, for other teachers pre-training's.

    Says in one line what a teacher without a masked LM leaves to the text.
    """
    if teacher is None or teacher.model.head.predicts_masks:
        return PRETRAINING
    if teacher.model.head.embeds_sentences:
        return teacher.model.head
    print(
        f"the teacher has no masked LM head ({teacher.model.head.kind}): it teaches layers, and "
        "the student's masked LM learns from the text alone",
        flush=True,
    )
    return PRETRAINING


def _check_teaches(config: DistillConfig, teacher: LoadedModel | None, stages: list[Stage]) -> None:
    """Raises InputError if a teacher would teach nothing in these stages, or if a sentence encoder
    would see its batch in parts: it learns how similar any two texts of the whole batch are."""
    if config.accumulation_steps > 1 and stages[-1].embedding:
        raise InputError(
            "a sentence encoder learns from all texts of a batch together: leave out "
            "`accumulation_steps`"
        )
    if teacher is None or any(stage.layers or stage.embedding for stage in stages):
        return
    if not teacher.model.head.predicts_masks:
        raise InputError(
            f"the teacher has no masked LM head ({teacher.model.head.kind}): it can teach layers "
            "only, which `strategy` none leaves out"
        )


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

    Raises InputError before the pre-training if teacher and student would not fit, or the run was
    begun with a teacher of other sizes.
    """
    teacher = initial_config(config.teacher_model, text).replace(vocab_size=student.vocab_size)
    folder.check_unchanged({"`teacher_model`": teacher.to_json()})
    check_fit(teacher, student, config.transfer, projected=True)
    directory = folder / "teacher"
    if not directory.exists():
        print(f"no --teacher given: pre-training {config.teacher_model} first")
        keras.utils.set_random_seed(config.seed)
        model = initial_model(teacher, None, text)
        pretrain_alone(
            model, config.teacher_training, text, name="teacher", folder=folder, config=config
        )
    return directory


def _copy_from_teacher(teacher: MobileBert, student: MobileBert, text: PreparedText) -> None:
    copied = copy_from_teacher(teacher, student, text.train.token_counts(len(text.tokenizer)))
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
    embeds = student.head.embeds_sentences
    held_out = evaluation_batches(text.held_out_sentences() if embeds else text.held_out_examples())
    projection = make_projection(teacher, student, text.train.token_counts(len(text.tokenizer)))
    recorder = LayerRecorder(
        folder / "measures",
        "student",
        student,
        held_out[0],
        teacher=teacher,
        layer_map=layer_map(student.config, config.transfer),
        projection=projection,
    )
    recorder.record(0)
    make_distiller = functools.partial(
        Distiller,
        student,
        transfer=config.transfer,
        teacher=teacher,
        accumulation_steps=config.accumulation_steps,
        rematerialize=config.rematerialize,
        projection=projection,
    )
    train(
        student,
        [LoopStage(s.name, s.phase.steps, functools.partial(make_distiller, s)) for s in stages],
        (text.training_sentences if embeds else text.training_examples)(config.seed),
        name="student",
        folder=folder,
        settings=config,
        held_out=held_out,
        after_saving=recorder.record,
    )
    save_model(student, folder / "student", text.tokenizer)


def _evaluate(
    config: DistillConfig,
    stages: list[Stage],
    *,
    text: PreparedText,
    teacher: MobileBert,
    folder: RunFolder,
) -> None:
    """Scores both models on held-out text; writes evaluation.json for the report, and maps.npz if
    both have a masked LM."""
    student = load_model(folder / "student")
    models, count = _scores(teacher, student, text)
    measures = read_measures(folder / "measures", "student")
    steps = chosen_steps(folder, "student", config)
    transferred = [step for stage, step in steps.items() if stages[stage].layers]
    evaluation = {
        "models": models,
        "examples": count,
        "strategy": config.strategy,
        # before and after layer-wise transfer, and at the end of the run
        "distances": {
            "before": measures[0],
            "after": _newest(measures, max(transferred, default=0)),
            "end": _newest(measures, max(steps.values(), default=0)),
        },
    }
    write_json(folder / "evaluation.json", evaluation)
    if teacher.head.predicts_masks:
        save_examples(
            folder / "maps.npz",
            teacher,
            student,
            layer_map=layer_map(student.config, config.transfer),
            tokenizer=text.tokenizer,
            batch=text.held_out_examples().batch(0),
        )
    print("\n" + tabulate([_row(name, values) for name, values in models.items()], headers="keys"))


def _newest(measures: list[dict], step: int) -> dict:
    """Returns the last of a LayerRecorder's measures that is not later than a step of the run."""
    return [values for values in measures if values["step"] <= step][-1]


def _row(name: str, values: dict) -> dict[str, str]:
    row = {"model": name, "parameters": f"{values['parameters']:,}"}
    if "mlm_accuracy" in values:
        row["held-out masked LM accuracy"] = percent(values["mlm_accuracy"])
    if "embedding_cosine" in values:
        row["held-out cosine with the teacher"] = f"{values['embedding_cosine']:.3f}"
    if "similarity_correlation" in values:
        row["held-out correlation of cosines"] = f"{values['similarity_correlation']:.3f}"
    return row


def _scores(
    teacher: MobileBert, student: MobileBert, text: PreparedText
) -> tuple[dict[str, dict], int]:
    """Returns the held-out scores and parameters of both models by name, and the number of
    examples."""
    models = {
        name: {"parameters": model.count_params()}
        for name, model in {"teacher": teacher, "student": student}.items()
    }
    if student.head.embeds_sentences:
        sentences = text.held_out_sentences()
        models["student"] |= embedding_scores(student, teacher, sentences)
        return models, scored_examples(sentences)
    examples = text.held_out_examples()
    if teacher.head.predicts_masks:
        models["teacher"] |= masked_lm_scores(teacher, examples)
        models["student"] |= masked_lm_scores(student, examples, teacher)
    else:
        models["student"] |= masked_lm_scores(student, examples)
    return models, scored_examples(examples)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; see cli.door."""
    door(distill, DistillConfig, arguments=arguments)


if __name__ == "__main__":
    main()
