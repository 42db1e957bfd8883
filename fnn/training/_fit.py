"""Training: a whole run in one compiled program, for any gradient and any optimizer.

Promises: the gradient is an argument, written by hand or automatic, and nothing here knows which; state in, state out;
the same key, data and versions give the same bits, however often the run is interrupted and resumed; every row is used
once per epoch, those of the incomplete last batch included, which counts by its rows. Data is checked once, on the
host, before the first step.
Refuses: data that cannot be right, although training would accept it without complaint; batches larger than the data.
Letters: N examples, B batch size, S = ⌈N / B⌉ steps per epoch, E epochs. Sources: claims A19, B6, E7, E8.
"""

import inspect
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from os import PathLike
from typing import Any

import jax
from jax.sharding import Mesh

from fnn.checks import require_key, require_size, warn
from fnn.regularizers import Strength
from fnn.training import faults, progress, signals
from fnn.training.checkpoints import CheckpointError, Checkpoints, require_checkpoints
from fnn.training.config import Job
from fnn.training.group import Group, Word
from fnn.training.identity import identity
from fnn.training.placement import placed
from fnn.training.request import Request
from fnn.training.run import History, Run
from fnn.training.source import Memory, Source, Streamed
from fnn.training.state import AnyOptimizer, Metric, Metrics, TrainState, ValueAndGrad
from fnn.training.stream import Stream
from fnn.types import Key, Params

#: A callback of the user: (number of the epoch, its metrics, and the state after it if the callback takes one).
Watch = Callable[[int, Metrics, TrainState], None]


class StopTraining(Exception):
    """Raised by `on_epoch` to end a run early: `fit` returns the state and the history of that epoch.

    >>> def enough(number, metrics):
    ...     if metrics["loss"] < 0.5:
    ...         raise fnn.StopTraining
    >>> net = fnn.mlp(2, 4, 2)
    >>> state, history = fnn.fit(
    ...     fnn.backprop(net, fnn.softmax_cross_entropy), net.init(jax.random.key(1)), fnn.data.xor(),
    ...     optimizer=fnn.optimizers.adam(0.05), epochs=500, batch_size=4, key=jax.random.key(0), on_epoch=enough,
    ... )
    >>> int(state.epoch) < 500
    True
    """


