"""Several experiments, and one report on all: two at a time, those that judge times one after the other.

Promises: folders are tried before anything is computed; an experiment that fails is named and the others continue;
Ctrl-C leaves what is finished and a report on it; the status says how it ended.
"""

import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from typing import Any

from rich.console import Console

from experiments import archives, frame, report, results, trial
from experiments.progress import Watch, shown, silent
from experiments.registry import EXPERIMENTS, load, summary


@dataclass(frozen=True)
class Series(frame.Options):
    """Run several experiments, each into its own folder, and write one report on everything there.

    `all` leaves out what takes long or needs a quiet machine: for these the report uses the committed results.
    """

    quick: bool = False
    """Each in a small form of a few seconds: every line runs, the numbers may decide nothing."""


#: How a series ended: all done, some failed, stopped by Ctrl-C (128 + SIGINT, as a shell says it); or `trial.LOST`.
DONE, FAILED, STOPPED = 0, 1, 130
#: How many run at a time: enough for two cores, and with more there is memory to think of.
TOGETHER = 2
#: So many run in turn, with their progress shown.
FEW = 4


def of_all() -> list[str]:
    """The names of the experiments that `all` runs."""
    return [name for name, experiment in EXPERIMENTS.items() if not experiment.apart]


def run(names: Sequence[str], options: Series, console: Console) -> int:
    """Run the experiments in turn, write the report, and return how it ended. Raises `results.FolderError`."""
    chosen = {name: _options(name, options) for name in names}
    results.claim(options.out)
    for each in chosen.values():
        results.claim(each.out)
    status, began = DONE, time.perf_counter()
    try:
        ended = _scheduled(chosen, options, console) if len(chosen) > FEW else _in_turn(chosen, options, console)
        if not all(list(ended)):
            status = FAILED
    except KeyboardInterrupt:
        status = STOPPED
        print("stopped; what was finished before is kept.", file=sys.stderr)
    if status == DONE:
        ran = {name: results.read(each.out / results.FILE) or {} for name, each in chosen.items()}
        status = trial.status([line for name in ran for line in trial.lost(name, ran[name])], options.allow_lost)
    page = report.write(options.out)
    console.print(f"{time.perf_counter() - began:.0f} s. The report: {page}", highlight=False, soft_wrap=True)
    return status


def _scheduled(chosen: dict[str, Any], options: Series, console: Console) -> Iterator[bool]:
    """A few at a time, the longest first, and then in turn those that judge times; all of a quick form together."""
    # beside other work times mean little, which matters to no quick form
    alone = [name for name in chosen if EXPERIMENTS[name].once and not options.quick]
    beside = sorted((name for name in chosen if name not in alone), key=_seconds, reverse=True)
    yield from _together({name: chosen[name] for name in beside}, options, console)
    yield from _in_turn({name: chosen[name] for name in alone}, options, console)


def _seconds(name: str) -> float:
    """How long the experiment took when its record was made; experiments without a record come last."""
    measured = (results.read(trial.COMMITTED / name / results.FILE) or {}).get("measured", {})
    return measured.get("seconds_with_all_seeds", measured.get("seconds", 0.0))


def _in_turn(chosen: dict[str, Any], options: Series, console: Console) -> Iterator[bool]:
    """One after the other in this process: whether each ran to its end."""
    with _in_haste() if options.quick else nullcontext():
        for k, (name, each) in enumerate(chosen.items(), start=1):
            _say(console, f"[{k} of {len(chosen)}] {name}: {summary(type(each))}")
            with shown(console, keep=False) as watch:
                well, line = _outcome(name, each, watch)
            _say(console, line)
            yield well


def _together(chosen: dict[str, Any], options: Series, console: Console) -> Iterator[bool]:
    """A few at a time, each on a core of its own: whether each ran to its end, in the order in which they end.

    They compile, draw and train small nets, which keeps one core busy whatever XLA does.
    """
    pool = ProcessPoolExecutor(TOGETHER, get_context("spawn"), _undisturbed)
    try:
        running = {pool.submit(_outcome_there, name, each, options.quick): name for name, each in chosen.items()}
        with console.status(f"{len(chosen)} experiments, {TOGETHER} at a time"):
            for k, future in enumerate(as_completed(running), start=1):
                name = running[future]
                try:
                    well, line = future.result()
                except BrokenProcessPool:
                    well, line = False, "    FAILED: its process, or the one beside it, was killed"
                _say(console, f"[{k} of {len(chosen)}] {name}: {summary(type(chosen[name]))}")
                _say(console, line)
                yield well
    except BaseException:
        # Ctrl-C: nobody waits for what has begun
        for process in active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _undisturbed() -> None:
    """In a worker process: Ctrl-C is handled by the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _outcome_there(name: str, options: Any, quick: bool) -> tuple[bool, str]:
    with _in_haste() if quick else nullcontext():
        return _outcome(name, options, silent)


@contextmanager
def _in_haste() -> Iterator[None]:
    """A quick form computes very little: compiler and figures take nearly all of its time, so they do less."""
    import jax
    import matplotlib as mpl

    from experiments import figures

    option = "jax_disable_most_optimizations"
    before = jax.config.read(option)
    jax.config.update(option, True)
    try:
        with mpl.rc_context(figures.COARSE):
            yield
    finally:
        jax.config.update(option, before)


def _options(name: str, options: Series) -> Any:
    # of the whole module: other processes import it by its name
    chosen = load(name).EXPERIMENT
    return chosen.options(**(chosen.quick if options.quick else {}), seed=options.seed, out=options.out / name)


def _outcome(name: str, options: Any, watch: Watch) -> tuple[bool, str]:
    """Whether the experiment ran to its end; and its verdicts, or why it failed, in a line."""
    began, saved = time.perf_counter(), None
    try:
        experiment = load(name)
        saved = trial.measure(name, experiment, options, watch)
        saved = trial.draw(experiment, options.out, saved)
    # whatever one experiment stumbles over, the others can still run
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
        if not isinstance(error, FloatingPointError | archives.DataError | results.FolderError):
            traceback.print_exc()
        with suppress(OSError):
            results.fail(options.out, name, options, failure, saved)
        return False, f"    FAILED: {failure}"
    verdicts = [f"{claim} {trial.told(each)}" for claim, each in saved["verdicts"].items()]
    return True, "    " + "; ".join([f"{time.perf_counter() - began:.0f} s", *verdicts])


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
