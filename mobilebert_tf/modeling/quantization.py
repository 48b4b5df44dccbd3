"""What quantization-aware training leaves beside the weights: a model directory's quantization.npz.

With it export/to_tflite.py writes int8 files with the numbers that were trained.
"""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobilebert_tf.errors import InputError

QUANTIZATION_FILE = "quantization.npz"
# The stream of feature maps between blocks; other streams are named after their layers.
HIDDEN = "hidden"


@dataclass(frozen=True)
class Quantization:
    """How a model's weights and activations become int8.

    Args:
        scales: of free channels, as in lite.fold.fold, each [width].
        ranges: lowest and highest value of a tensor, 0 between them, by the name of the operation
            of the inference graph that writes it.
    """

    scales: dict[str, np.ndarray]
    ranges: dict[str, tuple[float, float]]

    @property
    def score_span(self) -> float:
        """The widest range of the attention scores."""
        scores = [ends for name, ends in self.ranges.items() if "/scores" in name]
        return max((high - low for low, high in scores), default=0.0)

    def save(self, directory: str | os.PathLike) -> None:
        arrays = {f"scale:{name}": scale for name, scale in self.scales.items()}
        arrays |= {f"range:{name}": np.array(ends) for name, ends in self.ranges.items()}
        np.savez(Path(directory) / QUANTIZATION_FILE, **arrays)

    @classmethod
    def load(cls, directory: str | os.PathLike) -> "Quantization":
        """InputError if the file is damaged."""
        path = Path(directory) / QUANTIZATION_FILE
        try:
            with np.load(path, allow_pickle=False) as arrays:
                named = {tuple(key.split(":", 1)): arrays[key] for key in arrays.files}
            scales = {name: scale for (kind, name), scale in named.items() if kind == "scale"}
            pairs = {name: pair.tolist() for (kind, name), pair in named.items() if kind == "range"}
            ranges = {name: (low, high) for name, (low, high) in pairs.items()}
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is damaged: {str(error).splitlines()[0]}") from None
        return cls(scales, ranges)

    def misfit(self, widths: dict[str, int]) -> str | None:
        """A scale for a stream or layer that is not among these, or has another width there."""
        fits = {name: scale.shape == (widths.get(name),) for name, scale in self.scales.items()}
        return next((name for name, fit in fits.items() if not fit), None)
