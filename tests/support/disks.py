"""Disks that take no more."""

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def files_may_grow_to(most: int) -> Iterator[None]:
    """Lets files of this process have `most` bytes in the block, as a quota does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
