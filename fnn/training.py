"""Training: a whole run in one compiled program, for any gradient and any optimizer.

Promises: the gradient is an argument, by hand or automatic, and nothing here knows which it got; state in, state
out; the same key, data and versions give the same bits, however the run is interrupted and taken up again; every row
is used once per epoch, the last incomplete batch included, which weighs what it holds. Data is looked at once, on the
host, before the first step.
Refuses: data that would train in silence (see `fnn.validate`), batches larger than the data.
Letters: N examples, B batch size, S = ⌈N / B⌉ steps per epoch, E epochs. Sources: claims A19, B6, E7, E8.
"""

import hashlib
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import faults, interrupts
from fnn.checkpoints import Checkpoints, Folder
from fnn.epochs import (
    CAPACITY,
    AnyOptimizer,
    Chunk,
    Metric,
    Numbers,
    Plan,
    Rows,
    TrainState,
    ValueAndGrad,
    advance,
    batches_of,
    floating_dtype,
    measuring_dtype,
    stopped,
)
from fnn.optimizers import Optimizer
from fnn.preparation import measured_names, objective_of, prepared, require_monitor, require_optimizer, require_options
from fnn.regularizers import Strength
from fnn.requirements import require_size
from fnn.types import Key, Params, PyTree

#: What one epoch measured, by name: "loss", and "validation_loss", "validation_accuracy" where they exist.
Metrics = dict[str, float]
#: How long one call of the compiled program may take, about: short enough to stop, to save and to show progress.
SECONDS = 0.25


class History(NamedTuple):
    """What a reader plots: one array per curve."""

    step_loss: np.ndarray
    """(E, S): the loss of every batch, before its update."""
    epochs: dict[str, np.ndarray]
    """name -> (E,): "loss" (mean over the rows of the epoch, penalty included), "validation_loss" (without penalty),
    "validation_accuracy", and the metrics that were asked for."""


