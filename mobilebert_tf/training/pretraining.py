"""Pre-training without a teacher: of teachers, and of the student's baseline."""

import functools
from pathlib import Path

import keras

from mobilebert_tf.data.prepared_text import PreparedText
from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.config import ModelConfig, load_model_config
from mobilebert_tf.modeling.model import build_model
from mobilebert_tf.modeling.model_directory import save_model
from mobilebert_tf.training.distiller import Distiller
from mobilebert_tf.training.loop import LoopStage, train
from mobilebert_tf.training.run_config import Phase, RunConfig
from mobilebert_tf.training.run_folder import RunFolder
from mobilebert_tf.training.strategies import bare


def fitted_config(source: str, text: PreparedText) -> ModelConfig:
    """Returns a model config with the vocabulary size of the text.

    Args:
        source: a named size or a bert_config.json.
        text: of the run.

    Raises InputError if the text's examples are longer than the model takes.
    """
    config = load_model_config(source).replace(vocab_size=len(text.tokenizer))
    if text.config.sequence_length > config.max_position_embeddings:
        raise InputError(
            f"sequence_length is {text.config.sequence_length}: longer than "
            f"max_position_embeddings of {source} ({config.max_position_embeddings})"
        )
    return config


def pretrain_alone(
    source: str,
    phase: Phase,
    text: PreparedText,
    *,
    name: str,
    folder: RunFolder,
    config: RunConfig,
) -> Path:
    """Pre-trains a model without a teacher, unless folder/name exists, and returns that path.

    Args:
        source: a named size or a bert_config.json.
        phase: steps and optimizer.
        text: of the run.
        name: of the model within the run.
        folder: of the run.
        config: of the run.
    """
    directory = folder / name
    if directory.exists():
        return directory
    keras.utils.set_random_seed(config.seed)
    model = build_model(fitted_config(source, text), "pretraining")
    stages = [
        LoopStage(stage.name, stage.phase.steps, functools.partial(Distiller, model, stage))
        for stage in bare(model.config.num_hidden_layers, phase)
    ]
    examples = text.training_examples(config.seed)
    train(model, stages, examples, name=name, folder=folder, pace=config.pace)
    save_model(model, directory, text.tokenizer)
    return directory
