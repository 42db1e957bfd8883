"""Sweeps: many runs in one compiled program, over seeds, learning rates, strengths, initializers and nets.

Promises: runs of equal nets are one vectorized program; nets of different shapes form groups with one program each; a
run whose values become NaN or infinite does not affect the others and is marked as failed; as many runs go together as
fit into the memory allowed, and the results do not depend on how many do.
Letters: M runs, E epochs, N rows, B batch size.
"""

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from fnn import notebook
from fnn.checks import require_dtype, require_size, warn
from fnn.initializers import get as get_initializer
from fnn.layers import Dense, Layer, with_parts
from fnn.tracing import traced
from fnn.training import curves, programs, signals
from fnn.training.checkpoints import Checkpoints, Folder, require_checkpoints
from fnn.training.config import Job, hashable, objective_of
from fnn.training.group import Group, Word
from fnn.training.identity import identity
from fnn.training.placement import placed
from fnn.training.program import advance, axes, stopped
from fnn.training.request import Request
from fnn.training.run import next_budget
from fnn.training.state import AnyOptimizer, Hyperparams, Metric, TrainState, ValueAndGrad, measuring_dtype
from fnn.types import DType, Key, Params, PyTree, is_key

FIELDS = ("seed", "learning_rate", "strength", "weight_init")

#: How many runs a notebook shows, the best first.
SHOWN = 20


@dataclass(frozen=True, eq=False)
class SweepResult:
    """The result of a sweep, one row per run.

    >>> found = fnn.sweep(
    ...     fnn.backprop(fnn.mlp(2, 4, 2), fnn.softmax_cross_entropy), fnn.data.xor(),
    ...     over=fnn.grid(seed=[0, 1], learning_rate=[0.01, 1.0]), optimizer=fnn.optimizers.sgd, epochs=20,
    ...     batch_size=4,
    ... )
    >>> found.runs[found.best]["learning_rate"], found.metrics["loss"].shape, found.failed.tolist()
    (1.0, (4, 20), [False, False, False, False])
    """

    runs: list[dict[str, Any]]
    """The fields of each run."""
    metrics: dict[str, np.ndarray]
    """name -> (M, E): what was measured after every epoch; NaN after a run had stopped."""
    params: list[Params]
    """The trained parameters of each run."""
    value: np.ndarray
    """(M,): the monitored measure at these parameters; NaN for a run that failed."""
    failed: np.ndarray
    """(M,): True for a run whose values became NaN or infinite."""
    best: int
    """The run with the best value; -1 if all failed."""
    nets: list[Layer] = field(default_factory=list)
    """The net of each run."""
    statistics: list[PyTree] = field(default_factory=list)
    """What layers such as batch normalization keep, for each run; `nets[k].evaluate(params[k], statistics[k], x)`."""

    def plot(self, metric: str = "loss", axes: Any = None) -> Any:
        """Draw one curve of every run with Matplotlib, the best in colour, and return the axes.

        Args:
            metric: the name of a curve of `metrics`.
            axes: where to draw; a new figure by default.
        """
        if metric not in self.metrics:
            raise ValueError(f"plot: metric must be one of {', '.join(self.metrics)}, got {metric!r}. Pick one.")
        return curves.sweep(self.metrics[metric], self.best, self._named(self.best), metric, axes)

    def _named(self, k: int) -> dict[str, Any]:
        """The fields of a run, and its net if there are several nets."""
        several = len(set(self.nets)) > 1
        return (self.runs[k] if self.runs else {}) | ({"net": self.nets[k]} if several else {})

    def __repr__(self) -> str:
        counts = f"Sweep of {len(self.runs)} runs, {int(self.failed.sum())} failed"
        return counts if self.best < 0 else f"{counts}, best: run {self.best} {self._named(self.best)}"

    def _repr_html_(self) -> str:
        order = sorted(range(len(self.runs)), key=lambda k: k != self.best)
        fields = tuple(self._named(0)) if self.runs else ()
        rows = [
            (str(k), *map(str, self._named(k).values()), "failed" if self.failed[k] else float(self.value[k]))
            for k in order[:SHOWN]
        ]
        more = [f"and {len(order) - SHOWN} more"] if len(order) > SHOWN else []
        return notebook.table(("run", *fields, "value"), rows, above=repr(self), below=more)


