"""Runs a checkpoint in the library of its format, if that is installed.

A conversion is compared with its output, which does not depend on our code.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import tensorflow as tf

from mobilebert_tf.checkpoints.tensorflow_file import find_prefix
from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.config import ModelConfig
from mobilebert_tf.modeling.model import MODEL_INPUTS


def run_reference(
    name: str, directory: Path, config: ModelConfig, batch: dict[str, np.ndarray]
) -> tuple[str, np.ndarray] | None:
    """Returns a library's name and the sequence output [B,T,H] that it computes.

    Args:
        name: format of the checkpoint.
        directory: of the checkpoint.
        config: of its model.
        batch: input_ids, input_mask, segment_ids, int32 [B,T].

    Returns None if the format's library is not installed (Google's, which needs TensorFlow 1.15,
    never is), and if it cannot run the checkpoint, which is printed.
    """
    if name == "huggingface" and find_spec("transformers") and find_spec("torch"):
        library, compute = "transformers", _transformers
    elif name == "model-garden" and find_spec("official"):
        library, compute = "tf-models-official", _model_garden
    else:
        return None
    try:
        return library, compute(directory, config, batch)
    except InputError:
        raise
    except Exception as error:  # of many kinds, for folders that only we read and broken libraries
        reason = (str(error).strip() or repr(error)).splitlines()[0][:200]
        print(f"not compared with {library}: {reason}")
        return None


def _transformers(directory: Path, config: ModelConfig, batch: dict[str, np.ndarray]) -> np.ndarray:
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(directory, local_files_only=True).eval()
    tensors = {name: torch.from_numpy(array).long() for name, array in batch.items()}
    inputs = {
        "input_ids": tensors["input_ids"],
        "attention_mask": tensors["input_mask"],
    }
    if batch["segment_ids"].any():  # DistilBERT takes none
        inputs["token_type_ids"] = tensors["segment_ids"]
    with torch.no_grad():
        return model(**inputs).last_hidden_state.numpy()


def _model_garden(directory: Path, config: ModelConfig, batch: dict[str, np.ndarray]) -> np.ndarray:
    encoder = model_garden_encoder(config)
    status = tf.train.Checkpoint(encoder=encoder).read(find_prefix(directory))
    status.expect_partial()  # the masked LM is not read
    try:
        status.assert_existing_objects_matched()
    except AssertionError as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{directory} lacks a weight of Model Garden's encoder: {reason}"
        ) from None
    inputs = [batch[name] for name in MODEL_INPUTS]
    return encoder(inputs)["sequence_output"].numpy()


def model_garden_encoder(config: ModelConfig):
    """Returns Model Garden's MobileBERTEncoder for our config, with random weights."""
    from official.modeling import tf_utils
    from official.nlp.modeling.networks import MobileBERTEncoder

    return MobileBERTEncoder(
        word_vocab_size=config.vocab_size,
        word_embed_size=config.embedding_size,
        type_vocab_size=config.type_vocab_size,
        max_sequence_length=config.max_position_embeddings,
        num_blocks=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        num_attention_heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size,
        intermediate_act_fn=tf_utils.get_activation(config.hidden_act),
        hidden_dropout_prob=config.hidden_dropout_prob,
        attention_probs_dropout_prob=config.attention_probs_dropout_prob,
        intra_bottleneck_size=config.intra_bottleneck_size,
        initializer_range=config.initializer_range,
        use_bottleneck_attention=config.use_bottleneck_attention,
        key_query_shared_bottleneck=config.key_query_shared_bottleneck,
        num_feedforward_networks=config.num_feedforward_networks,
        normalization_type=config.normalization_type,
        classifier_activation=config.classifier_activation,
    )
