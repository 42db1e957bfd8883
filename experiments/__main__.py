"""`python -m experiments`: lists the experiments, explains their options, runs one, several or all, makes the report.

Promises: the list and every `--help` answer without importing JAX; whatever the user can fix is said in one sentence,
with a non-zero exit status.
"""

import difflib
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from experiments import archives, results
from experiments.registry import EXPERIMENTS, load, summary

PROGRAM = "python -m experiments"
#: Words that are no experiment.
ALONE = ("all", "report")
INSTALL = 'pip install -e ".[experiments]"'


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the status.

    0 done, 1 could not be done, 2 not understood, 3 a claim is lost that the committed record confirms, 130 stopped.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(listing())
        return 0
    names = list(takewhile(lambda word: not word.startswith("-"), arguments))
    rest = arguments[len(names) :]
    if not names:
        return _refuse(f"the name of an experiment comes first: {PROGRAM} NAME {' '.join(rest)}", 2)
    for name in names:
        if name in ALONE and len(names) > 1:
            return _refuse(f"{name!r} stands alone: {PROGRAM} {name}. To run a few, name those.", 2)
        if name not in EXPERIMENTS and name not in ALONE:
            nearest = difflib.get_close_matches(name, [*EXPERIMENTS, *ALONE], n=1, cutoff=0.4)
            hint = f"; perhaps {nearest[0]!r}?" if nearest else "."
            return _refuse(f"unknown experiment {name!r}{hint} Known: {', '.join(EXPERIMENTS)}.", 2)
    try:
        return _understood(names, rest)
    except ModuleNotFoundError as missing:
        return _refuse(f"{missing.name} is not installed. Install what experiments need: {INSTALL}", 1)
    except (results.FolderError, archives.DataError, FloatingPointError) as error:
        return _refuse(str(error), 1)
    except KeyboardInterrupt:
        return _refuse("stopped; nothing was written.", 130)


def _understood(names: list[str], rest: Sequence[str]) -> int:
    import tyro

    # what was asked for is read before JAX is imported: a mistake in it shows at once
    def options(kind: type[Any], **defaults: Any) -> Any:
        return tyro.cli(kind, args=rest, prog=f"{PROGRAM} {' '.join(names)}", default=kind(**defaults))

    if names == ["report"]:
        from experiments import report

        print(f"Written: {report.write(options(report.Report).out)}")
        return 0
    if len(names) > 1 or names == ["all"] or "--quick" in rest:
        from rich.console import Console

        from experiments import series

        chosen = options(series.Series)
        return series.run(series.of_all() if names == ["all"] else list(dict.fromkeys(names)), chosen, Console())
    return _single(names[0], options(EXPERIMENTS[names[0]].options, out=Path("results", names[0])))


def _single(name: str, options: Any) -> int:
    from rich.console import Console

    from experiments import trial
    from experiments.progress import shown

    experiment = load(name)
    with shown(console := Console()) as watch:
        saved = trial.measure(name, experiment, options, watch)
    experiment.show(saved, console)
    for line in trial.lines(saved):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    saved = trial.draw(experiment, options.out, saved)
    names = [results.FILE, *saved["figures"]]
    console.print(f"\nWritten to {options.out}: {', '.join(names)}", highlight=False, soft_wrap=True)
    return trial.status(trial.lost(name, saved), options.allow_lost)


def listing() -> str:
    """All experiments, one line each, and how to run them."""
    width = max(map(len, EXPERIMENTS))
    lines = [f"  {name:<{width}}  {summary(each.options)}" for name, each in EXPERIMENTS.items()]
    usage = [
        f"Run one:            {PROGRAM} NAME",
        f"See its options:    {PROGRAM} NAME --help",
        f"Run several:        {PROGRAM} NAME NAME … [--quick]",
        f"Run all, report:    {PROGRAM} all [--quick]",
        f"Remake the report:  {PROGRAM} report",
    ]
    return "\n".join(["The experiments:", "", *lines, "", *usage])


def _refuse(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
