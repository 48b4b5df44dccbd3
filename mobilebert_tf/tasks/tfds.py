"""TensorFlow Datasets, which downloads: only where the user names "tfds" as the data folder."""

from typing import Any

from mobilebert_tf.errors import InputError

TFDS = "tfds"


def load_rows(name: str, split: str) -> tuple[list[dict[str, Any]], Any]:
    """The rows of a split as NumPy values and bytes, in no order to rely on, and the features.

    Args:
        name: of the data set, as `glue/rte`.
        split: train, dev or test, with what a task adds to it: dev is their validation.

    Raises InputError if it does not give them: without a network, say.
    """
    import tensorflow_datasets as tfds  # takes seconds

    try:
        builder = tfds.builder(name)
        builder.download_and_prepare()
        dataset = builder.as_dataset(split=split.replace("dev", "validation"))
        return list(tfds.as_numpy(dataset)), builder.info.features
    except Exception as error:  # no network, no such split: many kinds of error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"TensorFlow Datasets did not give {name} ({reason}): put the official files into a "
            "folder and name it with `data_dir`"
        ) from None
