"""quantization.npz of a model directory: what quantization-aware training stores beside weights.

The export reads it and writes an int8 file with exactly the quantization that was trained.
"""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobilebert_tf.errors import InputError

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
        try:
            # Opened here: np.load does not close what it finds to be damaged.
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                named = {tuple(key.split(":", 1)): arrays[key] for key in arrays.files}
            scales = {name: scale for (kind, name), scale in named.items() if kind == "scale"}
            pairs = {name: pair.tolist() for (kind, name), pair in named.items() if kind == "range"}
            ranges = {name: (low, high) for name, (low, high) in pairs.items()}
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is damaged: {str(error).splitlines()[0]}") from None
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
