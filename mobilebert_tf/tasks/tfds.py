"""Rows of TensorFlow Datasets, which downloads them: used only for the data folder "tfds"."""

from typing import Any

from mobilebert_tf.errors import InputError

TFDS = "tfds"


def load_rows(name: str, split: str) -> tuple[list[dict[str, Any]], Any]:
    """Returns (rows, features) of a split; rows hold NumPy values and bytes, in any order.

    Args:
        name: of the data set, as `glue/rte`.
        split: train, dev or test, or a task's own name of one; dev is TensorFlow Datasets'
            "validation".

    Raises InputError if they cannot be loaded, for example without a network.
    """
    import tensorflow_datasets as tfds  # takes seconds

    try:
        builder = tfds.builder(name)
        builder.download_and_prepare()
        dataset = builder.as_dataset(split=split.replace("dev", "validation"))
        return list(tfds.as_numpy(dataset)), builder.info.features
    except Exception as error:  # without a network or such a split it raises errors of many kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"TensorFlow Datasets did not give {name} ({reason}): put the official files into a "
            "folder and name it with `data_dir`"
        ) from None
