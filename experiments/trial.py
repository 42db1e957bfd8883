"""One experiment, from its options to its files.

Promises: precision and clock are set only here; a result is saved before it is judged and drawn, and judged and drawn
from what was saved, so anyone who has the file can do both again; the record names its figures, each with a text for
readers who cannot see it. An experiment is its module, or anything with the same functions.
"""

import dataclasses
import html
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments import frame, results
from experiments.progress import Watch, silent
from experiments.registry import EXPERIMENTS, load

#: The records that are committed, a folder each.
COMMITTED = Path(__file__).parent / "measured"
#: The exit status where a claim is refuted or open that the committed record has as confirmed.
LOST = 3
#: Where a logarithmic axis ends at the latest.
LARGEST_DRAWN = 1e200


def of_its_own(name: str) -> Path:
    """The folder beside its module in which an experiment keeps its records; the others have theirs in `COMMITTED`."""
    return Path(__file__).parent / name / "measured"


def measure(name: str, experiment: Any, options: Any, watch: Watch) -> dict[str, Any]:
    """Run it, save the result, run it at the other seeds, and judge; return the record."""
    results.claim(options.out)
    saved = results.write(options.out, name, options, run(experiment, options, watch))
    others = list(_at_other_seeds(experiment, options, watch))
    if others:
        for key in ("seconds", "processor_seconds"):
            saved["measured"][f"{key}_with_all_seeds"] = saved["measured"][key] + sum(s[key] for _, s in others)
    saved["seeds"] = [values for values, _ in others]
    return results.store(options.out, judged(experiment, saved))


def run(experiment: Any, options: Any, watch: Watch = silent) -> dict[str, Any]:
    """Run it in its precision, by the clock; return the result, times under "measured"."""
    import jax

    began, worked = time.perf_counter(), time.process_time()
    head = experiment.EXPERIMENT
    with jax.default_matmul_precision(head.precision), jax.enable_x64(head.x64):
        result = experiment.run(options, watch)
    # beside other work the second tells more: what all threads of this process took of the processor
    spent = {"seconds": time.perf_counter() - began, "processor_seconds": time.process_time() - worked}
    return result | {"measured": spent | result.get("measured", {})}


def _at_other_seeds(experiment: Any, options: Any, watch: Watch) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """({key: the value that decides}, times) at each further seed; none in the quick form."""
    head = experiment.EXPERIMENT
    if small(head, options):
        return
    for k in range(1, head.seeds):
        again = dataclasses.replace(options, seed=options.seed + k, **head.again)
        result = run(experiment, again)
        # as it would be saved: a judge never sees anything else
        yield deciding(experiment.predictions(results.as_read(result))), result["measured"]
        watch("seeds", k, head.seeds - 1, f"seed {again.seed}")


def deciding(made: dict[str, Any]) -> dict[str, Any]:
    """{key: the value of the prediction that decides}."""
    return {key: each.worst for key, each in made.items()}


def small(head: Any, options: Any) -> bool:
    """Whether these options, an instance or as they are kept, are those of the experiment's quick form."""
    kept = options if isinstance(options, dict) else dataclasses.asdict(options)
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in kept.items()}
    quick = {key: list(value) if isinstance(value, tuple) else value for key, value in head.quick.items()}
    return bool(quick) and all(plain.get(key) == value for key, value in quick.items())


def judged(experiment: Any, record: dict[str, Any]) -> dict[str, Any]:
    """The record with predictions, criteria and verdicts as its result has them today."""
    head, result = experiment.EXPERIMENT, seen(record)
    made = experiment.predictions(result) if hasattr(experiment, "predictions") else {}
    verdicts = frame.judge(experiment, result, record.get("seeds", ()))
    if small(head, record.get("options", {})):
        aside = unjudged(head, made)
        for claim, judgement in verdicts.items():
            mine = set(frame.keys_of(head.claims[claim], made, claim))
            rest = frame.verdict(made[key].held for key in mine - aside)
            if mine & aside:
                verdicts[claim] = judgement._replace(verdict="not judged" if rest == "confirmed" else rest)
    return record | {
        "predictions": {key: [each.sentence, each.held, each.worst, each.words] for key, each in made.items()},
        "criteria": {claim: frame.digest(each) for claim, each in frame.criteria(experiment, made).items()},
        "verdicts": verdicts,
    }


