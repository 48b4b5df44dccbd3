"""Keeps the chatter of libraries out of stderr, which is for what concerns the user."""

import contextlib
import os
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def without_stderr() -> Iterator[None]:
    """Drops what TensorFlow's C++ code and the quantizer's progress bars write to stderr."""
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
