"""The plots of the report, as `data:` URLs for <img>, where they cannot run or load anything."""

import base64
import io
from typing import Any, NamedTuple

import matplotlib
import matplotlib.image
import numpy as np
from matplotlib.figure import Figure

CURVE_POINTS = 300  # the curves of a long run are drawn from this many means
LOG_FROM = 20  # a curve gets a log scale if its largest value is so many times the smallest
DARKEST = 8  # times a uniform distribution, at least: maps without structure stay light
PANELS = {
    "total loss": ("loss", "held_out_loss"),
    "transfer terms, before weighting": (
        "feature_map", "feature_mean", "feature_variance", "attention_map",
    ),
    "masked LM terms, before weighting": ("masked_lm", "distillation"),
    "next sentence loss": ("next_sentence",),
    "norm of the gradients before clipping": ("gradient_norm",),
    "masked LM accuracy, on training batches and held-out ones": (
        "mlm_accuracy", "held_out_mlm_accuracy",
    ),
}  # fmt: skip
TEACHER_STUDENT = ("teacher", "student")
MEASURES = {
    "feature_map": "feature maps: mean square error after normalisation",
    "attention_map": "attention maps: KL(teacher || student)",
    "attention_entropy": "entropy of the attention, nats",
    "largest_score": "largest attention score",
    "token_variation": "share of the feature maps that varies from token to token",
}