def fit(
    value_and_grad: ValueAndGrad,
    params: Params | TrainState,
    data: tuple[Any, ...],
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
    on_not_finite: str = "stop",
    on_epoch: Callable[[int, Metrics], None] | None = None,
    checkpoints: Checkpoints | None = None,
) -> tuple[TrainState, History]:
    """Train with mini-batches, reshuffled every epoch.

    Args:
        value_and_grad: `fnn.backprop(net, loss)`, or `jax.value_and_grad(fnn.objective(net, loss))`, or any function
            (params, x, y) -> (value, gradients).
        params: where to start: parameters, or the `TrainState` of an earlier call, which is continued.
        data: (x, y) with N rows each, or (x, y, weights) with a weight per example; cast once to the dtype of the
            parameters, with a note.
        optimizer: any Optax transformation (build it once: two equal ones are two programs), a record such as
            `fnn.adam(1e-3)`, or a function of the learning rate such as `optax.adam`.
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
        on_not_finite: if a loss or a gradient is NaN or infinite: "stop" raises and names it, "skip" leaves the step
            out and counts it in `state.skipped`, "continue" goes on.
        on_epoch: called with (number of the epoch from 1, its metrics), soon after the epoch.
        checkpoints: where to keep them; a run that finds its own there goes on from the last.

    Returns:
        (state, history): `state.params` are the trained parameters.

    Raises:
        ValueError, TypeError: data, sizes or options that cannot be meant; before the first step.
        NotFiniteError: see `on_not_finite`; it holds the last good state.
        CheckpointError: checkpoints of another run, or a folder that cannot be used.

    >>> import optax
    >>> x, y = fnn.xor()
    >>> net = fnn.mlp(2, 4, 2)
    >>> state, history = fnn.fit(fnn.backprop(net, fnn.softmax_cross_entropy), net.init(jax.random.key(1)), (x, y),
    ...     optimizer=optax.adam(0.05), epochs=200, batch_size=4, key=jax.random.key(0))
    >>> float(fnn.accuracy(net.apply(state.params, x), y))
    1.0
    """
    objective = objective_of(value_and_grad)
    epochs = require_size("fit", "epochs", epochs, "Give an int of 1 or more, such as 60.")
    if not callable(value_and_grad):
        raise TypeError(f"fit: a gradient is needed; {value_and_grad!r} came. Make it with fnn.backprop(net, loss).")
    batch_size = require_size(
        "fit", "batch_size", batch_size, "Give an int: 1 is one example at a time, N the full batch."
    )
    accumulate = require_size("fit", "accumulate", accumulate, "Give 1 for an update after every batch.")
    require_optimizer(optimizer, learning_rate)
    require_options(patience, min_improvement, clip_norm, on_not_finite)
    given = params if isinstance(params, TrainState) else None
    start = params.params if isinstance(params, TrainState) else params
    if (key is None) == (given is None):
        raise ValueError(
            "fit: parameters come with a key for the shuffles, a state without, for it has its own. "
            + ("Give key=jax.random.key(0)." if key is None else "Leave key out.")
        )
    dtype = floating_dtype(start)
    rows = prepared(objective, start, data, "data", dtype)
    if batch_size > len(rows):
        raise ValueError(
            f"fit: batch_size {batch_size} is larger than the data, {len(rows)} rows. Use {len(rows)} or less."
        )
    held_out = None
    if validation is not None:
        if objective is None and not metrics:
            raise ValueError(
                "fit: validation needs a gradient that knows its objective; a bare function came. "
                "Give fnn.backprop(net, loss) or jax.value_and_grad(fnn.objective(net, loss)), or metrics."
            )
        held_out = prepared(objective, start, validation, "validation", dtype)

    measuring = measuring_dtype(start)
    numbers = Numbers(*(
        None if number is None else jnp.asarray(number, kind)
        for number, kind in ((learning_rate, dtype), (None, None), (clip_norm, dtype), (patience, jnp.int32))
    ), min_improvement=jnp.asarray(min_improvement, measuring))._replace(strength=strength)  # fmt: skip
    plan = Plan(
        value_and_grad, objective, optimizer, batch_size, accumulate, tuple((metrics or {}).items()),
        monitor if patience is not None else "", on_not_finite == "skip",
    )  # fmt: skip
    if given is not None:
        state = plan.watching(given, numbers)
    else:
        assert key is not None
        state = plan.start(start, key, numbers)
    require_monitor(plan, state, rows, held_out, monitor, patience)
    run = _Run(plan, rows, held_out, numbers, on_not_finite == "stop", int(state.epoch), int(state.epoch) + epochs)
    with ExitStack() as open_now:
        folder = told = None
        if checkpoints is not None:
            folder = open_now.enter_context(checkpoints.opened())
            told = _told(plan, rows, held_out, learning_rate, strength, clip_norm, patience, min_improvement)
            state = run.resumed(folder, state, told)
            pending = open_now.enter_context(interrupts.remembered())
        else:
            pending = bool
        return _trained(run, state, on_epoch, checkpoints, folder, told, pending)


def _trained(
    run: "_Run", state: TrainState, on_epoch: Any, checkpoints: Checkpoints | None, folder: Folder | None,
    told: dict[str, Any] | None, pending: Callable[[], bool],
) -> tuple[TrainState, History]:  # fmt: skip
    """Chunk after chunk until the run is over; saved in between, and before anything that ends it early."""
    saved, unsaved = time.monotonic(), False

    def save() -> None:
        if folder is not None and told is not None:
            folder.save(run.kept(state), told)

    try:
        while not run.over(state):
            state, finished = run.advanced(state)
            unsaved = True
            if on_epoch is not None:
                for number, found in finished:
                    on_epoch(number, found)
            if checkpoints is not None and time.monotonic() - saved >= checkpoints.seconds:
                save()
                saved, unsaved = time.monotonic(), False
            if pending():
                break
    except BaseException as error:
        # a callback that raises, or a second signal; what is not finite is not worth keeping
        if unsaved and not isinstance(error, faults.NotFiniteError):
            save()
        raise
    if unsaved:
        save()
    history = run.history()
    if "loss" in history.epochs and len(history.epochs["loss"]) and (says := faults.grown(history.epochs["loss"])):
        warnings.warn(f"fit: {says}", stacklevel=4)
    if state.best is not None:
        state = state._replace(params=state.best.params)
    return state, history