def fit(
    value_and_grad: ValueAndGrad,
    params: Params | TrainState,
    data: tuple[Any, ...] | Stream,
    *,
    optimizer: AnyOptimizer,
    epochs: int,
    batch_size: int,
    key: Key | None = None,
    learning_rate: float | Callable[[Any], Any] | None = None,
    validation: tuple[Any, ...] | None = None,
    strength: Strength | None = None,
    clip_norm: float | None = None,
    accumulate: int = 1,
    metrics: Mapping[str, Metric] | None = None,
    patience: int | None = None,
    min_improvement: float = 0.0,
    monitor: str = "validation_loss",
    direction: str | None = None,
    on_nonfinite: str = "stop",
    on_epoch: Callable[..., None] | None = None,
    checkpoints: Checkpoints | None = None,
    progress_bar: bool = False,
    log: str | PathLike[str] | None = None,
    mesh: Mesh | None = None,
) -> tuple[TrainState, History]:
    """Train with mini-batches, reshuffled every epoch.

    Args:
        value_and_grad: `fnn.backprop(net, loss)`, `jax.value_and_grad(fnn.objective(net, loss))`, or any function
            (params, x, y) -> (value, gradients).
        params: where to start: parameters, or the `TrainState` of an earlier call, to continue it.
        data: (x, y) with N rows each, or (x, y, weights) with one weight per example, shape (N,). Floats are cast once
            to the dtype of the parameters, with a `CastWarning`; x may be any pytree that the net takes. Or a `Stream`
            of rows, which need not fit into memory.
        optimizer: an Optax transformation, a record such as `fnn.optimizers.adam(1e-3)`, or a function of the learning
            rate such as `optax.adam`.
        epochs: E, how many times every row is used; a continued state trains for E epochs more.
        batch_size: B rows per step; 1 is one example at a time, N the full batch.
        key: for the shuffles and the noise of layers such as dropout; leave it out when you continue a state, which has
            its own.
        learning_rate: a number or a schedule, for an optimizer that is a function of it; a new number needs no new
            compilation.
        validation: (x, y) or (x, y, weights), measured after every epoch; needs metrics, or a gradient that knows its
            objective.
        strength: of the regularizer, if the objective has one.
        clip_norm: gradients longer than this (norm over all parameters) are scaled down to it; with `accumulate`, the
            mean gradient is.
        accumulate: how many batches are averaged for one update, Σ |B| g_B / Σ |B|; the end of an epoch always makes an
            update.
        metrics: {name: f(params, x, y)}, measured after every epoch on the data, and on the validation data as
            "validation_name". If f has parameters named `sample_weight`, `net` or `statistics` (of layers such as batch
            normalization), it gets those too.
        patience: stop after this many epochs without improvement and return the best parameters; None: never stop
            early.
        min_improvement: how much better the monitored value must get to count as an improvement for `patience`.
        monitor: the name of the measure that early stopping watches.
        direction: "max" or "min", whichever is better; not needed if the name of the measure ends in "loss", "error" or
            "accuracy".
        on_nonfinite: what to do if a loss, a gradient or a parameter is NaN or infinite: "stop" raises an error that
            names it, "skip" leaves the step out and counts it in `state.skipped`, "continue" ignores it.
        on_epoch: called with (number of the epoch from 1, its metrics) soon after each epoch; if it takes a third
            argument, it gets the `TrainState` after the epoch. It may raise `fnn.StopTraining`, which ends the run at
            that epoch.
        checkpoints: where to keep them; a run that finds its own checkpoints there continues from the last one.
        progress_bar: show loss, metrics, epochs per second and time left, as a bar on a terminal and as plain lines
            elsewhere; at the end, say why the run ended and, with patience, which epoch's parameters are returned.
        log: name of a file to which a JSON line is appended after every epoch.
        mesh: devices to train on, those of other processes included: the rows of each batch are split over its axis
            "data", and wide layers over its axis "model" if it has one. With several processes, only the first writes
            files and calls `on_epoch`.

    Returns:
        (state, history): a `TrainState` and a `History` of one value per epoch, shape (E,), for each curve.
        `state.params` are the trained parameters; `net.evaluate(state.params, state.statistics, x)` predicts with any
        net.

    Raises:
        ValueError, TypeError: invalid data, sizes or options, before the first step.
        NonFiniteError: see `on_nonfinite`; the error holds the last good state.
        CheckpointError: checkpoints of another run, or a folder that cannot be used.
        GroupError: another process failed, was lost, or was given a different run. KeyboardInterrupt, and whatever a
            callback raises: with the run so far in the attributes `state` and `history`.

    >>> import optax
    >>> x, y = fnn.data.xor()
    >>> net = fnn.mlp(2, 4, 2)
    >>> state, history = fnn.fit(fnn.backprop(net, fnn.softmax_cross_entropy), net.init(jax.random.key(1)), (x, y),
    ...     optimizer=optax.adam(0.05), epochs=200, batch_size=4, key=jax.random.key(0))
    >>> float(fnn.accuracy(net.apply(state.params, x), y))
    1.0
    """
    placement = placed("fit", mesh)
    group = Group(placement.processes > 1)
    with group.telling():
        epochs = require_size("fit", "epochs", epochs, "Give an int of 1 or more, such as 60.")
        require_checkpoints("fit", checkpoints)
        given = _given(params, key)
        request = Request(
            "fit", value_and_grad, params if given is None else given.params, data, optimizer,
            batch_size, (learning_rate,), (strength,), validation, clip_norm, accumulate, metrics, patience,
            min_improvement, monitor, direction, on_nonfinite, key=key, placement=placement,
        )  # fmt: skip
        job = request.job()
        state = request.start(job) if given is None else request.go_on(job, given)
        source = _source(request, job, state.params if given is None else None)
        until = require_size("fit", "the number of epochs in all", int(state.epoch) + epochs, "Start over.")
        run = Run(job, source, state, until, on_nonfinite=on_nonfinite)
        run.watched = on_epoch is not None
        run.epoch_by_epoch = on_epoch is not None and _takes_state(on_epoch)
        request.require_monitor(job, state)
        same: dict[str, Any] = {}
        if checkpoints is not None or group.several:
            # what JAX reads from a function depends on where its arguments lie
            rows = data if isinstance(data, Stream) else placement.host(job.data)
            same = identity(job, rows, placement.host(state), on_nonfinite=on_nonfinite)
    agreed = {
        "number of rows": len(source),
        "epochs": epochs,
        "checkpoints": checkpoints is not None,
        "epoch by epoch": run.epoch_by_epoch,
    }
    group.require_same("fit", agreed | same)
    with ExitStack() as opened:
        opened.callback(source.close)
        received = opened.enter_context(signals.remembered(saves=checkpoints is not None or group.several))
        save: Callable[[TrainState], None] | None = None
        watches: list[progress.Watch] = []
        own: Watch | None = None
        with group.telling():
            if checkpoints is not None:
                home = checkpoints.opened(placement)
                state, folder = run.resume(group, lambda: opened.enter_context(home), state, same)
                save = partial(run.save, folder, same)
            if group.first:
                watches = _watches(opened, run, int(state.epoch), log, progress_bar=progress_bar)
                own = _called(on_epoch, with_state=run.epoch_by_epoch)
        every = float("inf") if checkpoints is None else checkpoints.every_seconds
        state = _trained(run, group, state, (watches, own), received, save, every)
    return _finished(run, state)