def grid(**fields: Iterable[Any]) -> dict[str, list[Any]]:
    """Return every combination of the values of the fields, as columns of equal length.

    Raises `TypeError` for a field that is not a sequence of values, such as a single number.

    >>> fnn.grid(seed=[0, 1], learning_rate=[0.1, 0.3])
    {'seed': [0, 0, 1, 1], 'learning_rate': [0.1, 0.3, 0.1, 0.3]}
    """
    for name, values in fields.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise TypeError(f"grid: {name} must be values to try, got {values!r}. Give a list: {name}=[{values!r}].")
    rows = list(itertools.product(*fields.values()))
    return {name: [row[k] for row in rows] for k, name in enumerate(fields)}


def sweep(
    value_and_grad: ValueAndGrad | Sequence[ValueAndGrad],
    data: tuple[Any, ...],
    *,
    over: Mapping[str, Sequence[Any]],
    optimizer: AnyOptimizer,
    epochs: int,
    batch_size: int,
    validation: tuple[Any, ...] | None = None,
    clip_norm: float | None = None,
    metrics: Mapping[str, Metric] | None = None,
    patience: int | None = None,
    min_improvement: float = 0.0,
    monitor: str | None = None,
    direction: str | None = None,
    shared_shuffle: bool = False,
    memory: int = 2**30,
    dtype: DType = jnp.float32,
    checkpoints: Checkpoints | None = None,
    mesh: Mesh | None = None,
) -> SweepResult:
    """Train many nets at once and return a `SweepResult` with one row per run.

    Args:
        value_and_grad: one gradient that knows its objective, for all runs; or a list with one for each run, as for
            different widths and depths.
        data: (x, y), or (x, y, weights), the same for all runs.
        over: {field: one value for each run}, of "seed" (initialization and shuffles), "learning_rate", "strength"
            (of the regularizer) and "weight_init" (an initializer, for every dense layer); `fnn.grid` makes all
            combinations.
        optimizer: as in `fnn.fit`; with "learning_rate" among the fields, a function of it such as `optax.adam`.
        epochs, batch_size: E epochs for every run, in batches of B rows.
        validation, clip_norm, metrics, patience, min_improvement, direction: as in `fnn.fit`.
        monitor: the measure that chooses the best run; by default "validation_loss" if there is validation data, else
            "loss".
        shared_shuffle: use one order of the rows, and one noise in layers such as dropout, for all runs: faster, but
            the runs are not independent.
        memory: about how many bytes the runs of one call may take on a device; more runs are split into more calls.
        dtype: the floating dtype of the parameters.
        checkpoints: where to keep them; a sweep that finds its own checkpoints there continues from the last one.
        mesh: devices to train on, those of other processes included: the runs are split over all of them, and none
            waits for another.

    Raises:
        ValueError, TypeError: unknown fields, unequal lengths, and what `fnn.fit` raises.
        CheckpointError: checkpoints of another sweep, or a folder that cannot be used.
        GroupError: another process failed, was lost, or was given a different sweep.
        KeyboardInterrupt: its attribute `result` is a `SweepResult` of the finished runs, or None.

    >>> import optax
    >>> x, y = fnn.data.xor()
    >>> found = fnn.sweep(fnn.backprop(fnn.mlp(2, 4, 2), "softmax_cross_entropy"), (x, y),
    ...     over=fnn.grid(seed=range(3), learning_rate=[0.01, 0.1]), optimizer=optax.adam, epochs=50, batch_size=4)
    >>> found.metrics["loss"].shape, found.runs[found.best]["learning_rate"]
    ((6, 50), 0.1)
    """
    placement = placed("sweep", mesh, members=True)
    group = Group(placement.processes > 1)
    with group.telling():
        columns = _columns(over)
        runs = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        epochs = require_size("sweep", "epochs", epochs, "Give an int of 1 or more, such as 60.")
        memory = require_size("sweep", "memory", memory, "Give bytes, such as 2**30.", limit=2**63)
        groups = _groups(value_and_grad, len(runs))
        way = _Way(epochs, memory, group, require_checkpoints("sweep", checkpoints))
        monitor, dtype = monitor or ("loss" if validation is None else "validation_loss"), require_dtype(dtype)
        requests: list[tuple[list[int], Request]] = []
        for gradient, numbers in groups.items():
            request = Request(
                "sweep", gradient, _shapes(gradient, dtype), data, optimizer, batch_size,
                tuple(runs[k].get("learning_rate") for k in numbers), tuple(runs[k].get("strength") for k in numbers),
                validation, clip_norm, 1, metrics, patience, min_improvement, monitor, direction, "continue",
                "shared" if shared_shuffle else "each", placement=placement,
            )  # fmt: skip
            requests.append((numbers, request))
    losses = {request.objective.loss for _, request in requests if request.objective is not None}
    if len(losses) > 1 and monitor.endswith("loss"):
        warn(
            f"sweep: {monitor} is of {len(losses)} different losses, {', '.join(sorted(map(str, losses)))}, which "
            'cannot be compared. Look at each run, or give validation=(x, y) and monitor="validation_accuracy".',
        )
    members: dict[int, _Member] = {}
    sign = requests[0][1].sign
    with signals.remembered(saves=checkpoints is not None or way.group.several) as received:
        try:
            for numbers, request in requests:
                mine = {k: runs[k] for k in numbers}
                # one by one, so that finished runs are kept when the next one raises
                members.update(_trained(request, mine, way, received))
        except BaseException as raised:
            error = way.group.named(raised)
            way.group.tell(error)
            raise _carrying(error, runs, members, sign) from None
    if received:
        raise _carrying(received.error("sweep"), runs, members, sign)
    return _result(runs, members, sign)


