"""python -m hostile.fuzz: hostile tries on every door, each from a seed, until the time is over.

Prints the seed of each try that a door did not survive well, and exits with 1 if there was any.
`--first SEED --tries 1` repeats one.
"""

import argparse
import collections
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from hostile.generators import hostile_try
from hostile.tries import attempt, digests, load_doors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="seed of the first try")
    parser.add_argument("--tries", type=int, default=10**9, help="how many")
    parser.add_argument("--seconds", type=float, default=600, help="time for all of them")
    options = parser.parse_args()
    load_doors()
    folder = Path(tempfile.mkdtemp(prefix="hostile."))
    world = folder / "world"
    _write_world_in_a_child(world)
    seeds = range(options.first, options.first + options.tries)
    deadline = time.monotonic() + options.seconds
    counts: collections.Counter[str] = collections.Counter()
    for seed in seeds:
        if time.monotonic() > deadline:
            break
        counts[_one(seed, world, folder / str(seed))] += 1
    shutil.rmtree(folder)
    print(f"{sum(counts.values())} tries from seed {options.first}: {dict(counts)}")
    sys.exit(bool(counts["fell"]))


def _write_world_in_a_child(world: Path) -> None:
    """TensorFlow's threads, which building models starts, would not survive a fork."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        from hostile.world import write_world  # its tokenizer starts TensorFlow too

        world.mkdir()
        write_world(world)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def _one(seed: int, world: Path, folder: Path) -> str:
    """Makes one try; returns in a word how it ended."""
    command = hostile_try(seed, world, folder)
    continued = str(folder / command.continued)
    before = {k: v for k, v in digests(folder).items() if not k.startswith(continued)}
    outcome = attempt(command.door, command.arguments, folder, command.file_size)
    problem = outcome.problem()
    if problem is None and (changed := _changed(before, folder)):
        problem = f"it changed, or left behind, {changed}"
    shutil.rmtree(folder)
    if problem is None:
        return "refused" if outcome.code else "went well"
    print(f"seed {seed}: {command.door} {' '.join(command.arguments)[:200]!r}: {problem[:300]}")
    return "fell"


def _changed(before: dict[str, str], folder: Path) -> list[str]:
    after = digests(folder)
    changed = [path for path, digest in before.items() if after.get(path) != digest]
    return changed + [path for path in after if ".partial" in path]


if __name__ == "__main__":
    main()
