"""`python -m experiments`: lists the experiments, explains their options, runs one.

Promises: the list and every `--help` answer without importing JAX; a result is saved before it is drawn, and drawn
from what was saved; whatever the user can mend is said in one sentence, with a non-zero exit status.
"""

import difflib
import importlib
import sys
from collections.abc import Sequence

from experiments import results
from experiments.options import EXPERIMENTS, summary

PROGRAM = "python -m experiments"
INSTALL = 'pip install -e ".[experiments]"'


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit status: 0 done, 1 it could not be done, 2 it was not understood."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(listing())
        return 0
    name, *rest = arguments
    if name not in EXPERIMENTS:
        nearest = difflib.get_close_matches(name, EXPERIMENTS, n=1, cutoff=0.4)
        hint = f"; perhaps {nearest[0]!r}?" if nearest else "."
        return _refuse(f"unknown experiment {name!r}{hint} Known: {', '.join(EXPERIMENTS)}.", 2)
    kind, module, *_ = EXPERIMENTS[name]
    try:
        import tyro
        from rich.console import Console

        from experiments.progress import shown
    except ModuleNotFoundError as missing:
        return _refuse(f"{missing.name} is not installed. Install what experiments need: {INSTALL}", 1)
    # what was asked for comes before JAX: a mistake in it shows at once
    options = tyro.cli(kind, args=rest, prog=f"{PROGRAM} {name}")
    try:
        results.claim(options.out)
        experiment = importlib.import_module(module)
        with shown(console := Console()) as watch:
            result = experiment.run(options, watch)
        saved = results.write(options.out, name, options, result, getattr(experiment, "judge", None))
    except (results.FolderError, FloatingPointError) as error:
        return _refuse(str(error), 1)
    except KeyboardInterrupt:
        return _refuse("stopped; nothing was written.", 130)
    experiment.show(saved, console)
    for claim, (verdict, evidence, _) in saved["verdicts"].items():
        console.print(f"{claim} {verdict}: {evidence}", highlight=False, markup=False, soft_wrap=True)
    names = [results.FILE]
    for file, figure in experiment.draw(saved).items():
        # a date in the file would make two equal pictures differ
        figure.savefig(options.out / file, metadata={"Date": None} if file.endswith(".svg") else None)
        names.append(file)
    console.print(f"\nWritten to {options.out}: {', '.join(names)}", highlight=False, soft_wrap=True)
    return 0


def listing() -> str:
    """What there is, one line each, and how to run it."""
    width = max(map(len, EXPERIMENTS))
    lines = [f"  {name:<{width}}  {summary(kind)}" for name, (kind, *_) in EXPERIMENTS.items()]
    usage = f"Run one:          {PROGRAM} NAME\nSee its options:  {PROGRAM} NAME --help"
    return "\n".join(["The experiments:", "", *lines, "", usage])


def _refuse(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
