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
    """Returns {label: runs that differ in their seed alone}.

    The label is the path of the first run; where there are several labels, each is shortened to the
    part that tells it from the others.
    """
    by_settings: dict[str, list[Run]] = {}
    for run in runs:
        settings = {k: v for k, v in run.settings.items() if k != "seed"}
        by_settings.setdefault(repr(settings), []).append(run)
    names = [str(group[0].path) for group in by_settings.values()]
    if len(names) > 1:
        common = os.path.commonpath([os.path.abspath(name) for name in names])
        names = [os.path.relpath(name, common) for name in names]
    return dict(zip(names, by_settings.values(), strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; see cli.door."""
    door(compare, CompareConfig, {"runs": "*"}, arguments)


if __name__ == "__main__":
    main()
