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
    axes = _panels(axes, shown)
    for panel, quantity in zip(axes, shown, strict=True):
        names = [name for name in (quantity, f"validation_{quantity}") if name in metrics]
        for name, style in zip(names, STYLES, strict=False):
            panel.plot(_epochs(metrics[name]), metrics[name], label=name.replace("_", " "), **style)
        _finish(panel, quantity)
        panel.legend(frameon=False)
    return axes


def sweep(curves: np.ndarray, best: int, fields: dict[str, Any], quantity: str, axes: Any = None) -> Any:
    """Draw one curve of every run, the best in colour; see `SweepResult.plot`."""
    (panel,) = axes = _panels(axes, [quantity])
    for curve in curves:
        panel.plot(_epochs(curve), curve, color="#8a8f98", linewidth=0.8, alpha=0.7)
    if best >= 0:
        named = ", ".join(f"{name}={value}" for name, value in fields.items())
        panel.plot(_epochs(curves[best]), curves[best], linewidth=2, label=f"best: {named}", **STYLES[0])
        panel.legend(frameon=False)
    _finish(panel, quantity)
    return axes


def _epochs(curve: np.ndarray) -> np.ndarray:
    return np.arange(1, len(curve) + 1)


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