def _groups(value_and_grad: ValueAndGrad | Sequence[ValueAndGrad], count: int) -> dict[ValueAndGrad, list[int]]:
    """The numbers of the runs of each gradient: runs of one gradient are one program."""
    gradients = list(value_and_grad) if isinstance(value_and_grad, Sequence) else [value_and_grad] * count
    gradients = [hashable(each) for each in gradients]
    if len(gradients) != count:
        raise ValueError(
            f"sweep: there must be one gradient for each run, got {len(gradients)} for {count} runs. Give one for "
            "all, or as many as there are values."
        )
    groups: dict[ValueAndGrad, list[int]] = {}
    for k, gradient in enumerate(gradients):
        groups.setdefault(gradient, []).append(k)
    return groups


def _shapes(gradient: ValueAndGrad, dtype: DType) -> Params:
    """The parameters of its net, as shapes."""
    objective = objective_of(gradient)
    if objective is None:
        raise ValueError(
            "sweep: a gradient that knows its objective is needed, to make parameters, got a bare function. "
            "Give fnn.backprop(net, loss) or jax.value_and_grad(fnn.objective(net, loss))."
        )
    with traced("sweep", "initializer"):
        return jax.eval_shape(partial(objective.net.init, dtype=dtype), jax.random.key(0))


@dataclass(frozen=True)
class _Way:
    """How all runs of a sweep are trained."""

    epochs: int
    memory: int
    group: Group
    checkpoints: Checkpoints | None


@dataclass(frozen=True)
class _Member:
    """The result of one run."""

    net: Layer
    metrics: dict[str, np.ndarray]
    params: Params
    statistics: PyTree
    value: float


def _carrying(
    error: BaseException, runs: list[dict[str, Any]], members: dict[int, _Member], sign: float
) -> BaseException:
    """The error, with the runs that were finished, so that they are not lost."""
    note = f"{len(members)} of {len(runs)} runs were finished: they are in the attribute result." if members else ""
    return signals.carrying(error, note, result=_result(runs, members, sign) if members else None)


def _result(runs: list[dict[str, Any]], members: dict[int, _Member], sign: float) -> SweepResult:
    """The result of the finished runs, in their order."""
    numbers = sorted(members)
    done = [members[k] for k in numbers]
    value = np.array([each.value for each in done])
    failed = ~np.isfinite(value)
    best = -1 if failed.all() else int(np.nanargmin(np.where(failed, np.nan, sign * value)))
    curves = {name: np.stack([each.metrics[name] for each in done]) for name in done[0].metrics}
    return SweepResult(
        [runs[k] for k in numbers], curves, [each.params for each in done], np.where(failed, np.nan, value), failed,
        best, [each.net for each in done], [each.statistics for each in done],
    )  # fmt: skip


