"""One experiment, from its options to its files.

Promises: a result is saved before it is drawn, and drawn from what was saved; the record names its figures, each with a
text for who cannot see it.
"""

import html
import importlib
import re
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from experiments import results
from experiments.options import EXPERIMENTS
from experiments.progress import Watch


def measure(name: str, options: Any, watch: Watch) -> tuple[ModuleType, dict[str, Any]]:
    """Run it and save the result, judged; return its module and the record."""
    results.claim(options.out)
    experiment = importlib.import_module(EXPERIMENTS[name].module)
    began = time.perf_counter()
    result = experiment.run(options, watch)
    taken = {"seconds": time.perf_counter() - began}
    result = result | {"measured": taken | result.get("measured", {})}
    saved = results.write(options.out, name, options, result, getattr(experiment, "judge", None))
    if hasattr(experiment, "predictions"):
        saved = results.store(options.out, saved | {"predictions": experiment.predictions(saved["result"])})
    return experiment, saved


def draw(experiment: ModuleType, folder: Path, saved: dict[str, Any]) -> dict[str, Any]:
    """Draw the figures into the folder and enter them in the record; return it."""
    figures = {}
    for file, figure in experiment.draw(saved).items():
        if isinstance(figure, str):
            # a picture that the package drew itself
            (folder / file).write_text(figure, encoding="utf-8")
            figures[file] = html.unescape(told[1]) if (told := re.search(r'aria-label="([^"]*)"', figure)) else file
            continue
        # a date in the file would make two equal pictures differ
        figure.savefig(folder / file, metadata={"Date": None} if file.endswith(".svg") else None)
        figures[file] = described(figure)
    return results.store(folder, saved | {"figures": figures})


def described(figure: Any) -> str:
    """What a figure shows, in the words that stand in it: titles, axes, names of the curves."""
    panels = [_panel(axes) for axes in figure.axes]
    heading = figure.get_suptitle()
    return ". ".join(text for text in (heading, *dict.fromkeys(panels)) if text)


def _panel(axes: Any) -> str:
    title, x, y = axes.get_title(), axes.get_xlabel(), axes.get_ylabel()
    against = f"{y} against {x}" if x and y else x or y
    # matplotlib calls curves without a name _child0, _child1, …
    named = [label for label in axes.get_legend_handles_labels()[1] if not label.startswith("_")]
    text = ": ".join(part for part in (title, against) if part)
    return " ".join(f"{text} ({'; '.join(dict.fromkeys(named))})".split()) if text and named else " ".join(text.split())
