"""MobileBERT in Keras 3: from raw text to a measured int8 phone model (Sun et al., ACL 2020)."""

import os

# Layers and losses run on any Keras backend; data, training and export are TensorFlow's.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # a missing GPU is no error

from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.config import ModelConfig
from mobilebert_tf.modeling.model import build_model
from mobilebert_tf.modeling.model_directory import load_model, save_model

__all__ = ["InputError", "ModelConfig", "Pipeline", "build_model", "load_model", "save_model"]


def __getattr__(name: str):
    if name == "Pipeline":  # imported on use: it needs far more packages than building a model
        from mobilebert_tf.pipeline import Pipeline

        return Pipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
