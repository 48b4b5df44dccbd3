"""Pre-training without a teacher: of teachers, and of the student's baseline."""

import functools

from mobilebert_tf.data.prepared_text import PreparedText
from mobilebert_tf.modeling.model import MobileBert
from mobilebert_tf.modeling.model_directory import save_model
from mobilebert_tf.training.distiller import Distiller
from mobilebert_tf.training.held_out import evaluation_batches
from mobilebert_tf.training.layer_measures import LayerRecorder
from mobilebert_tf.training.loop import LoopStage, train
from mobilebert_tf.training.run_config import Phase, RunConfig
from mobilebert_tf.training.run_folder import RunFolder
from mobilebert_tf.training.strategies import bare


def pretrain_alone(
    model: MobileBert,
    phase: Phase,
    text: PreparedText,
    *,
    name: str,
    folder: RunFolder,
    config: RunConfig,
) -> None:
    """Pre-trains a model without a teacher, and saves it as folder/name.

    Args:
        model: with the heads of pre-training; it is trained in place.
        phase: steps and optimizer.
        text: of the run.
        name: of the model within the run.
        folder: of the run.
        config: of the run.
    """
    (stage,) = bare(model.config.num_hidden_layers, phase)
    held_out = evaluation_batches(text.held_out_examples())
    make_trainer = functools.partial(
        Distiller,
        model,
        stage,
        accumulation_steps=config.accumulation_steps,
        rematerialize=config.rematerialize,
    )
    recorder = LayerRecorder(folder / "measures", name, model, held_out[0])
    recorder.record(0)
    train(
        model,
        [LoopStage(stage.name, stage.phase.steps, make_trainer)],
        text.training_examples(config.seed),
        name=name,
        folder=folder,
        settings=config,
        held_out=held_out,
        after_saving=recorder.record,
    )
    save_model(model, folder / name, text.tokenizer)