def unjudged(head: Any, made: Iterable[str]) -> set[str]:
    """The keys of the predictions that the quick form does not judge."""
    return set(frame.keys_of(head.unjudged, made, "of the quick form"))


def seen(record: dict[str, Any]) -> dict[str, Any]:
    """What a judge sees of a record: its result, and its times under "measured"."""
    return record["result"] | {"measured": record.get("measured", {})}


def lines(record: dict[str, Any]) -> list[str]:
    """The outcome of the predictions and the claims, one line each."""
    predicted = [f"{frame.WORDS[held]}: {sentence}" for sentence, held, *_ in record["predictions"].values()]
    return predicted + [f"{claim} {told(judgement)}: {judgement[1]}" for claim, judgement in record["verdicts"].items()]


def told(judgement: Sequence[Any]) -> str:
    """The verdict, and at how many of the seeds that is so: "confirmed at 20 of 20 seeds"."""
    verdict, seeds = str(judgement[0]), list(judgement[3]) if len(judgement) > 3 else []
    if not seeds or verdict == "not judged":
        return verdict
    count = seeds.count("confirmed")
    elsewhere = {each: [str(k) for k, one in enumerate(seeds) if one == each] for each in seeds if each != "confirmed"}
    others = "; ".join(f"{each} at seed {', '.join(at)}" for each, at in elsewhere.items())
    if verdict == "confirmed":
        return f"confirmed at {count} of {len(seeds)} seeds{f' ({others})' if others else ''}"
    return f"{verdict} (confirmed at {count} of {len(seeds)} seeds; {others})"


def lost(name: str, record: dict[str, Any]) -> list[str]:
    """The claims that the committed record has as confirmed and this one as refuted or open.

    Of an experiment without claims, the predictions that held there and do not hold here.
    """
    committed = results.read(COMMITTED / name / results.FILE) or {}
    now = {claim: judgement[0] for claim, judgement in record.get("verdicts", {}).items()}
    if committed.get("predictions") and not committed["verdicts"]:
        made, head = record.get("predictions", {}), EXPERIMENTS[name]
        aside = unjudged(head, made) if small(head, record.get("options", {})) else ()
        return [
            f'"{sentence}", which held in the committed record, is {frame.WORDS[made[key][1]]}'
            for key, (sentence, held, *_) in committed["predictions"].items()
            if held is True and key in made and key not in aside and made[key][1] is not True
        ]
    return [
        f"{claim}, confirmed in the committed record, is {now[claim]}"
        for claim, judgement in committed.get("verdicts", {}).items()
        if judgement[0] == "confirmed" and now.get(claim) in ("refuted", "open")
    ]


def status(lost: Sequence[str], allowed: bool) -> int:
    """The exit status where these claims were lost, which are said: `LOST`, or 0 where that is allowed."""
    for each in lost:
        print(f"{each}. Where that is meant, pass --allow-lost.", file=sys.stderr)
    return LOST if lost and not allowed else 0


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
        for axes in figure.axes:
            _bounded(axes)
        # a date in the file would make two equal pictures differ
        figure.savefig(folder / file, metadata={"Date": None} if file.endswith(".svg") else None)
        figures[file] = described(figure)
    return results.store(folder, saved | {"figures": figures})


def _bounded(axes: Any) -> None:
    """A broken library lets numbers grow without bound: on a logarithmic axis the tick marks would be infinite."""
    for scale, limits, bound in (
        (axes.get_xscale(), axes.get_xlim(), axes.set_xlim),
        (axes.get_yscale(), axes.get_ylim(), axes.set_ylim),
    ):
        if scale == "log" and not max(limits) < LARGEST_DRAWN:
            bound(min(min(limits), LARGEST_DRAWN / 10), LARGEST_DRAWN)


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
    """Judge a record again, with its numbers unchanged, and write it back; return it. Raises `FolderError`."""
    record = results.read(file)
    if record is None or "result" not in record:
        raise results.FolderError(f"{file} holds no result. Run its experiment first.")
    return results.store(file.parent, judged(load(record["experiment"]), record), file.name)


if __name__ == "__main__":
    # after a change of a sentence or a verdict: python -m experiments.trial experiments/measured/*/results.json
    for name in sys.argv[1:]:
        judge_again(Path(name))
