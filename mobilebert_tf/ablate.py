"""python -m mobilebert_tf.ablate --config FILE: what each part of knowledge transfer is worth.

One teacher teaches one student in several ways, the cells, with several seeds each: the paper's
tables 2, 3, 8 and 9 at any size. Each cell is a run of distill or pretrain in a process of its own.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tabulate import tabulate
from tqdm import tqdm

from mobilebert_tf.cli import door
from mobilebert_tf.environment import circumstances
from mobilebert_tf.errors import InputError
from mobilebert_tf.files import read_json, write_json, write_whole
from mobilebert_tf.reports.comparison import Run, read_run, table, write_comparison
from mobilebert_tf.training.ablation import (
    AblateConfig,
    Command,
    cell_commands,
    cell_directory,
    check_unchanged,
    teacher_command,
    write_student_sizes,
)
from mobilebert_tf.training.run_folder import open_run

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)  # what a preempted machine and a closed terminal send


def ablate(config: AblateConfig) -> None:
    """Trains a student in several ways with several seeds, and compares what comes out.

    Writes OUTPUT_DIR/ablation.html with curves, ablation.md with the table and ablation.json. The
    same command continues an ablation that was killed, and trains only the cells and seeds that
    are new. A cell whose settings changed needs another name.
    """
    if not config.cells:
        raise InputError("`cells` is empty: see configs/ablation.yaml")
    with open_run(config) as folder:
        teacher = teacher_command(config)
        chains = {
            (cell, seed): cell_commands(config, cell, seed)
            for seed in config.seeds
            for cell in config.cells
        }
        for (cell, _), commands in chains.items():
            check_unchanged(config, cell, commands)
        folder.begin()
        write_student_sizes(config)
        with _Processes(config.jobs) as processes:
            if teacher is not None:
                processes.run_all([[teacher]], "teacher")
            processes.run_all(list(chains.values()), "cells")
        groups = {
            cell: [read_run(cell_directory(config, cell, seed)) for seed in config.seeds]
            for cell in config.cells
        }
        _report(config, groups, _task_scores(chains))


class _Processes:
    """Runs commands in processes of their own, several at once.

    At an error, Ctrl-C, SIGTERM or SIGHUP those that still run get one SIGTERM, at which a training
    saves its state: the same command goes on with them.

    Args:
        jobs: processes at once.
    """

    def __init__(self, jobs: int):
        self.jobs, self.running, self.lock = jobs, set(), threading.Lock()
        cores = max(1, (os.cpu_count() or 1) // jobs)
        threads = {"TF_NUM_INTRAOP_THREADS": f"{cores}", "OMP_NUM_THREADS": f"{cores}"}
        self.environment = os.environ | (threads if jobs > 1 else {})
        self.closed = False

    def __enter__(self) -> "_Processes":
        handled = [n for n in _SIGNALS if signal.getsignal(n) != signal.SIG_IGN]  # nohup ignores
        self.before = {
            n: signal.signal(n, lambda number, _: sys.exit(128 + number)) for n in handled
        }
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self._end()

    def _end(self) -> None:
        with self.lock:
            self.closed = True
            for process in self.running:
                process.terminate()

    def run_all(self, chains: Sequence[Sequence[Command]], title: str) -> None:
        """Runs chains of commands; those whose result is there are skipped.

        Raises InputError with the last line of a command that fails.
        """
        with (
            ThreadPoolExecutor(self.jobs) as pool,
            tqdm(total=len(chains), desc=title, unit="run", mininterval=1) as progress,
        ):
            futures = [pool.submit(self._run_chain, chain) for chain in chains]
            try:
                for future in as_completed(futures):
                    future.result()
                    progress.update()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._end()
                raise

    def _run_chain(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if not command.result_file.is_file():
                self._run(command)

    def _run(self, command: Command) -> None:
        command.write_settings()
        arguments = [sys.executable, "-m", f"mobilebert_tf.{command.door}"]
        arguments += ["--config", str(command.settings_file)]
        with open(command.log_file, "a", encoding="utf-8") as log:
            with self.lock:
                if self.closed:
                    return
                process = subprocess.Popen(
                    arguments,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self.environment,
                    process_group=0,  # Ctrl-C comes to this process alone, which ends them
                )
                self.running.add(process)
            code = process.wait()
            with self.lock:
                self.running.discard(process)
        if code and not self.closed:
            lines = command.log_file.read_text(encoding="utf-8").splitlines() or ["no output"]
            raise InputError(
                f"{command.directory}: {command.door} ended with code {code}: "
                f"{lines[-1].removeprefix('error: ')} (all of it in {command.log_file})"
            )


def _task_scores(
    chains: Mapping[tuple[str, int], Sequence[Command]],
) -> dict[str, dict[str, list[float]]]:
    """Returns {task and metric: {cell: scores of its students, in percent}}.

    Args:
        chains: {(cell, seed): training, then each task}.
    """
    scores: dict[str, dict[str, list[float]]] = {}
    for (cell, _), (_, *tasks) in chains.items():
        for command in tasks:
            (result,) = read_json(command.result_file, list)
            for metric, value in result["scores"].items():
                title = f"{command.settings['task']} {metric}, %"
                scores.setdefault(title, {}).setdefault(cell, []).append(100 * value)
    return scores


def _report(
    config: AblateConfig, groups: dict[str, list[Run]], tasks: dict[str, dict[str, list[float]]]
) -> None:
    directory = Path(config.output_dir)
    write_comparison(directory / "ablation.html", f"Ablation: {config.student}", groups, tasks)
    rows = table(groups, tasks)
    text = tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)
    write_whole(directory / "ablation.md", text + "\n")
    runs = {
        cell: [{"seed": run.settings["seed"], "seconds": run.seconds, "steps": run.steps}
               | run.scores for run in runs]
        for cell, runs in groups.items()
    }  # fmt: skip
    write_json(directory / "ablation.json", {"cells": runs, "tasks": tasks} | circumstances())
    print(tabulate(rows, headers="keys", disable_numparse=True))
    hours = sum(run.seconds for runs in groups.values() for run in runs) / 3600
    print(f"\n{hours:.2f} hours of training without the teacher\n{directory / 'ablation.html'}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; see cli.door."""
    door(ablate, AblateConfig, arguments=arguments)


if __name__ == "__main__":
    main()
