"""Training: a whole run in one compiled program, for any gradient and any optimizer.

Promises: the gradient is an argument, by hand or automatic, and nothing here knows which it got; state in, state
out; the same key, data and versions give the same bits, however the run is interrupted and taken up again; every row
is used once per epoch, the last incomplete batch included, which weighs what it holds. Data is looked at once, on the
host, before the first step.
Refuses: data that would train in silence (see `fnn.data.validate`), batches larger than the data.
Letters: N examples, B batch size, S = ⌈N / B⌉ steps per epoch, E epochs. Sources: claims A19, B6, E7, E8.
"""

import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import Any

from fnn.checks import require_key, require_size
from fnn.regularizers import Strength
from fnn.training import faults, progress
from fnn.training import signals as interrupts
from fnn.training.checkpoints import CheckpointError, Checkpoints
from fnn.training.config import Request
from fnn.training.run import History, Run, fingerprint
from fnn.training.source import Memory, Source, Streamed
from fnn.training.state import AnyOptimizer, Metric, Metrics, TrainState, ValueAndGrad
from fnn.training.stream import Stream
from fnn.types import Key, Params


def fit(
    value_and_grad: ValueAndGrad,
    params: Params | TrainState,
    data: tuple[Any, ...] | Stream,
    *,
    optimizer: AnyOptimizer,
    epochs: int,
    batch_size: int,
    key: Key | None = None,
    learning_rate: float | None = None,
    validation: tuple[Any, ...] | None = None,
    strength: Strength | None = None,
    clip_norm: float | None = None,
    accumulate: int = 1,
    metrics: Mapping[str, Metric] | None = None,
    patience: int | None = None,
    min_improvement: float = 0.0,
    monitor: str = "validation_loss",
    on_nonfinite: str = "stop",
    on_epoch: Callable[[int, Metrics], None] | None = None,
    checkpoints: Checkpoints | None = None,
    progress_bar: bool = False,
    log: str | PathLike[str] | None = None,
) -> tuple[TrainState, History]:
    """Train with mini-batches, reshuffled every epoch.

    Args:
        value_and_grad: `fnn.backprop(net, loss)`, or `jax.value_and_grad(fnn.objective(net, loss))`, or any function
            (params, x, y) -> (value, gradients).
        params: where to start: parameters, or the `TrainState` of an earlier call, which is continued.
        data: (x, y) with N rows each, or (x, y, weights) with a weight per example; cast once to the dtype of the
            parameters, with a note. Or a `Stream` of rows that need not fit into memory.
        optimizer: any Optax transformation (build it once: two equal ones are two programs), a record such as
            `fnn.optimizers.adam(1e-3)`, or a function of the learning rate such as `optax.adam`.
        epochs: E, how often every row is used, after those of a state that is continued.
        batch_size: B rows per step; 1 is one example at a time, N the full batch.
        key: for the shuffles; a state that is continued has its own.
        learning_rate: for an optimizer that is a function of it; other rates need no new program.
        validation: (x, y) to measure after every epoch; needs a gradient that knows its objective, or metrics.
        strength: of the regularizer, if the objective has one.
        clip_norm: gradients longer than this (norm over all parameters) are scaled down to it.
        accumulate: batches whose gradients are averaged for one update.
        metrics: {name: f(params, x, y)}, measured after every epoch on the data, and on the validation data as
            "validation_name".
        patience: stop after so many epochs without improvement, and return the best parameters; None never does.
        min_improvement: by how much the monitored value must get better to count.
        monitor: what early stopping watches: the name of anything measured; of a name that ends in "accuracy" more is
            better, of all others less.
        on_nonfinite: if a loss or a gradient is NaN or infinite: "stop" raises and names it, "skip" leaves the step
            out and counts it in `state.skipped`, "continue" goes on.
        on_epoch: called with (number of the epoch from 1, its metrics), soon after the epoch.
        checkpoints: where to keep them; a run that finds its own there goes on from the last.
        progress_bar: show a bar with loss, metrics, rate and time left on a terminal, plain lines elsewhere.
        log: a file that gets a JSON line for every epoch while the run goes on.

    Returns:
        (state, history): `state.params` are the trained parameters.

    Raises:
        ValueError, TypeError: invalid data, sizes or options; before the first step.
        NonFiniteError: see `on_nonfinite`; it holds the last good state.
        CheckpointError: checkpoints of another run, or a folder that cannot be used.

    >>> import optax
    >>> x, y = fnn.data.xor()
    >>> net = fnn.mlp(2, 4, 2)
    >>> state, history = fnn.fit(fnn.backprop(net, fnn.softmax_cross_entropy), net.init(jax.random.key(1)), (x, y),
    ...     optimizer=optax.adam(0.05), epochs=200, batch_size=4, key=jax.random.key(0))
    >>> float(fnn.accuracy(net.apply(state.params, x), y))
    1.0
    """
    epochs = require_size("fit", "epochs", epochs, "Give an int of 1 or more, such as 60.")
    if not isinstance(checkpoints, Checkpoints | None):
        raise TypeError(
            f"fit: checkpoints must be a record, got {checkpoints!r}. Give fnn.Checkpoints({checkpoints!r})."
        )
    given = params if isinstance(params, TrainState) else None
    if (key is None) == (given is None):
        raise ValueError(
            "fit: parameters come with a key for the shuffles, a state without, for it has its own. "
            + ("Give key=jax.random.key(0)." if key is None else "Leave key out.")
        )
    if key is not None:
        require_key("fit", key)
    request = Request(
        "fit", value_and_grad, params.params if isinstance(params, TrainState) else params, data, optimizer, batch_size,
        (learning_rate,), (strength,), validation, clip_norm, accumulate, metrics, patience, min_improvement, monitor,
        on_nonfinite,
    )  # fmt: skip
    job = request.job()
    if given is not None:
        state = job.config.watch(given, job.hyperparams)
    else:
        assert key is not None
        state = job.config.start(params, key, job.hyperparams)
    source: Source = Memory(job.data)
    if isinstance(data, Stream):
        source = Streamed(data, lambda piece: request.prepare(piece, "data"))
    last = int(state.epoch) + epochs
    run = Run(job, source, int(state.epoch), last, stops=on_nonfinite == "stop")
    request.require_monitor(job, state)
    with ExitStack() as opened:
        save, pending = _nothing, bool
        if checkpoints is not None:
            folder = opened.enter_context(checkpoints.opened())
            identity = fingerprint(job, data if isinstance(data, Stream) else job.data)
            state = run.resume(folder, state, identity)
            pending = opened.enter_context(interrupts.remembered())

            def save(state: TrainState) -> None:
                folder.save(run.snapshot(state), identity)

        watching: list[Callable[[int, Metrics], None]] = []
        if log is not None:
            watching.append(opened.enter_context(progress.written(Path(log), int(state.epoch))))
        if progress_bar:
            watching.append(opened.enter_context(progress.shown(int(state.epoch) + 1, last)))
        # the user's own last: it may raise, and what is done is to be written by then
        watching += [] if on_epoch is None else [on_epoch]
        seconds = float("inf") if checkpoints is None else checkpoints.every_seconds
        return _trained(run, state, watching, seconds, save, pending)


def _nothing(state: TrainState) -> None:
    """Save nowhere."""


def _trained(
    run: Run, state: TrainState, watching: list[Callable[[int, Metrics], None]], seconds: float,
    save: Callable[[TrainState], None], pending: Callable[[], bool],
) -> tuple[TrainState, History]:  # fmt: skip
    """Call after call until the run is over; saved in between, and before anything that ends it early."""
    saved, unsaved = time.monotonic(), False
    try:
        while not run.over(state) and not pending():
            state, finished = run.advance(state)
            unsaved = True
            for watch in watching:
                for number, values in finished:
                    watch(number, values)
            if time.monotonic() - saved >= seconds:
                save(state)
                saved, unsaved = time.monotonic(), False
    except (faults.NonFiniteError, CheckpointError):
        # what is not finite is not worth keeping, and what could not be saved cannot be saved again
        raise
    except BaseException:
        # a callback that raises, or a second signal
        if unsaved:
            save(state)
        raise
    if unsaved:
        save(state)
    history = run.history()
    curve = history.metrics.get("loss")
    if curve is not None and (message := faults.grown(curve)):
        warnings.warn(f"fit: {message}", stacklevel=3)
    if state.best is not None:
        state = state._replace(params=state.best.params)
    return state, history
