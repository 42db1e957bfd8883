"""Pictures of curves: what `History.plot` and `SweepResult.plot` draw. Matplotlib is imported only when you ask for
one.

Promises: one panel per quantity, with the validation curve beside the training curve; epochs count from 1. Letters: E
epochs.
"""

from typing import Any

import numpy as np

#: As in the figures of the experiments: distinguishable in grey and by readers who are colour-blind.
STYLES = ({"color": "#0b5fa5"}, {"color": "#b3470b", "linestyle": "--"})


def history(metrics: dict[str, np.ndarray], axes: Any = None) -> Any:
    """Draw the curves of a run; see `History.plot`."""
    shown = list(dict.fromkeys(name.removeprefix("validation_") for name in metrics))
    if not shown:
        raise ValueError("plot: a history must hold an epoch to be drawn, got none. Train for one epoch or more.")
    axes = _panels(axes, shown)
    for panel, quantity in zip(axes, shown, strict=True):
        names = [name for name in (quantity, f"validation_{quantity}") if name in metrics]
        for name, style in zip(names, STYLES, strict=False):
            _draw(panel, metrics[name], label=name.replace("_", " "), **style)
        _finish(panel, quantity)
        panel.legend(frameon=False)
    return axes


def sweep(curves: np.ndarray, best: int, fields: dict[str, Any], quantity: str, axes: Any = None) -> Any:
    """Draw one curve of every run, the best in colour; see `SweepResult.plot`."""
    (panel,) = axes = _panels(axes, [quantity])
    for curve in curves:
        _draw(panel, curve, color="#8a8f98", linewidth=0.8, alpha=0.7)
    if best >= 0:
        named = ", ".join(f"{name}={value}" for name, value in fields.items())
        _draw(panel, curves[best], linewidth=2, label=f"best: {named}", **STYLES[0])
        panel.legend(frameon=False)
    _finish(panel, quantity)
    return axes


def _draw(panel: Any, curve: np.ndarray, **options: Any) -> None:
    """A curve over the epochs from 1; an epoch between two without a number is a point, which no line would show."""
    there = np.isfinite(np.concatenate([[np.nan], curve, [np.nan]]))
    alone = np.flatnonzero(there[1:-1] & ~there[:-2] & ~there[2:])
    panel.plot(np.arange(1, len(curve) + 1), curve, marker="o", markevery=alone.tolist(), **options)


def _panels(axes: Any, quantities: list[str]) -> Any:
    """The axes that were passed, or a new figure with one panel per quantity."""
    if axes is not None:
        axes = np.atleast_1d(axes).ravel()
        if len(axes) != len(quantities):
            raise ValueError(
                f"plot: axes must hold one for each of {', '.join(quantities)}, got {len(axes)}. Leave axes out for a "
                "new figure."
            )
        return axes
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "plot: the curves need matplotlib, got none installed. Install it: pip install matplotlib."
        ) from error
    figure, axes = pyplot.subplots(1, len(quantities), figsize=(4.5 * len(quantities), 3.2), squeeze=False)
    figure.set_layout_engine("constrained")
    return axes.ravel()


def _finish(panel: Any, quantity: str) -> None:
    from matplotlib.ticker import MaxNLocator

    # there is no epoch 2.5
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set(xlabel="epoch", ylabel=quantity.replace("_", " "))
    panel.spines[["top", "right"]].set_visible(False)
