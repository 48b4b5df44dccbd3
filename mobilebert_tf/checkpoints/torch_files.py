"""Reads the tensors of a Hugging Face folder from safetensors or PyTorch files.

Nothing in a file is executed: a PyTorch file is a pickle, which only torch's weights-only reader
may read.
"""

import zipfile
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from mobilebert_tf.errors import InputError
from mobilebert_tf.files import read_json

SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"


class TensorFiles:
    """All tensors of a folder by name, in one file or in shards.

    Args:
        directory: the folder.
        class_name: of transformers, that loads it with its head; for messages.

    `shapes` has the shape of each tensor; `read(name)` returns it, half precision as float32.

    Raises InputError for a folder without weights, and for damaged or refused files.
    """

    def __init__(self, directory: Path, class_name: str = "AutoModel"):
        self.source = str(directory)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._files = {}
        for path in _weight_files(directory):
            is_pickle = path.suffix != ".safetensors"
            file = _Pickle(path, class_name) if is_pickle else _Safetensors(path)
            for name, shape in file.shapes.items():
                if name in self._files:
                    raise InputError(f"{path} repeats {name} of another shard")
                self.shapes[name], self._files[name] = shape, file

    def read(self, name: str) -> np.ndarray:
        return self._files[name].read(name)


class _Safetensors:
    def __init__(self, path: Path):
        self.path = path
        try:
            self._file = safe_open(path, framework="numpy")
            names = self._file.keys()
            self.shapes = {n: tuple(self._file.get_slice(n).get_shape()) for n in names}
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path} is damaged or no safetensors file: {error}") from None

    def read(self, name: str) -> np.ndarray:
        try:
            tensor = self._file.get_tensor(name)
        except Exception as error:  # of many kinds, for types that NumPy lacks, such as float8
            reason = (str(error) or repr(error)).splitlines()[0][:200]
            raise InputError(f"{self.path}: cannot read {name}: {reason}") from None
        is_half = tensor.dtype.name in ("float16", "bfloat16")  # exact in float32
        return tensor.astype(np.float32) if is_half else tensor


class _Pickle:
    def __init__(self, path: Path, class_name: str):
        _refuse_compressed(path)
        try:
            import torch
        except ImportError:
            raise InputError(
                f"{path} is a pickle, which can run code when it is read: install torch, whose "
                "weights-only reader is used then, or where transformers is installed turn it "
                f"into safetensors: {class_name}.from_pretrained(A).save_pretrained(B)"
            ) from None
        try:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises errors of many kinds for refused or damaged files
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"{path} is damaged or not only weights: {reason}") from None
        if not isinstance(tensors, dict) or not all(map(torch.is_tensor, tensors.values())):
            raise InputError(f"{path} is not a dictionary of tensors")
        self._tensors = tensors
        self.shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}

    def read(self, name: str) -> np.ndarray:
        tensor = self._tensors[name]
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def _refuse_compressed(path: Path) -> None:
    """Raises InputError for a compressed archive, which may unpack to far more bytes.

    torch never compresses its archives.
    """
    if not zipfile.is_zipfile(path):  # the format before torch 1.6
        return
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise InputError(f"{path} is a compressed archive: torch does not write such files")


def _weight_files(directory: Path) -> list[Path]:
    for name in (SAFETENSORS, PICKLE):
        if (directory / name).is_file():
            return [directory / name]
        index = directory / f"{name}.index.json"
        if index.is_file():
            return _shards(index)
    raise InputError(f"{directory} has no {SAFETENSORS} (nor its shards, nor {PICKLE})")


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted(set(read_json(index)["weight_map"].values()))
        paths = [index.parent / name for name in names]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index} is no index of shards: {error}") from None
    for name, path in zip(names, paths, strict=True):
        if Path(name).name != name or not path.is_file():
            raise InputError(f"{index} names {name}, which is no file beside it")
    return paths
