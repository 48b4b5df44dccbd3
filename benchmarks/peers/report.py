"""The tables and the picture of a comparison."""

from pathlib import Path

import numpy as np
import tabulate
from matplotlib.figure import Figure

_COLUMNS = 3  # of the picture's panels


def markdown(results: dict) -> str:
    """All that was measured, as tables; ratios first."""
    base, texts = results["base"], results["texts"]
    parts = [f"Ratios: how many times as fast as {base}, of medians, and paired run by run."]
    parts.append(_circumstances(results))
    parts += [f"Left out: {name}: {reason}" for name, reason in results["left_out"].items()]
    for title, rows in results["latency"].items():
        parts += [f"**{title}**", _table(_latency(row) for row in rows)]
    parts.append(
        f"**{texts['count']} real sentences of {texts['mean_tokens']:.1f} tokens on average, one "
        "at a time, 1 thread, tokenization included**"
    )
    parts.append(_table(_sentences(row) for row in results["sentences"]))
    for title, rows in results["footprint"].items():
        parts += [f"**{title}: file, build, load, memory**", _table(_size(row) for row in rows)]
    for title, rows in results["agreement"].items():
        parts += [f"**{title}: agreement with the float Keras model**"]
        parts.append(_table(_agreement(row) for row in rows))
    for title, rows in results["paper"].items():
        parts += [f"**The paper's table, our files: {title}**", _table(map(_relative, rows))]
    return "\n\n".join(parts) + "\n"


def _circumstances(results: dict) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    machine = results["machine"]
    return f"{machine['cpu']}, {machine['cores']} cores, {results['date']}. {versions}."


def _table(rows) -> str:
    return tabulate.tabulate(list(rows), headers="keys", tablefmt="github", disable_numparse=True)


def _latency(row: dict) -> dict:
    return {
        "file": row["file"],
        "of medians": f"{row['ratio_of_medians']:.2f}",
        "paired, p10-p90": f"{row['ratio']:.2f} ({row['ratio_p10']:.2f}-{row['ratio_p90']:.2f})",
        "ms, p10-p90": f"{row['p50_ms']:.2f} ({row['p10_ms']:.2f}-{row['p90_ms']:.2f})",
    }


def _sentences(row: dict) -> dict:
    return {
        "file": row["file"],
        "of means": f"{row['ratio_of_means']:.2f}",
        "model alone": f"{row['model_ratio_of_means']:.2f}",
        "mean ms": f"{row['mean_ms']:.2f}",
        "tokenization": f"{row['tokenization_ms']:.2f}",
        "model": f"{row['model_ms']:.2f}",
        "median ms, p10-p90": f"{row['p50_ms']:.2f} ({row['p10_ms']:.2f}-{row['p90_ms']:.2f})",
    }


def _size(row: dict) -> dict:
    return {
        "file": row["file"],
        "MB": f"{row['size_mb']:.2f}",
        "build s": f"{row['build_s']:.0f}",
        "load ms": f"{row['load_ms']:.0f}",
        "memory MB": f"{row['memory_mb']:.1f}",
        "peak MB": f"{row['peak_mb']:.1f}",
    }


def _agreement(row: dict) -> dict:
    return {
        "file": row["file"],
        "output": row["output"],
        "error": f"{row['error']:.2g}",
        "cosine": f"{row['cosine']:.4f}",
        "same choice": f"{row['choice']:.2f}",
    }


def _relative(row: dict) -> dict:
    """The paper says how many times the time of MobileBERT."""
    low, median, high = (1 / row[key] for key in ("ratio_p90", "ratio", "ratio_p10"))
    return {
        "model": row["file"].rpartition(",")[0],
        "time / MobileBERT's": f"{1 / row['ratio_of_medians']:.2f}",
        "paired, p10-p90": f"{median:.2f} ({low:.2f}-{high:.2f})",
        "ms, p10-p90": f"{row['p50_ms']:.2f} ({row['p10_ms']:.2f}-{row['p90_ms']:.2f})",
    }


def plot(results: dict, path: Path) -> None:
    """A bar for each file, a panel for each measurement; whiskers from p10 to p90."""
    panels = results["latency"] | {"real sentences, 1 thread": results["sentences"]}
    rows = -(-len(panels) // _COLUMNS)
    figure = Figure(figsize=(6 * _COLUMNS, 3.2 * rows), layout="constrained")
    places = figure.subplots(rows, _COLUMNS, squeeze=False).flatten()
    for axes, (title, measured) in zip(places, panels.items(), strict=False):
        _bars(axes, measured[::-1])
        axes.set_title(title, fontsize=10)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    figure.savefig(path, dpi=120)


def _bars(axes, rows: list[dict]) -> None:
    low, middle, high = (
        np.array([row[key] for row in rows]) for key in ("p10_ms", "p50_ms", "p90_ms")
    )
    names = [row["file"] for row in rows]
    colors = ["tab:blue" if name.startswith("ours") else "tab:gray" for name in names]
    whiskers = {"xerr": [middle - low, high - middle], "error_kw": {"linewidth": 0.8}}
    bars = axes.barh(names, middle, color=colors, **whiskers)
    axes.bar_label(bars, [f"{value:.1f}" for value in middle], padding=6, fontsize=8)
    axes.set_xlim(0, min(1.15 * high.max(), 1.5 * middle.max()))
    axes.set_xlabel("ms")
    axes.spines[["top", "right"]].set_visible(False)