# Text stays text, in the reader's fonts, and a token such as "$" does not start a formula.
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "text.parse_math": False,
}
_STYLE |= {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
_styled = matplotlib.rc_context(_STYLE)


class Plot(NamedTuple):
    """A plot.

    Args:
        title: its title.
        address: a "data:image/..." URL with the whole content.
    """

    title: str
    address: str


def svg(plot: Plot) -> str:
    """Returns the SVG of a plot that is not a picture of pixels."""
    return base64.b64decode(plot.address.partition(",")[2]).decode()


def _axes(bottom: float = 0.16, top: float = 0.92):
    """Returns axes with fixed margins; matplotlib's layouts would draw everything twice."""
    return Figure(figsize=(5, 3)).add_axes((0.13, bottom, 0.83, top - bottom))


def _plot(title: str, axes) -> Plot:
    file = io.BytesIO()
    axes.figure.savefig(file, format="svg", metadata={"Date": None})
    return Plot(title, _address("image/svg+xml", file))


def _legend_below(axes) -> None:
    compact = {"ncols": 4, "columnspacing": 1, "handlelength": 1.2, "fontsize": 8}
    axes.figure.legend(loc="lower center", frameon=False, **compact)


def _address(kind: str, file: io.BytesIO) -> str:
    return f"data:{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


@_styled
def curves(stages: list[dict]) -> list[Plot]:
    """Returns the logged values over the steps, in the PANELS of each model.

    Args:
        stages: of run_report._stages.
    """
    plots = []
    for model in dict.fromkeys(stage["model"] for stage in stages):
        for title, names in PANELS.items():
            logged = [
                stage
                for stage in stages
                if stage["model"] == model and any(set(names) & set(r) for r in stage["records"])
            ]
            if logged:
                plots.append(_curve_plot(f"{model}: {title}", logged, names))
    return plots


def _curve_plot(title: str, stages: list[dict], names: tuple[str, ...]) -> Plot:
    many = len(names) > 1
    axes = _axes(bottom=0.25 if many else 0.16, top=0.74 if len(stages) > 2 else 0.92)
    _shade_stages(axes, stages)
    colors = matplotlib.color_sequences["tab10"]
    for color, name in zip(colors, names, strict=False):
        for number, (steps, values) in enumerate(_stage_curves(stages, name)):
            label = name if number == 0 else f"_{name}"  # "_" hides all but one from the legend
            axes.plot(
                steps, values, color=color, label=label, marker="." if len(steps) == 1 else ""
            )
    if "mlm_accuracy" in names:
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    else:
        _choose_scale(axes)
    axes.set_xlabel("step")
    if many:
        _legend_below(axes)
    return _plot(title, axes)


def _stage_curves(stages: list[dict], name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns (steps, values) of each stage that logged `name`, averaged to CURVE_POINTS in all."""
    logged = [
        [(r["total_step"], r[name]) for r in stage["records"] if name in r] for stage in stages
    ]
    total = max(CURVE_POINTS, sum(map(len, logged)))
    curves = []
    for points in filter(None, logged):
        parts = np.array_split(points, max(1, len(points) * CURVE_POINTS // total))
        steps, values = np.array([part.mean(axis=0) for part in parts]).T
        curves.append((steps, values))
    return curves


def _choose_scale(axes) -> None:
    values = np.concatenate([line.get_ydata() for line in axes.lines])
    if values.min() > 0 and values.max() > LOG_FROM * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")  # the default writes formulas
        axes.yaxis.set_minor_formatter("")


def _shade_stages(axes, stages: list[dict]) -> None:
    style = {"transform": axes.get_xaxis_transform(), "fontsize": 7, "color": "#555"}
    style |= {"rotation": 40 if len(stages) > 2 else 0, "rotation_mode": "anchor"}
    label_every = 1 + len(stages) // 8  # there is room for eight names
    for number, stage in enumerate(stages):
        last = stage["records"][-1]["total_step"]
        first = last - stage["steps"]
        axes.axvspan(first, last, color="#e9eef5" if number % 2 else "#ffffff", linewidth=0)
        if number % label_every == 0:
            axes.text(first, 1.02, stage["name"], **style)


@_styled
def distances(before_and_after: dict[str, dict[str, list[float]]]) -> list[Plot]:
    """Returns bar charts by student layer.

    Args:
        before_and_after: {"before", "after", "end"} of layer_measures.map_distances.
    """
    plots = []
    for name in ("feature_map", "attention_map"):
        title = MEASURES[name]
        axes = _axes(bottom=0.25, top=0.97)
        for offset, when, label, color in (
            (-0.27, "before", "before transfer", "#b8c2cc"),
            (0.0, "after", "after transfer", "#1f77b4"),
            (0.27, "end", "end of the run", "#9ecae1"),
        ):
            values = before_and_after[when][name]
            axes.bar(np.arange(1, len(values) + 1) + offset, values, 0.27, color=color, label=label)
        axes.set_xlim(0.4, len(values) + 0.6)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("student layer")
        _legend_below(axes)
        plots.append(_plot(title, axes))
    return plots


@_styled
def layers_through_time(model: str, measures: list[dict]) -> list[Plot]:
    """Returns line charts of each measure over the steps of a run, a line for each layer.

    Args:
        model: name in the titles.
        measures: of layer_measures.read_measures.
    """
    titles = {name: title for name, title in MEASURES.items() if name in measures[0]}
    steps = [values["step"] for values in measures]
    plots = []
    for name, title in titles.items():
        axes = _axes(bottom=0.25)
        layers = np.array([values[name] for values in measures]).T  # [layers, records]
        for number, values in enumerate(layers):
            color = matplotlib.colormaps["viridis"](number / max(len(layers) - 1, 1))
            shown = number in (0, len(layers) - 1)
            label = f"layer {number + 1}" if shown else f"_layer {number + 1}"
            axes.plot(steps, values, color=color, label=label, marker=".", markersize=3)
        taught = [values.get(f"teacher_{name}") for values in measures]
        if taught[0] is not None:
            axes.axhline(np.mean(taught[0]), color="#777", linestyle=":", label="teacher's mean")
        _choose_scale(axes)
        axes.set_xlabel("step")
        _legend_below(axes)
        plots.append(_plot(f"{model}: {title}", axes))
    return plots


@_styled
def labelled_maps(pair: list[np.ndarray], tokens: list[str]) -> list[Plot]:
    """Returns the attention maps [T,T] of teacher and student, labelled with their tokens."""
    plots = []
    for name, values in zip(TEACHER_STUDENT, pair, strict=True):
        axes = Figure(figsize=(5.5, 5.5)).add_axes((0.2, 0.2, 0.79, 0.79))
        axes.imshow(np.sqrt(values), **_colors(pair))
        axes.set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=7)
        axes.set_yticks(range(len(tokens)), tokens, fontsize=7)
        plots.append(_plot(name, axes))
    return plots


def small_maps(pair: list[np.ndarray]) -> list[Plot]:
    """Returns the attention maps [T,T] of teacher and student, with a pixel for each entry."""
    plots = []
    for name, values in zip(TEACHER_STUDENT, pair, strict=True):
        file = io.BytesIO()
        matplotlib.image.imsave(file, np.sqrt(values), format="png", **_colors(pair))
        plots.append(Plot(name, _address("image/png", file)))
    return plots


def darkest(pair: list[np.ndarray]) -> float:
    """Returns the probability with the darkest colour, the same for both maps [T,T] of a pair."""
    return max(DARKEST / len(pair[0]), *(float(values.max()) for values in pair))


def _colors(pair: list[np.ndarray]) -> dict:
    """Returns the colour scale of the maps' square roots: most probabilities are small."""
    return {"cmap": "Blues", "vmin": 0, "vmax": np.sqrt(darkest(pair))}


@_styled
def latency(files: list[dict]) -> Plot | None:
    """Returns latency by number of tokens; None if it was not measured.

    Args:
        files: of run_report._files.
    """
    axes = _axes()
    for file in files:
        for threads in sorted({row["threads"] for row in file["latency"]}):
            rows = [row for row in file["latency"] if row["threads"] == threads]
            tokens, p50, p90 = ([row[k] for row in rows] for k in ("tokens", "p50_ms", "p90_ms"))
            label = f"{file['file']}, {threads} thread{'s' * (threads > 1)}"
            (line,) = axes.plot(tokens, p50, marker=".", label=label)
            axes.fill_between(tokens, p50, p90, color=line.get_color(), alpha=0.2, linewidth=0)
    if not axes.lines:
        return None
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("tokens")
    axes.set_ylabel("ms")
    axes.legend(loc="upper left", frameon=False, fontsize=8)
    return _plot("median line, band up to the 90th percentile", axes)


@_styled
def scores(accuracies: dict[str, list[float]], teachers: dict[str, list[float]]) -> Plot:
    """Returns held-out scores by group: a point for each run, the mean, two standard errors.

    Args:
        accuracies: of the runs of each group, 0 to 1; of sentence encoders, cosines.
        teachers: those of each group's teachers; each is a dotted line beside the group.
    """
    axes = _score_axes(len(accuracies))
    for row, (label, fractions) in enumerate(accuracies.items()):
        values, taught = 100 * np.array(fractions), 100 * np.array(teachers[label])
        error = 2 * values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0
        axes.errorbar(values.mean(), row, xerr=error, fmt="o", color="#1f77b4", capsize=3)
        axes.plot(values, [row] * len(values), "|", color="#555", markersize=9)
        lines = axes.vlines(taught, row - 0.5, row + 0.5, colors="#777", linestyles=":")
    if any(teachers.values()):
        axes.figure.legend([lines], ["teacher"], loc="lower right", frameon=False, fontsize=8)
    axes.set_yticks(range(len(accuracies)), list(accuracies))
    axes.set_ylim(len(accuracies) - 0.5, -0.5)
    axes.set_xlabel("%")
    title = "masked LM accuracy (of sentence encoders: cosine with the teacher) on held-out text"
    return _plot(f"{title}: mean, two standard errors, and each run", axes)


def _score_axes(groups: int):
    """Returns axes with 0.3 inches for each group, and margins for what stands around them."""
    figure = Figure(figsize=(7, 0.9 + 0.3 * groups))
    height = figure.get_figheight()
    return figure.add_axes((0.28, 0.45 / height, 0.69, 1 - 0.55 / height))


@_styled
def compared_curves(runs: dict[str, list[dict]]) -> list[Plot]:
    """Returns masked LM accuracy and loss on training batches over the steps, a line for each run.

    Args:
        runs: {label: history of a run}.
    """
    plots = []
    for name, title in (("mlm_accuracy", "masked LM accuracy on training batches"),
                        ("masked_lm", "masked LM loss on training batches")):  # fmt: skip
        axes = _axes(bottom=0.32)
        for label, records in runs.items():
            points = [(r["total_step"], r[name]) for r in records if name in r]
            if points:
                parts = np.array_split(points, min(len(points), CURVE_POINTS))
                axes.plot(*np.array([part.mean(axis=0) for part in parts]).T, label=label)
        if axes.lines:
            axes.set_xlabel("step")
            _legend_below(axes)
            plots.append(_plot(title, axes))
    return plots


@_styled
def compared_layers(runs: dict[str, list[dict]]) -> list[Plot]:
    """Returns each measure's mean over the layers over the steps, a line for each run that has it.

    Args:
        runs: {label: measures of layer_measures.read_measures}.
    """
    plots = []
    for name, title in MEASURES.items():
        axes = _axes(bottom=0.32)
        for label, measures in runs.items():
            points = [(m["step"], np.mean(m[name])) for m in measures if name in m]
            if points:
                axes.plot(*np.array(points).T, marker=".", markersize=3, label=label)
        if axes.lines:
            _choose_scale(axes)
            axes.set_xlabel("step")
            _legend_below(axes)
            plots.append(_plot(f"{title}; mean over layers", axes))
    return plots
