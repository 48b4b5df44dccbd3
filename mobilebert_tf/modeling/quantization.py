"""quantization.npz of a model directory: what quantization-aware training stores beside weights.

The export reads it and writes an int8 file with exactly the quantization that was trained.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobilebert_tf.errors import InputError
from mobilebert_tf.files import read_arrays

QUANTIZATION_FILE = "quantization.npz"
# Name of the residual stream between blocks; other streams are named after their layers.
HIDDEN = "hidden"


@dataclass(frozen=True)
class Quantization:
    """How a model's weights and activations become int8.

    Args:
        scales: per-channel scales of the streams that lite.fold.fold may rescale, each [width].
        ranges: (lowest, highest) value of each tensor, with lowest <= 0 <= highest, by the name
            of the inference graph's operation that writes it.
    """

    scales: dict[str, np.ndarray]
    ranges: dict[str, tuple[float, float]]

    @property
    def score_span(self) -> float:
        """Width of the widest range of attention scores."""
        scores = [ends for name, ends in self.ranges.items() if "/scores" in name]
        return max((high - low for low, high in scores), default=0.0)

    def save(self, directory: str | os.PathLike) -> None:
        """Writes quantization.npz into a model directory."""
        arrays: dict[str, Any] = {f"scale:{name}": scale for name, scale in self.scales.items()}
        arrays |= {f"range:{name}": np.array(ends) for name, ends in self.ranges.items()}
        np.savez(Path(directory) / QUANTIZATION_FILE, **arrays)

    @classmethod
    def load(cls, directory: str | os.PathLike) -> "Quantization":
        """Reads quantization.npz of a model directory. Raises InputError if it is damaged."""
        path = Path(directory) / QUANTIZATION_FILE
        scales, ranges = {}, {}
        for key, array in read_arrays(path).items():
            kind, _, name = key.partition(":")
            is_finite = array.dtype.kind == "f" and np.isfinite(array).all()
            if kind == "scale" and is_finite and (array > 0).all():
                scales[name] = array
            elif kind == "range" and is_finite and array.shape == (2,) and array[0] <= array[1]:
                ranges[name] = (float(array[0]), float(array[1]))
            else:
                raise InputError(f"{path} is damaged: {key:.60} is no scale and no range")
        return cls(scales, ranges)

    def first_mismatch(self, widths: dict[str, int]) -> str | None:
        """Returns the first stream whose scales do not have its width; None if all do.

        Args:
            widths: numbers of channels by the names of streams and layers.
        """
        for name, scale in self.scales.items():
            if scale.shape != (widths.get(name),):
                return name
        return None