def _given(params: Params | TrainState, key: Key | None) -> TrainState | None:
    """The state to continue, or None for parameters, which come with a key."""
    given = params if isinstance(params, TrainState) else None
    if (key is None) == (given is None):
        raise ValueError(
            "fit: parameters need a key for the shuffles, and a state must come without one, since it has its own. "
            + ("Give key=jax.random.key(0)." if key is None else "Leave key out.")
        )
    if key is not None:
        require_key("fit", key)
    return given


def _source(request: Request, job: Job, params: Params | None) -> Source:
    """Where the rows come from; for a new run, the first predictions are checked."""
    data, look = request.data, None if params is None else partial(request.look_at_predictions, params)
    if isinstance(data, Stream):
        return Streamed(data, request.prepare_piece, look)
    if look is not None:
        look(job.rows)
    return Memory(job.rows)


def _called(on_epoch: Callable[..., None] | None, *, with_state: bool) -> Watch | None:
    """The callback of the user, called with the state if it takes one."""
    if on_epoch is None:
        return None
    return partial(_shown, on_epoch) if with_state else lambda number, values, state: on_epoch(number, values)


def _shown(on_epoch: Callable[..., None], number: int, values: Metrics, state: TrainState) -> None:
    """Call on_epoch with the state in containers of its own: otherwise the run would train on what it puts into
    them."""
    shown = jax.tree.map(lambda leaf: leaf, state)
    on_epoch(number, values, shown)
    before, after = jax.tree.leaves(state), jax.tree.leaves(shown)
    if len(before) != len(after) or any(one is not other for one, other in zip(before, after, strict=True)):
        raise ValueError(
            "fit: on_epoch must not change the state, got one that it changed. To change parameters or a rate between "
            "epochs, let fit return, then continue from the state."
        )


def _watches(
    opened: ExitStack, run: Run, done: int, log: str | PathLike[str] | None, *, progress_bar: bool
) -> list[progress.Watch]:
    """Everything that is written after each epoch."""
    watches: list[progress.Watch] = []
    if log is not None:
        watches.append(opened.enter_context(progress.written(log, done, own=run.resumed)))
    if progress_bar:
        watches.append(opened.enter_context(progress.shown(done + 1, run.until, run.pace, lambda: run.ending)))
    return watches


def _takes_state(on_epoch: Callable[..., None]) -> bool:
    """Whether a callback requires a third argument; raise unless it can be called."""
    remedy = "Give on_epoch=f with f(number, metrics) or f(number, metrics, state)."
    if not callable(on_epoch):
        raise TypeError(f"fit: on_epoch must be a function, got {on_epoch!r}. {remedy}")
    for kind, is_one in (("coroutine", inspect.iscoroutinefunction), ("generator", inspect.isgeneratorfunction)):
        if is_one(on_epoch):
            raise TypeError(
                f"fit: on_epoch must run when it is called, got a {kind} function, which does not. {remedy}"
            )
    try:
        signature = inspect.signature(on_epoch)
    except (TypeError, ValueError):
        return False
    parameters = list(signature.parameters.values())
    if not (_binds(signature, 2) or _binds(signature, 3)):
        name = getattr(on_epoch, "__name__", type(on_epoch).__name__)
        raise TypeError(f"fit: on_epoch must take (number, metrics), got {name}{signature}. {remedy}")
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty]
    return len(places) >= 3 or any(p.kind is p.VAR_POSITIONAL for p in parameters)


