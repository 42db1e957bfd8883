"""Figures from saved results: they only draw what the JSON holds.

Promises: drawn without a display; the colours can be told apart with any colour vision and in grey.
"""

import math
import re
from collections.abc import Sequence
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

#: Okabe & Ito 2008, in an order whose greys differ too.
BLUE, ORANGE, GREEN, RED, PINK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "savefig.dpi": 150,
    # nothing overlaps, which takes half of the time of drawing
    "figure.constrained_layout.use": True,
    # the same picture is the same file
    "svg.hashsalt": "fnn",
    "svg.fonttype": "path",
}
mpl.rcParams.update(STYLE)
#: For figures at which nobody looks.
COARSE: dict[Any, Any] = {"figure.constrained_layout.use": False, "savefig.dpi": 40}


def blank(
    width: float, height: float, rows: int = 1, columns: int = 1, width_ratios: Any = None
) -> tuple[Figure, np.ndarray]:
    """A figure of this size in inches and its axes, as an array (rows, columns)."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, width_ratios=width_ratios)


def learning_curves(curves: dict[str, dict[str, list[float]]], apart: dict[str, dict[str, Any]]) -> Figure:
    """Loss and accuracy by hand and automatic, and how far the two trainings drift apart."""
    figure, ((loss, accuracy, drift),) = blank(13, 4.2, columns=3)
    # the automatic curve is dashed and on top: where the two agree, both are seen
    lines = {"by hand": {"color": BLUE, "lw": 3}, "automatic": {"color": ORANGE, "lw": 1.6, "ls": (0, (4, 3))}}
    for name, curve in curves.items():
        epochs = range(1, len(curve["loss"]) + 1)
        loss.plot(epochs, curve["loss"], label=f"train with penalty, {name}", **lines[name])
        accuracy.plot(epochs, 100 * np.array(curve["validation_accuracy"]), label=name, **lines[name])
    validation = curves["by hand"]["validation_loss"]
    loss.plot(range(1, len(validation) + 1), validation, color=GREEN, lw=1.6, ls=":", label="validation, by hand")
    loss.set(yscale="log", title="Loss", xlabel="epoch", ylabel="loss (nats per image)")
    loss.legend()
    accuracy.set(title="Validation accuracy", xlabel="epoch", ylabel="read correctly (%)")
    accuracy.legend(loc="lower right")
    for (dtype, each), bound, color in zip(apart.items(), (1e-4, 1e-10), (BLUE, ORANGE), strict=True):
        largest = np.array(each["pointwise_by_epoch"])
        epochs = np.arange(1, len(largest) + 1)
        # exact agreement has no place on a logarithmic axis
        drift.plot(epochs[largest > 0], largest[largest > 0], color=color, label=dtype)
        drift.axhline(bound, color=color, ls="--", lw=1, label=f"promised for {dtype}")
    drift.set(
        yscale="log", title="By hand against automatic", xlabel="epoch", ylabel="|difference| / loss, largest step"
    )
    drift.legend(fontsize=9, loc="center right")
    return figure


def confusion(counts: Sequence[Sequence[int]]) -> Figure:
    """The confusion matrix, with every count written out."""
    matrix = np.array(counts)
    figure, ((axes,),) = blank(6.4, 6)
    axes.grid(False)
    # the root lets single mistakes show beside three dozen right answers
    axes.imshow(np.sqrt(matrix), cmap="Blues")
    for (true, read), count in np.ndenumerate(matrix):
        if count:
            color = "white" if count > matrix.max() / 3 else "black"
            axes.text(read, true, str(count), ha="center", va="center", color=color)
    total = matrix.sum()
    axes.set(
        xticks=range(10), yticks=range(10), xlabel="digit that the net reads", ylabel="true digit",
        title=f"{np.trace(matrix)} of {total} test images read correctly",
    )  # fmt: skip
    axes.tick_params(length=0)
    return figure


def misread(wrong: Sequence[dict[str, Any]], confusion: Sequence[Sequence[int]]) -> Figure:
    """Misread test images, with the true digit and what the net read."""
    counts = np.array(confusion)
    total, count = counts.sum(), counts.sum() - np.trace(counts)
    columns = 6 if len(wrong) <= 18 else 8
    rows = max(math.ceil(len(wrong) / columns), 1)
    figure, axes = blank(1.5 * columns, 1.8 * rows + 0.4, rows, columns)
    for spot in axes.flat:
        spot.axis("off")
    for spot, each in zip(axes.flat, wrong, strict=False):
        spot.imshow(_square(each["image"]), cmap="gray_r", vmin=0, vmax=1)
        spot.set_title(f"{each['true']}, read as {each['read']}")
    rest = f", the first {len(wrong)} of them" if len(wrong) < count else ""
    figure.suptitle(f"{count} of {total} test images misread{rest}")
    return figure


def first_layer(units: Sequence[Sequence[float]]) -> Figure:
    """The weights into hidden units as pictures, all on one scale around zero."""
    columns = 8
    rows = math.ceil(len(units) / columns)
    figure, axes = blank(1.15 * columns + 1, 1.15 * rows + 0.7, rows, columns)
    limit = np.abs(np.array(units)).max()
    for spot in axes.flat:
        spot.axis("off")
    # PuOr is told apart by every colour vision; white is zero
    pictures = [
        spot.imshow(_square(weights), cmap="PuOr", vmin=-limit, vmax=limit)
        for spot, weights in zip(axes.flat, units, strict=False)
    ]
    figure.colorbar(pictures[0], ax=axes, label="weight (per unit of ink)", shrink=0.8)
    side = len(_square(units[0]))
    figure.suptitle(f"Weights from the {side} × {side} pixels into {len(units)} hidden units, those of largest norm")
    return figure


def _square(pixels: Sequence[float]) -> np.ndarray:
    """The pixels of a square image, one row after the other, as rows."""
    side = math.isqrt(len(pixels))
    return np.reshape(pixels, (side, side))


def decision_regions(
    x: Sequence[Sequence[float]], labels: Sequence[int], line: dict[str, Any], net: dict[str, Any], grid: dict[str, Any]
) -> Figure:
    """The best linear rule and the net, side by side: the plane coloured by class, the four points on top."""
    figure, (spots,) = blank(10, 5, columns=2)
    points, low, high = np.array(x), grid["low"], grid["high"]
    for axes, rule, title in zip(spots, (line, net), ("Best linear rule", "Net written by hand"), strict=True):
        axes.grid(False)
        scores = np.array(rule["scores"])
        side = np.linspace(low, high, len(scores))
        axes.contourf(side, side, scores, levels=[-np.inf, 0, np.inf], colors=[BLUE, ORANGE], alpha=0.35)
        axes.contour(side, side, scores, levels=[0], colors="black", linewidths=1.5)
        for value, marker, color in ((0, "o", BLUE), (1, "s", ORANGE)):
            chosen = points[np.array(labels) == value]
            axes.scatter(
                chosen[:, 0], chosen[:, 1], s=140, marker=marker, color=color, edgecolor="black", zorder=3,
                label=f"class {value}",
            )  # fmt: skip
        for n in np.flatnonzero(np.array(rule["read"]) != np.array(labels)):
            axes.scatter(*points[n], s=420, marker="x", color="black", zorder=4, linewidths=2, label="wrong")
        axes.set(
            title=f"{title}: {rule['correct']} of 4 right", xlabel="$x_1$", ylabel="$x_2$", aspect="equal",
            xticks=[0, 1], yticks=[0, 1], xlim=(low, high), ylim=(low, high),
        )  # fmt: skip
    handles, names = spots[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    return figure


def ratios(nets: list[dict[str, Any]]) -> Figure:
    """By hand over automatic, block by block, beside the null pair: automatic against itself."""
    figure, (axes,) = blank(11, 4.4, columns=2)
    for axis, what in zip(axes, ("step", "compile"), strict=True):
        for k, each in enumerate(nets):
            row = each[what]
            for shift, key, color, marker, label in (
                (-0.12, "null_ratios", ORANGE, "x", "automatic against itself"),
                (0.12, "ratios", BLUE, "o", "by hand against automatic"),
            ):
                values = np.array(row[key])
                axis.plot(np.full(len(values), k + shift), values, marker, color=color, label=label if k == 0 else None)
                axis.hlines(np.median(values), k + shift - 0.09, k + shift + 0.09, color=color, lw=3)
        axis.axhline(1, color="0.4", lw=1)
        axis.set_xticks(range(len(nets)), [f"{each['net']}\nbatch {each['batch']}" for each in nets], fontsize=9)
        axis.set(title=f"Time of one {'gradient' if what == 'step' else 'compilation'}", ylabel="ratio, bar: median")
        axis.set_xlim(-0.5, len(nets) - 0.5)
    axes[0].legend(fontsize=9)
    return figure


def detection(rejected: dict[str, list[float]], wrong: dict[str, list[float]], points: list[str]) -> Figure:
    """Per cent of wrong rules that each checker rejects at each kind of point, and of right nets that it rejects."""
    figure, (axes,) = blank(12, 0.5 * len(rejected) + 2.2, columns=2)
    for axis, table, title, colours in (
        (axes[0], rejected, "wrong rules rejected (%): 100 is best", "cividis"),
        (axes[1], wrong, "right nets rejected (%): 0 is best", "cividis"),
    ):
        names = list(rejected)
        values = np.array([table.get(name, [np.nan] * len(points)) for name in names])
        axis.imshow(values, cmap=colours, vmin=0, vmax=100, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                number = f"{value:.0f}" if value in (0, 100) else f"{value:.1f}"
                axis.text(column, row, number, ha="center", va="center", color="black" if value > 55 else "white")
        axis.set_xticks(range(len(points)), [point.replace(" x ", "\n× ") for point in points], fontsize=9)
        axis.set_yticks(range(len(names)), names if axis is axes[0] else [""] * len(names))
        axis.grid(False)
        axis.tick_params(length=0)
        axis.set_title(title)
    return figure


def training(jobs: dict[str, dict[str, Any]]) -> Figure:
    """How many times as long as `fnn` each library takes for an epoch, one panel per job."""
    figure, (axes,) = blank(4.2 * len(jobs), 3.8, columns=len(jobs))
    for axis, (job, row) in zip(axes, jobs.items(), strict=True):
        times = {peer: t for peer, t in row["times"].items() if "again" not in peer}
        names = sorted(times, key=lambda peer: times[peer], reverse=True)
        colors = [BLUE if name.startswith("fnn") else ORANGE for name in names]
        axis.barh(names, [times[name] for name in names], color=colors)
        for k, name in enumerate(names):
            axis.text(times[name], k, f" {times[name]:.2g} ×  {row['peers'][name]:.3g} ms", va="center", fontsize=9)
        axis.set(xscale="log", title=job, xlabel="time per epoch over ours")
        axis.set_xlim(right=max(times.values()) * 12)
        axis.grid(axis="y", visible=False)
    return figure


def growth(curves: dict[str, list[dict[str, float]]]) -> Figure:
    """Milliseconds per epoch against what was varied, one panel each, with a line of slope 1."""
    measured = {axis: rows for axis, rows in curves.items() if rows}
    figure, (axes,) = blank(3.4 * len(measured), 3.4, columns=len(measured))
    for axis, (what, rows) in zip(axes, measured.items(), strict=True):
        values = np.array([row["value"] for row in rows])
        times = np.array([row["milliseconds"] for row in rows])
        axis.plot(values, times, "o-", color=BLUE)
        if times[-1] > times[0]:
            axis.plot(values, times[-1] * values / values[-1], color="grey", lw=1, ls=":", label="in proportion")
        axis.set(xscale="log", yscale="log", title=what, xlabel=what.split(",")[0])
        axis.set_ylim(bottom=times.min() / 3, top=times.max() * 3)
    axes[0].set_ylabel("milliseconds per epoch")
    if axes[0].get_legend_handles_labels()[0]:
        axes[0].legend(fontsize=9)
    return figure


def beside(pictures: Sequence[str], titles: Sequence[str], heading: str) -> str:
    """Several pictures drawn by the package, side by side under their titles."""
    parts, left, tallest = [], 0.0, 0.0
    for picture, title in zip(pictures, titles, strict=True):
        (size,) = re.findall(r'viewBox="0 0 (\S+) (\S+)"', picture)
        width, height = map(float, size)
        parts += [f'<text class="own" x="{left + width / 2:g}" y="62" text-anchor="middle">{escape(title)}</text>']
        parts += [picture.replace("<svg ", f'<svg x="{left:g}" y="68" ', 1)]
        left, tallest = left + width, max(tallest, height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="fnn-light" viewBox="0 0 {left:g} {tallest + 68:g}" '
        f'width="{left:g}" height="{tallest + 68:g}" role="img" aria-label="{escape(heading)}">'
        f'<rect width="{left:g}" height="{tallest + 68:g}" fill="#ffffff"/>'
        f'<text class="own" x="{left / 2:g}" y="30" text-anchor="middle" style="font-size:17px">{escape(heading)}'
        f"</text>{''.join(parts)}</svg>\n"
    )
