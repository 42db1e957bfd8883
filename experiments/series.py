"""Several experiments, one after the other, and one report of all.

Promises: folders are tried before anything is computed; an experiment that fails is told and the others go on; Ctrl-C
leaves what is finished and a report of it; the status says how it ended.
"""

import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from rich.console import Console

from experiments import archives, report, results, trial
from experiments.options import EXPERIMENTS, summary
from experiments.options.series import Series
from experiments.progress import shown

#: How a series ended: all done, some failed, stopped by Ctrl-C (128 + SIGINT, as a shell says it).
DONE, FAILED, STOPPED = 0, 1, 130


def of_all() -> list[str]:
    """The names of the experiments that `all` runs."""
    return [name for name, experiment in EXPERIMENTS.items() if not experiment.apart]


def run(names: Sequence[str], options: Series, console: Console) -> int:
    """Run the experiments in turn, write the report, and return how it ended. Raises `results.FolderError`."""
    told = {name: _options(name, options) for name in names}
    results.claim(options.out)
    for each in told.values():
        results.claim(each.out)
    status, began = DONE, time.perf_counter()
    try:
        with _compiled_soon() if options.quick else nullcontext():
            for k, (name, each) in enumerate(told.items(), start=1):
                console.print(
                    f"[{k} of {len(told)}] {name}: {summary(type(each))}", markup=False, highlight=False, soft_wrap=True
                )
                if not _finished(name, each, console):
                    status = FAILED
    except KeyboardInterrupt:
        status = STOPPED
        print("stopped; what was finished before is kept.", file=sys.stderr)
    page = report.write(options.out)
    console.print(f"{time.perf_counter() - began:.0f} s. The report: {page}", highlight=False, soft_wrap=True)
    return status


@contextmanager
def _compiled_soon() -> Iterator[None]:
    """What a quick form computes is over in a moment: nearly all of its time is the compiler's, who then does less."""
    import jax

    option = "jax_disable_most_optimizations"
    before = jax.config.read(option)
    jax.config.update(option, True)
    try:
        yield
    finally:
        jax.config.update(option, before)


def _options(name: str, options: Series) -> Any:
    kind, _, _, quick, _ = EXPERIMENTS[name]
    return kind(**(quick if options.quick else {}), seed=options.seed, out=options.out / name)


def _finished(name: str, options: Any, console: Console) -> bool:
    """Whether the experiment ran to its end; says what it found or why it failed."""
    began, saved = time.perf_counter(), None
    try:
        with shown(console, keep=False) as watch:
            experiment, saved = trial.measure(name, options, watch)
            saved = trial.draw(experiment, options.out, saved)
    # whatever one experiment stumbles over, the others can still run
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
        console.print(f"    FAILED: {failure}", markup=False, highlight=False, soft_wrap=True)
        if not isinstance(error, FloatingPointError | archives.DataError | results.FolderError):
            traceback.print_exc()
        with suppress(OSError):
            results.fail(options.out, name, options, failure, saved)
        return False
    found = [f"{claim} {verdict}" for claim, (verdict, *_) in saved["verdicts"].items()]
    line = "; ".join([f"{time.perf_counter() - began:.0f} s", *found])
    console.print(f"    {line}", markup=False, highlight=False, soft_wrap=True)
    return True
