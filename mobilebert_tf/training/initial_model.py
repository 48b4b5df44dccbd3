"""The model that pre-training starts from: random weights of some size, or another model's."""

import numpy as np

from mobilebert_tf.checkpoints.formats import LoadedModel, load
from mobilebert_tf.data.prepared_text import DataConfig, PreparedText
from mobilebert_tf.errors import InputError, named
from mobilebert_tf.modeling.config import ModelConfig, load_model_config
from mobilebert_tf.modeling.heads import Head
from mobilebert_tf.modeling.model import MobileBert, copy_weights
from mobilebert_tf.training.strategies import PRETRAINING


def read_init(path: str | None, size: str, default: str, data: DataConfig) -> LoadedModel | None:
    """Returns the model to continue from, in any format that `convert` reads; None for None.

    A line says so where its size is not the default.

    Args:
        path: of the model.
        size: the named size or bert_config.json that the run asks for.
        default: the size that stands for none: the model may differ from it.
        data: the text settings of the run.

    Raises InputError if it cannot be read, has no vocabulary, or does not fit the settings.
    """
    if path is None:
        return None
    with named("init"):
        init = load(path)
    for reason, count in init.skipped.items():
        print(f"init: skipped {count} tensors: {reason}")
    if init.tokenizer is None:
        raise InputError(f"{path} has no vocabulary (vocab.txt): it cannot read text")
    config = init.model.config
    if load_model_config(size).replace(vocab_size=config.vocab_size) != config:
        if size != default:
            raise InputError(f"`init` is no {size}: leave out the size, that of `init` is used")
        print(f"init: its own size is used, it is no {size}", flush=True)
    _check_length(data, config, path)
    return init


def initial_config(size: str, text: PreparedText) -> ModelConfig:
    """Returns the config of a new model with the vocabulary size of the text.

    Args:
        size: a named size or a bert_config.json.
        text: of the run.

    Raises InputError if the text's examples are longer than the model takes.
    """
    config = load_model_config(size).replace(vocab_size=len(text.tokenizer))
    _check_length(text.config, config, size)
    return config


def _check_length(data: DataConfig, config: ModelConfig, source: str) -> None:
    if data.sequence_length > config.max_position_embeddings:
        raise InputError(
            f"`sequence_length` is {data.sequence_length}: longer than "
            f"max_position_embeddings of {source} ({config.max_position_embeddings})"
        )


def initial_model(
    config: ModelConfig, init: LoadedModel | None, text: PreparedText, head: Head = PRETRAINING
) -> MobileBert:
    """Returns a model with the weights of `init`, or with random ones.

    The heads that `init` lacks are random, which is said in one line.

    Args:
        config: that of `init`, or from initial_config.
        init: the model to continue from, or None.
        text: of the run.
        head: of the model, pre-training or a sentence encoder.
    """
    model = MobileBert(config, head)
    if init is None:
        if config.normalization_type == "layer_norm":
            _keep_tokens_apart(model, text)
        return model
    copied = copy_weights(init.model, model)
    rest = sorted(weight.path for weight in model.weights if weight.path not in copied)
    if rest:
        print(f"not in `init`, so initialised at random: {', '.join(rest)}", flush=True)
    return model


def _keep_tokens_apart(model: MobileBert, text: PreparedText) -> None:
    """Changes a random model in two points, without which it collapses if it is deep.

    The feature maps of 12 layers became alike for all tokens within 100 steps, and stayed so
    (docs/ablation.md): the layers learn the frequencies of the tokens first, as a vector that they
    add to every token, and each layer norm scales it up and the rest down. So the bias of the
    masked LM starts as the logarithm of the frequencies, and the outputs of the blocks start small,
    as in GPT-2. NoNorm scales nothing: its models start as in Google's code.
    """
    config = model.config
    if model.head.predicts_masks:
        counts = text.train.token_counts(config.vocab_size)
        model.get_layer("masked_lm").output_bias.assign(np.log(counts / counts.sum()))
    ends = "output_bottleneck/dense/kernel" if config.use_bottleneck else "output/dense/kernel"
    for weight in model.weights:
        if weight.path.endswith(ends):
            weight.assign(weight * (2 * config.num_hidden_layers) ** -0.5)
