"""python -m mobilebert_tf.compare RUN RUN ...: runs of pretrain and distill side by side."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tabulate import tabulate

from mobilebert_tf.cli import door
from mobilebert_tf.errors import InputError
from mobilebert_tf.files import check_free
from mobilebert_tf.reports.comparison import Run, read_run, table, write_comparison
from mobilebert_tf.training.run_folder import CHANGEABLE


@dataclass(frozen=True)
class CompareConfig:
    """Settings of a comparison.

    Args:
        runs: folders of finished runs.
        output: the page to write.
        images: a folder that gets its plots as SVG files too; null for none.
        overwrite: replace it if it exists.
    """

    runs: list[str] = field(default_factory=list)
    output: str = "runs/comparison.html"
    images: str | None = None
    overwrite: bool = False


def compare(config: CompareConfig) -> None:
    """Prints a table of finished runs, and writes a page with their curves and layers.

    Runs whose settings differ in the seed alone are one row, with mean and standard deviation.
    """
    if not config.runs:
        raise InputError("give the folders of one finished run or more")
    check_free(config.output, config.overwrite)
    groups = _groups([read_run(Path(path)) for path in config.runs])
    title = f"{len(config.runs)} runs"
    images = None if config.images is None else Path(config.images)
    write_comparison(Path(config.output), title, groups, images=images)
    print(tabulate(table(groups), headers="keys", disable_numparse=True))
    print(f"\n{config.output}")


def _groups(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Returns runs that differ in their seed alone, under the folder of the first, which is told
    without the part that all have in common."""
    by_settings: dict[str, list[Run]] = {}
    for run in runs:
        settings = {k: v for k, v in run.settings.items() if k not in ("seed", *CHANGEABLE)}
        by_settings.setdefault(repr(settings), []).append(run)
    names = [str(group[0].path) for group in by_settings.values()]
    if len(names) > 1:
        common = os.path.commonpath(names)
        names = [os.path.relpath(name, common) for name in names]
    return dict(zip(names, by_settings.values(), strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; see cli.door."""
    door(compare, CompareConfig, {"runs": "*"}, arguments)


if __name__ == "__main__":
    main()