def _trained(
    request: Request, runs: dict[int, dict[str, Any]], way: _Way, received: signals.Received
) -> Iterator[tuple[int, _Member]]:
    """Train the runs of one net, numbered, as many at a time as fit into memory; if a signal arrives, return the
    finished ones."""
    assert request.objective is not None
    job = request.job()
    numbers, columns = list(runs), list(runs.values())
    keys = [jax.random.split(jax.random.key(run.get("seed", 0))) for run in columns]
    if request.runs == "shared":
        # one order for all, whatever device a run is on and whatever runs go together with it
        keys = [jnp.stack([key[0], keys[0][1]]) for key in keys]
    # parameters first, each made as its own run would make them
    with traced("sweep", "initializer"):
        starts = jax.device_get(
            [_start(_net_of(request, run), request.dtype, key) for run, (key, _) in zip(columns, keys, strict=True)]
        )
    one = jax.eval_shape(lambda p, k: job.config.start(p, k, _member(job.hyperparams, 0)), starts[0], keys[0][1])
    request.require_monitor(job, one)
    request.look_at_predictions(starts[0], job.rows)
    devices = job.config.placement.devices
    on_each = max(1, min(-(-len(runs) // devices), way.memory // _bytes(one, job.config.batch_size)))
    together = on_each * devices
    for first in range(0, len(runs), together):
        word = way.group.agree(Word(signal=received.first))
        received.take(word.signal)
        if word.signal:
            return
        # the last call is filled up, so that it needs no separate program and divides evenly over the devices
        places = [min(first + k, len(runs) - 1) for k in range(together)]
        some = dataclasses.replace(job, hyperparams=_member(job.hyperparams, np.array(places)))
        params = jax.tree.map(lambda *leaves: np.stack(leaves), *[starts[k] for k in places])
        states = programs.call(_starts, some, TrainState(params, (), keys[0][1], None), [keys[k][1] for k in places])
        part = _Part(some, numbers[first], columns[first : first + together], request)
        yield from ((numbers[first + k], member) for k, member in _members(part, states, way, received).items())


@dataclass(frozen=True)
class _Part:
    """Runs that go together."""

    job: Job
    number: int
    """The number of the first run."""
    runs: list[dict[str, Any]]
    """How many runs, without those that only fill up the call."""
    request: Request

    def identity(self, states: TrainState, epochs: int) -> dict[str, Any]:
        """What identifies these runs: the first one as `fit` would identify it, and the fields of all."""
        place = self.job.config.placement
        first = dataclasses.replace(self.job, hyperparams=_member(self.job.hyperparams, 0))
        state = jax.tree.map(lambda leaf: leaf[0], states)
        known = identity(first, place.host(self.job.data), state, on_nonfinite="continue")
        own = {"epochs": epochs, "runs": [repr(run) for run in self.runs], "order of the rows": self.request.runs}
        return known | own

    def cut(self, states: TrainState) -> TrainState:
        """The states of only these runs."""
        return jax.tree.map(lambda leaf: leaf[: len(self.runs)], states)

    def filled(self, states: TrainState, together: int) -> TrainState:
        """The states, padded to this number with copies of the last."""
        places = np.minimum(np.arange(together), len(self.runs) - 1)
        return jax.tree.map(lambda leaf: leaf[places], states)


def _members(part: _Part, states: TrainState, way: _Way, received: signals.Received) -> dict[int, _Member]:
    """Train these runs side by side to their end; return them by position, or, if a signal arrives first, those that
    had stopped."""
    together = _Together(part, states, way)
    with contextlib.ExitStack() as opened:
        together.resume(opened)
        together.train(received)
    return together.members()


class _Together:
    """Runs side by side in training: their states, their curves, and where both are kept."""

    def __init__(self, part: _Part, states: TrainState, way: _Way) -> None:
        self.part, self.states, self.way = part, states, way
        self.place = part.job.config.placement
        names = part.job.measured_names(jax.tree.map(lambda leaf: leaf[0], states))
        dtype = measuring_dtype(states.params)
        self.curves = {name: np.zeros((0, len(part.runs)), dtype) for name in names}
        """(epochs, runs), so that they grow on the first axis."""
        self.folder: Folder | None = None
        self.same: dict[str, Any] = {}

    @property
    def done(self) -> int:
        """Epochs that are finished."""
        return len(next(iter(self.curves.values())))

    @property
    def over(self) -> bool:
        return self.done >= self.way.epochs or bool(stopped(self.states, self.part.job.hyperparams))

    def resume(self, opened: contextlib.ExitStack) -> None:
        """Take the last checkpoint of these runs, if any are kept; the folder stays locked while it is `opened`."""
        way, part = self.way, self.part
        if way.checkpoints is None and not way.group.several:
            return
        self.same = part.identity(self.states, way.epochs)
        way.group.require_same("sweep", self.same)
        if way.checkpoints is None:
            return
        home = dataclasses.replace(way.checkpoints, folder=Path(way.checkpoints.folder) / f"run {part.number}")
        like = {"states": part.cut(self.states), "curves": self.curves}

        def latest() -> PyTree | None:
            self.folder = opened.enter_context(home.opened(self.place))
            return self.folder.latest(like, self.same)

        if (saved := way.group.from_first(latest, like)) is not None:
            self.states, self.curves = part.filled(saved["states"], len(self.states.epoch)), saved["curves"]

    def save(self) -> None:
        """Write a checkpoint; a process that has no folder helps to gather the states."""
        whole = {"states": self.part.cut(self.place.host(self.states)), "curves": self.curves}
        if self.folder is not None:
            self.folder.save(whole, self.same)

    def train(self, received: signals.Received) -> None:
        """Call after call until all runs are over or a signal arrives."""
        kept, group = self.way.checkpoints, self.way.group
        self.states = self.place.spread_out(self.states)
        budget, calls, saved_at, unsaved = 1, 0, time.monotonic(), False
        while not self.over:
            due = kept is not None and time.monotonic() - saved_at >= kept.every_seconds
            word = group.agree(Word(budget, due and unsaved, signal=received.first))
            received.take(word.signal)
            if kept is not None and unsaved and (word.save or word.signal):
                self.save()
                saved_at, unsaved = time.monotonic(), False
            # a signal received since then waits for the next exchange: the other processes do not know of it
            if word.signal:
                break
            began = time.perf_counter()
            steps = self.advance(word.budget)
            calls, unsaved = calls + 1, True
            if calls > 1:
                # the first call compiled; calls are short, so that a signal is noticed
                budget = next_budget(steps, time.perf_counter() - began, budget)
        if kept is not None and unsaved:
            self.save()

    def advance(self, budget: int) -> int:
        """Make one call of the program; return the steps that it took."""
        count = len(self.part.runs)
        self.states, chunk = advance(self.part.job, self.states, budget, self.way.epochs)
        chunk = jax.device_get(self.place.host(chunk))
        finished = int(chunk.finished)
        assert chunk.stopped is not None
        gone = chunk.stopped[:count, :finished]
        for name, values in chunk.metrics.items():
            new = np.where(gone, np.nan, values[:count, :finished])
            self.curves[name] = np.concatenate([self.curves[name], new.T.astype(self.curves[name].dtype)])
        return int(chunk.steps)

    def members(self) -> dict[int, _Member]:
        """The results of these runs; if they are not over, of those that had stopped early."""
        part, request, over, found = self.part, self.part.request, self.over, {}
        host = jax.device_get(self.place.host(self.states._replace(key=None)))
        # runs that all stopped early have no values beyond
        beyond = np.full((self.way.epochs - self.done, len(part.runs)), np.nan)
        curves = {name: np.concatenate([curve, beyond]).astype(np.float64) for name, curve in self.curves.items()}
        for place, run in enumerate(part.runs):
            state = jax.tree.map(lambda leaf, place=place: leaf[place], host)
            if not over and not bool(stopped(state, part.job.hyperparams)):
                continue
            mine = {name: values[:, place] for name, values in curves.items()}
            value, last = float(mine[request.monitor][-1]), state
            if (best := state.best) is not None:
                never = best.value == np.finfo(best.value.dtype).max
                value, last = np.nan if never else request.sign * float(best.value), best
            found[place] = _Member(_net_of(request, run), mine, last.params, last.statistics, value)
        return found


def _net_of(request: Request, run: dict[str, Any]) -> Layer:
    """The net of a run, with the weight initializer that the sweep names."""
    assert request.objective is not None
    net, name = request.objective.net, run.get("weight_init")
    return net if name is None else _initialized(net, name)


@partial(jax.jit, static_argnums=(0, 1))
def _start(net: Layer, dtype: Any, key: Key) -> Params:
    return net.init(key, dtype)


def _starts(job: Job, state: TrainState, keys: list[Key]) -> TrainState:
    """The states before the first step, for runs whose parameters lie side by side in `state`."""
    start = jax.vmap(job.config.start, in_axes=(0, 0, axes(job.hyperparams)))
    return start(state.params, jnp.stack(keys), job.hyperparams)


def _member(hyperparams: Hyperparams, k: Any) -> Hyperparams:
    """The entries of one run, or of several."""
    rate, strength = (None if each is None else each[k] for each in (hyperparams.rate, hyperparams.strength))
    return hyperparams._replace(rate=rate, strength=strength)


def _bytes(state: PyTree, batch_size: int) -> int:
    """About how many bytes one run takes: its state twice, gradients, and the values of one batch."""
    leaves = [leaf for leaf in jax.tree.leaves(state) if not is_key(leaf)]
    widths = sum(leaf.shape[-1] for leaf in jax.tree.leaves(state.params) if leaf.ndim)
    return 3 * sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) + 16 * batch_size * widths


def _initialized(layer: Any, name: Any) -> Any:
    """The layer with this initializer for the weights of every dense layer inside."""
    if isinstance(layer, Dense):
        return dataclasses.replace(layer, weight_init=get_initializer(name))
    return with_parts(layer, lambda part: _initialized(part, name)) if isinstance(layer, Layer) else layer


def _columns(over: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """The fields; raises unless they are known and of equal length."""
    if not isinstance(over, Mapping):
        raise TypeError(f"sweep: over must be a dict of columns, got {over!r}. Give fnn.grid(seed=range(3)).")
    unknown = [name for name in over if name not in FIELDS]
    if unknown:
        raise ValueError(
            f"sweep: unknown field {unknown[0]!r}; known are {', '.join(FIELDS)}. Nets: one gradient each."
        )
    single = [name for name, values in over.items() if isinstance(values, str) or not isinstance(values, Iterable)]
    if single:
        raise TypeError(
            f"sweep: {single[0]} must hold one value for each run, got {over[single[0]]!r}. Give a list, or make all "
            "combinations with fnn.grid."
        )
    columns = {name: list(values) for name, values in over.items()}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(
            f"sweep: every field must hold one value for each run, got {lengths or 'none'}. Make all "
            "combinations with fnn.grid(seed=…, learning_rate=…)."
        )
    columns["seed"] = [_seed(seed) for seed in columns["seed"]] if "seed" in columns else []
    return {name: values for name, values in columns.items() if values}


def _seed(seed: Any) -> int:
    """The seed as an int; raises unless each such seed makes a key of its own."""
    if isinstance(seed, bool) or not (isinstance(seed, int | np.integer) or _is_whole(seed)):
        raise TypeError(f"sweep: a seed must be a whole number, got {seed!r}. Give ints, such as range(10).")
    number = int(seed)
    wide = bool(jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]
    if not 0 <= number < (2**63 if wide else 2**32):
        raise ValueError(
            f"sweep: a seed must be at least 0 and below {'2**63' if wide else '2**32, beyond which seeds repeat'}, "
            f"got {number}. Give ints, such as range(10)."
        )
    return number


def _is_whole(seed: Any) -> bool:
    return isinstance(seed, jax.Array) and seed.ndim == 0 and jnp.issubdtype(seed.dtype, jnp.integer)