class _Run:
    """One run: what does not change, and the curves that grow."""

    def __init__(
        self, plan: Plan, rows: Rows, held_out: Rows | None, numbers: Numbers, stops: bool, began: int, until: int
    ) -> None:
        self.plan, self.rows, self.held_out, self.numbers = plan, rows, held_out, numbers
        self.stops, self.began, self.until = stops, began, until
        whole, tail = batches_of(len(rows), plan.batch_size)
        self.steps = whole + bool(tail)
        self.losses: list[np.ndarray] = []
        self.epochs: dict[str, list[np.ndarray]] = {}
        self.budget, self.calls = min(self.steps, CAPACITY), 0

    def over(self, state: TrainState) -> bool:
        return int(state.epoch) >= self.until or bool(stopped(state, self.numbers))

    def called(self, state: TrainState, budget: int) -> tuple[TrainState, Chunk]:
        return advance(
            self.plan, state, self.rows, self.held_out, self.numbers, np.int32(budget), np.int32(self.until)
        )  # fmt: skip

    def advanced(self, before: TrainState) -> tuple[TrainState, list[tuple[int, Metrics]]]:
        """The state after one call, and the epochs that it finished."""
        began = time.perf_counter()
        state, chunk = self.called(before, self.budget)
        chunk = jax.device_get(chunk)
        taken = time.perf_counter() - began
        losses = chunk.losses[: chunk.steps]
        bad = np.flatnonzero(~np.isfinite(losses))
        if self.stops and len(bad):
            done = sum(map(len, self.losses))
            options = {} if self.numbers.strength is None else {"strength": self.numbers.strength}
            raise faults.found(
                self.plan, self.rows, options, np.concatenate([*self.losses, losses]), done, int(bad[0]),
                lambda steps: self.called(before, steps)[0] if steps else before,
            )  # fmt: skip
        self.losses.append(losses)
        finished = []
        for k in range(int(chunk.finished)):
            found = {name: values[k] for name, values in chunk.epochs.items()}
            for name, value in found.items():
                self.epochs.setdefault(name, []).append(value)
            finished.append((len(self.epochs["loss"]) + self.began, {name: float(v) for name, v in found.items()}))
        self.calls += 1
        if self.calls > 1:
            # the first call compiled; after that as many steps as fit into the time, whole epochs if any
            fit = int(SECONDS * max(int(chunk.steps), 1) / max(taken, 1e-6))
            fit = max(1, min(fit, 4 * self.budget, CAPACITY))
            self.budget = fit - fit % self.steps if fit > self.steps else fit
        return state, finished

    def history(self) -> History:
        flat = np.concatenate(self.losses) if self.losses else np.zeros(0, np.float32)
        whole = len(flat) - len(flat) % self.steps
        return History(
            flat[:whole].reshape(-1, self.steps), {n: np.array(v, np.float64) for n, v in self.epochs.items()}
        )

    def kept(self, state: TrainState) -> PyTree:
        """What a checkpoint holds."""
        dtype = measuring_dtype(state.params)
        flat = np.concatenate(self.losses) if self.losses else np.zeros(0, dtype)
        names = measured_names(self.plan, state, self.rows, self.held_out)
        epochs = {name: np.asarray(self.epochs.get(name, []), dtype) for name in names}
        return {"state": state, "losses": flat.astype(dtype), "epochs": epochs}

    def resumed(self, folder: Folder, state: TrainState, told: dict[str, Any]) -> TrainState:
        """The state of the last good checkpoint in the folder, or the one that was given if there is none."""
        found = folder.latest(self.kept(state), told)
        if found is None:
            return state
        self.losses = [np.asarray(found["losses"])]
        self.epochs = {name: list(np.asarray(values)) for name, values in found["epochs"].items()}
        return found["state"]


def _told(plan: Plan, rows: Rows, held_out: Rows | None, *numbers: Any) -> dict[str, Any]:
    """What makes two runs the same run, as far as it can be written down."""
    names = ("learning_rate", "strength", "clip_norm", "patience", "min_improvement")
    given = {name: None if n is None else np.asarray(n).tolist() for name, n in zip(names, numbers, strict=True)}
    return {
        "objective": None if plan.objective is None else repr(plan.objective),
        "gradient": type(plan.value_and_grad).__name__,
        "optimizer": repr(plan.optimizer) if isinstance(plan.optimizer, Optimizer) else "of the user",
        "batch_size": plan.batch_size,
        "accumulate": plan.accumulate,
        "monitor": plan.monitor,
        "data": _digest(rows),
        "validation": None if held_out is None else _digest(held_out),
        **given,
    }


def _digest(rows: Rows) -> str:
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(rows):
        found.update(f"{leaf.shape}{leaf.dtype}".encode())
        found.update(np.ascontiguousarray(np.asarray(leaf)).view(np.uint8).data)
    return found.hexdigest()
