"""One experiment, from its options to its files.

Promises: precision and clock are set here and nowhere else; a result is saved before it is judged and drawn, and judged
and drawn from what was saved, so that whoever has the file can do both again; the record names its figures, each with a
text for readers who cannot see it. An experiment is its module, or anything with the same functions.
"""

import html
import re
import sys
import time
from pathlib import Path
from typing import Any

from experiments import frame, results
from experiments.progress import Watch, silent
from experiments.registry import load


def measure(name: str, experiment: Any, options: Any, watch: Watch) -> dict[str, Any]:
    """Run it and save the result, judged; return the record."""
    results.claim(options.out)
    saved = results.write(options.out, name, options, run(experiment, options, watch))
    return results.store(options.out, judged(experiment, saved))


def run(experiment: Any, options: Any, watch: Watch = silent) -> dict[str, Any]:
    """Run it in its precision, by the clock; return the result, times under "measured"."""
    import jax

    began = time.perf_counter()
    head = experiment.EXPERIMENT
    with jax.default_matmul_precision(head.precision), jax.enable_x64(head.x64):
        result = experiment.run(options, watch)
    return result | {"measured": {"seconds": time.perf_counter() - began} | result.get("measured", {})}


def judged(experiment: Any, record: dict[str, Any]) -> dict[str, Any]:
    """The record with predictions and verdicts as its result has them today."""
    made = experiment.predictions(record["result"]) if hasattr(experiment, "predictions") else {}
    sentences = {key: [each.sentence, each.held] for key, each in made.items()}
    return record | {"predictions": sentences, "verdicts": frame.judge(experiment, record["result"])}


def lines(record: dict[str, Any]) -> list[str]:
    """What became of the predictions and of the claims, a line each."""
    predicted = [f"{frame.WORDS[held]}: {sentence}" for sentence, held in record["predictions"].values()]
    return predicted + [f"{claim} {verdict}: {text}" for claim, (verdict, text, _) in record["verdicts"].items()]


def draw(experiment: Any, folder: Path, saved: dict[str, Any]) -> dict[str, Any]:
    """Draw the figures into the folder and enter them in the record; return it."""
    figures = {}
    for file, figure in experiment.draw(saved).items():
        if isinstance(figure, str):
            # a picture that the package drew itself
            (folder / file).write_text(figure, encoding="utf-8")
            label = re.search(r'aria-label="([^"]*)"', figure)
            figures[file] = html.unescape(label[1]) if label else file
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


def judge_again(file: Path) -> dict[str, Any]:
    """Judge a record anew, its numbers as they are, and write it back; return it. Raises `FolderError`."""
    record = results.read(file)
    if record is None or "result" not in record:
        raise results.FolderError(f"{file} holds no result. Run its experiment first.")
    return results.store(file.parent, judged(load(record["experiment"]), record), file.name)


if __name__ == "__main__":
    # after a change of a sentence or a verdict: python -m experiments.trial experiments/measured/*/results.json
    for name in sys.argv[1:]:
        judge_again(Path(name))