def _binds(signature: inspect.Signature, count: int) -> bool:
    """Whether a function can be called with so many arguments."""
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _trained(
    run: Run, group: Group, state: TrainState, watched: tuple[list[progress.Watch], Watch | None],
    received: signals.Received, save: Callable[[TrainState], None] | None, seconds: float,
) -> TrainState:  # fmt: skip
    """Call after call until the run is over; it is saved in between, and before anything ends it early."""
    saved, unsaved, enough = time.monotonic(), False, 0
    try:
        while True:
            over = run.over(state)
            if not (over or enough or received or run.fault):
                run.source.make_ready(run.job, state)
            due = save is not None and unsaved and time.monotonic() - saved >= seconds
            word = group.agree(Word(run.budget, due, enough, received.first))
            if word.enough:
                # only the first process has a callback, called for each epoch after a call that may have gone further
                state, enough, run.enough = run.back_to(state, word.enough), word.enough, True
            elif run.fault is not None:
                raise run.fault
            if word.save and save is not None:
                save(state)
                saved, unsaved = time.monotonic(), False
            received.take(word.signal)
            # a signal received since then waits for the next exchange: the other processes do not know of it and would
            # step alone
            if over or word.enough or word.signal:
                break
            run.budget = word.budget
            state, finished = run.advance(state)
            unsaved = True
            # with several processes, one must not ask on its own for an array that is spread over all
            seen = run.job.config.placement.host(state) if group.several and run.epoch_by_epoch else state
            enough = _watched(*watched, finished, seen)
    except (faults.NonFiniteError, CheckpointError) as error:
        # a state that is not finite is not worth keeping, and one that could not be saved is not tried again
        group.tell(error)
        raise _carrying(error, getattr(error, "state", state), run) from None
    except BaseException as raised:
        # a callback that raises, a second signal, or another process
        error = group.named(raised)
        if run.fault is not None:
            # the call continued to values that are not finite
            state, unsaved = run.fault.state, False
        saves = unsaved and save is not None and getattr(error, "saves", True)
        group.tell(error, saves=saves)
        if saves and save is not None:
            try:
                save(state)
            except CheckpointError as failed:
                error.add_note(str(failed))
        raise _carrying(error, state, run) from None
    try:
        if unsaved and save is not None:
            save(state)
        received.take(group.agree(Word(signal=received.first)).signal)
    except (RuntimeError, ValueError) as raised:
        # raised by a checkpoint, the group, or the runtime
        error = group.named(raised)
        group.tell(error)
        raise _carrying(error, state, run) from None
    if received:
        where = f"fit, epoch {int(state.epoch) + 1} of {run.until}"
        raise _carrying(received.error(where), state, run)
    run.end(state, enough=run.enough)
    return state


def _watched(
    watches: list[progress.Watch], on_epoch: Watch | None, finished: list[tuple[int, Metrics]], state: TrainState
) -> int:
    """The epoch at which `on_epoch` stopped the run, or 0; logs and progress end there too."""
    number, rest = 0, iter(finished)
    try:
        for number, values in rest:
            for watch in watches:
                watch(number, values)
            if on_epoch is not None:
                on_epoch(number, values, state)
    except (StopTraining, StopIteration):
        return number
    except BaseException:
        # the error carries the state after the whole call, so the remaining epochs of the call are written too
        for each, values in rest:
            for watch in watches:
                watch(each, values)
        raise
    return 0


def _carrying(error: BaseException, state: TrainState, run: Run) -> BaseException:
    """The error, with the work done so far."""
    note = "The run so far is in the attributes state and history of this error."
    return signals.carrying(error, note, state=state, history=run.history())


def _finished(run: Run, state: TrainState) -> tuple[TrainState, History]:
    """What `fit` returns, with a warning if a curve shows trouble."""
    history = run.history()
    curve = history.metrics.get("loss")
    if curve is not None and (message := faults.grown(curve)):
        warn(f"fit: {message}")
    steps = history.step_loss.size
    if steps and int(state.skipped) >= steps:
        warn(
            f"fit: all {steps} steps were left out, because each had a loss or a gradient that is not finite; the "
            'parameters are those of the start. Check the data, or find the place with on_nonfinite="stop".',
        )
    if state.best is not None:
        state = state._replace(params=state.best.params, statistics=state.best.statistics)
    return state, history
