"""The picture of a report: how far each leaf is from the truth, and where in the worst leaf.

Promises: drawn without a display, in colours and marks that readers with any colour vision can tell apart; at most ROWS
findings, the gravest, and at most CELLS × CELLS cells are drawn, and the picture says so if there are more.
Refuses: to draw without matplotlib, which the package itself does not need.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fnn.checker.findings import Finding, Verdict, culprits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: How many findings fit below each other, the length of their labels, and the cells of the map along one axis.
ROWS, LABEL, CELLS = 40, 44, 64
#: Colour (Okabe & Ito 2008) and mark of each verdict.
MARKS = {
    Verdict.OK: ("#009E73", "o"),
    Verdict.KINK: ("#56B4E9", "^"),
    Verdict.EXPECTED: ("#0072B2", "v"),
    Verdict.ASSUMES: ("#B8A800", "P"),
    Verdict.UNDECIDED: ("#E69F00", "s"),
    Verdict.PRECISION: ("#CC79A7", "D"),
    Verdict.FORMULA: ("#D55E00", "X"),
}
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "savefig.dpi": 150,
}


def draw(findings: tuple[Finding, ...], path: str | Path | None = None) -> "Figure":
    """Draw the error of every leaf, and the worst leaf entry by entry.

    Left: largest |by hand − truth| / largest |truth| of each leaf, the culprits on top. Right: by hand − truth of the
    worst leaf, with its worst entry framed. If everything is OK, this is rounding, and the title says so.

    Args:
        findings: those of a report from `fnn.check`.
        path: a file to write, .png or .pdf or .svg, or None.

    Returns:
        the matplotlib figure.

    Raises:
        ModuleNotFoundError: matplotlib is not installed. ValueError: there is no finding.
    """
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            f'a picture needs matplotlib, and {missing.name} is not installed: pip install -e ".[experiments]".',
            name=missing.name,
        ) from missing
    if not findings:
        raise ValueError("the report holds no finding, so there is nothing to draw. Check a function with floats.")
    wrong = culprits(findings)
    ordered = sorted(findings, key=lambda finding: _gravity(finding, wrong), reverse=True)
    shown = ordered[:ROWS]
    with mpl.rc_context(STYLE):
        # 0.24 inches hold one line of text of size 9 with a gap
        figure = Figure(figsize=(12, max(4.4, 1.7 + 0.24 * len(shown))), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
        _errors(figure, left, shown, len(ordered))
        _leaf(figure, right, next((finding for finding in ordered if finding.leaf is not None), None))
        title = f"NOT OK, wrong: {shortened(', '.join(wrong), 90)}" if wrong else "NOT OK"
        figure.suptitle("ok" if all(f.verdict.fine for f in findings) else title, fontweight="bold")
        if path is not None:
            figure.savefig(path)
    return figure


def _gravity(finding: Finding, wrong: tuple[str, ...]) -> tuple[bool, int, float]:
    """Culprits before what they explain, graver verdicts first, and of those the larger error."""
    relative = finding.relative
    size = math.inf if relative is None or not math.isfinite(relative) else relative
    return finding.verdict == Verdict.FORMULA and finding.rule in wrong, finding.verdict.gravity, size


# ---- left: the error of every leaf ----------------------------------------------------------------------------------


def _errors(figure: "Figure", axes: "Axes", shown: list[Finding], count: int) -> None:
    from matplotlib.lines import Line2D

    sizes = [f.relative for f in shown if f.relative and math.isfinite(f.relative)]
    # two decades of room on the left for exact agreement, which has no place on a logarithmic axis
    low = 10.0 ** (math.floor(math.log10(min(sizes, default=1e-16))) - 2)
    high = 10.0 ** (math.ceil(math.log10(max(sizes, default=1e-16))) + 1)
    for row, finding in enumerate(shown):
        color, mark = MARKS[finding.verdict]
        relative, note = finding.relative, ""
        if relative is None or not math.isfinite(relative):
            at = high
            note = "no number" if relative is None else "infinite" if relative == math.inf else "not a number"
        elif relative == 0:
            at, note = low, "exact"
        else:
            at = relative
        axes.hlines(row, low, at, color=color, lw=1.5, alpha=0.5)
        axes.plot(at, row, mark, color=color, ms=7, mec="white", mew=0.6, clip_on=False, zorder=3)
        if note:
            # a mark at the right edge has its note on the left
            side = -1 if at == high else 1
            axes.annotate(
                note, (at, row), (8 * side, 0), textcoords="offset points", fontsize=8, va="center",
                ha="right" if side < 0 else "left", bbox={"fc": "white", "ec": "none", "pad": 0.5},
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_yticks(range(len(shown)), [_label(f) for f in shown], fontsize=9)
    axes.tick_params(axis="y", length=0, pad=9)
    axes.grid(axis="x", alpha=0.3)
    rest = f", the gravest {len(shown)} of {count} leaves" if count > len(shown) else ""
    axes.set_title(f"Error of every leaf{rest}", fontsize=11)
    axes.set_xlabel("largest |by hand − truth| / largest |truth|")
    kinds = [verdict for verdict in reversed(Verdict) if any(f.verdict == verdict for f in shown)]
    marks = [Line2D([], [], color=MARKS[k][0], marker=MARKS[k][1], ls="", ms=7, label=k.value) for k in kinds]
    axes.legend(handles=marks, loc="upper center", bbox_to_anchor=(0.5, -0.6 / figure.get_figheight()),
                ncols=len(marks), frameon=False)  # fmt: skip


def shortened(text: str, width: int) -> str:
    """The text, without its middle if it is longer than `width`: both ends identify it."""
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"


def _label(finding: Finding) -> str:
    # the rule may use the space left by the argument, but at least half
    argument = shortened(finding.argument, LABEL // 2)
    return f"{shortened(finding.rule, LABEL - len(argument))} · {argument}"


# ---- right: one leaf, entry by entry --------------------------------------------------------------------------------


def _leaf(figure: "Figure", axes: "Axes", finding: Finding | None) -> None:
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import MaxNLocator

    if finding is None or finding.leaf is None:
        axes.axis("off")
        axes.text(0.5, 0.5, "no leaf could be compared", ha="center", va="center", transform=axes.transAxes)
        return
    by_hand, truth = (np.asarray(each, np.float64) for each in finding.leaf)
    with np.errstate(invalid="ignore"):
        difference = by_hand - truth
    table = difference.reshape(-1, difference.shape[-1] if difference.ndim else 1)
    cells, (tall, wide) = blocks(table)
    finite = np.abs(cells[np.isfinite(cells)])
    limit = float(finite.max(initial=0.0)) or 1.0
    # the power of ten is in the label: above the bar it would overlap the title
    power = math.floor(math.log10(limit)) if not 1e-2 <= limit < 1e3 else 0
    cells, limit = cells / 10.0**power, limit / 10.0**power
    # PuOr can be read with any colour vision; white is zero, and grey is not finite
    axes.set_facecolor("0.6")
    rows, columns = table.shape
    extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    # the last blocks may be narrower: the edges say where each one really ends
    across, down = (np.append(np.arange(0, size, step), size) - 0.5 for size, step in ((columns, wide), (rows, tall)))
    picture = axes.pcolormesh(
        across, down, np.ma.masked_invalid(cells), cmap="PuOr", vmin=-limit, vmax=limit,
        edgecolors="0.85" if max(cells.shape) <= 24 else "face", linewidth=0.4,
    )  # fmt: skip
    axes.set_xlim(extent[:2])
    axes.set_ylim(extent[2:])
    # cells are about square, and the panel is neither too flat nor too tall
    axes.set_box_aspect(min(max(rows / columns, 0.35), 1.0))
    axes.set_anchor("N")
    for side in axes.spines.values():
        side.set_visible(True)
    worst = int(np.argmax(np.where(np.isfinite(table), np.abs(table), np.inf)))
    row, column = divmod(worst, columns)
    top, start = row // tall * tall, column // wide * wide
    height, width = min(tall, rows - top), min(wide, columns - start)
    axes.add_patch(
        Rectangle((start - 0.5, top - 0.5), width, height, fill=False, ec="black", lw=2, clip_on=False, zorder=4)
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    if rows == 1:
        axes.set_yticks([])
    names = (
        "last axis" if difference.ndim > 1 else "entry",
        "axis 0" if difference.ndim < 3 else "row of (…, last axis)",
    )
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1] if rows > 1 or difference.ndim > 1 else "")
    if max(tall, wide) > 1:
        axes.set_xlabel(f"{names[0]}; each cell the largest of a {tall} × {wide} block")
    place = [int(k) for k in np.unravel_index(worst, difference.shape)]
    what = f"Worst leaf, {finding.verdict.value}"
    if finding.verdict == Verdict.OK:
        what = "Largest rounding error" + (" of the whole gradient" if finding.rule == "gradient" else "")
    numbers = f"by hand {by_hand.flat[worst]:.5g}, truth {truth.flat[worst]:.5g}"
    lines = what, _label(finding), *([f"framed: entry {place}"] if place else []), numbers
    axes.set_title("\n".join(lines), fontsize=10, loc="left")
    # as tall as the map, which separate axes would not be
    bar = figure.colorbar(picture, cax=axes.inset_axes((1.03, 0, 0.04, 1)))
    bar.set_label("by hand − truth" + (f", in $10^{{{power}}}$" if power else ""))
    bar.ax.yaxis.set_major_locator(MaxNLocator(5, symmetric=True))


def blocks(table: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """At most CELLS × CELLS cells, each the signed entry of largest size in its block, and the size of a block.

    >>> import numpy as np
    >>> cells, size = blocks(np.diag(-np.arange(100.0)))
    >>> cells.shape, size, float(cells[-1, -1])
    ((50, 50), (2, 2), -99.0)
    """
    rows, columns = table.shape
    tall, wide = (max(1, math.ceil(size / CELLS)) for size in (rows, columns))
    padded = np.zeros((math.ceil(rows / tall) * tall, math.ceil(columns / wide) * wide))
    padded[:rows, :columns] = table
    parts = padded.reshape(padded.shape[0] // tall, tall, -1, wide).swapaxes(1, 2).reshape(-1, tall * wide)
    # what is not finite counts as the largest of all
    largest = np.argmax(np.where(np.isfinite(parts), np.abs(parts), np.inf), axis=1)
    cells = parts[np.arange(len(parts)), largest]
    return cells.reshape(padded.shape[0] // tall, -1), (tall, wide)
