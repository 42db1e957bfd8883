"""One run: the compiled program called chunk after chunk, and the curves that grow.

Promises: the way a run is cut into calls changes no bit; the calls are short, so a run can be watched, saved and
stopped.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from fnn import notebook
from fnn.checks import warn
from fnn.training import curves, faults
from fnn.training.checkpoints import Folder
from fnn.training.config import Job
from fnn.training.group import Group
from fnn.training.program import CAPACITY, stopped
from fnn.training.source import Source
from fnn.training.state import ChunkMetrics, Metrics, TrainState, measuring_dtype
from fnn.types import PyTree

#: About how long one call of the compiled program may take: short enough to stop, to save and to show progress.
SECONDS = 0.25
#: A call takes at most this many times the steps of the one before: the first few are short whatever the clock says.
GROWTH = 4


def next_budget(steps: int, seconds: float, budget: int) -> int:
    """How many steps the next call may take, if the last one, allowed `budget`, took `steps` in `seconds`."""
    return max(1, min(int(SECONDS * max(steps, 1) / max(seconds, 1e-6)), GROWTH * budget, CAPACITY))


class History(NamedTuple):
    """What a reader plots: one array per curve.

    >>> net, (x, y) = fnn.mlp(2, 4, 2), fnn.data.xor()
    >>> by_hand, params = fnn.backprop(net, fnn.softmax_cross_entropy), net.init(jax.random.key(0))
    >>> state, history = fnn.fit(
    ...     by_hand, params, (x, y), optimizer=fnn.optimizers.sgd(0.1), epochs=3, batch_size=2, key=jax.random.key(1)
    ... )
    >>> history.step_loss.shape, {name: curve.shape for name, curve in history.metrics.items()}
    ((3, 2), {'loss': (3,)})
    """

    step_loss: np.ndarray
    """(E, S): the loss of every batch, before its update; NaN for steps taken by an earlier call."""
    metrics: dict[str, np.ndarray]
    """name -> (E,): "loss" (mean over the rows of the epoch, penalty included), "validation_loss" (without penalty),
    "validation_accuracy", and the metrics that you passed."""

    def __repr__(self) -> str:
        """Show the first and the last value of each curve; the arrays themselves fill pages.

        >>> fnn.training.History(np.zeros((2, 1)), {"loss": np.array([2.0, 1.0])})
        History of 2 epochs: loss 2 → 1
        """
        told = [f"{name} {curve[0]:.4g} → {curve[-1]:.4g}" for name, curve in self.metrics.items() if len(curve)]
        return f"{self._named()}: {', '.join(told)}"

    def plot(self, axes: Any = None) -> Any:
        """Draw the curves with Matplotlib, one panel per quantity, and return the axes.

        Args:
            axes: where to draw, one for each quantity; a new figure by default.

        >>> history = fnn.training.History(np.zeros((2, 1)), {"loss": np.array([2.0, 1.0])})
        >>> history.plot()[0].get_ylabel()
        'loss'
        """
        return curves.history(self.metrics, axes)

    def _repr_html_(self) -> str:
        rows = [
            (name, *map(float, (curve[0], curve[-1], np.fmin.reduce(curve), np.fmax.reduce(curve))))
            for name, curve in self.metrics.items()
            if len(curve)
        ]
        heads = ("curve", "first epoch", "last epoch", "smallest", "largest")
        return notebook.table(heads, rows, above=self._named())

    def _named(self) -> str:
        count = len(self.step_loss)
        return f"History of {count} epoch{'' if count == 1 else 's'}"


class Run:
    """One run: what does not change, and the curves that grow."""

    def __init__(self, job: Job, source: Source, state: TrainState, until: int, *, on_nonfinite: str) -> None:
        self.job, self.source, self.until = job, source, until
        self.began, step = int(state.epoch), int(state.step)
        self.stops, self.goes_on = on_nonfinite == "stop", on_nonfinite == "continue"
        whole, tail = divmod(len(source), job.config.batch_size)
        self.steps = whole + bool(tail)
        self.losses: list[np.ndarray] = [np.full(step, np.nan, np.float32)] if step else []
        """One for every step since an epoch began; NaN for steps taken by an earlier call."""
        self.metrics: dict[str, list[np.ndarray]] = {}
        self.budget, self.calls = 1, 0
        self.compiled, self.counted = 0.0, 0
        """When the first call returned, and the steps taken since."""
        self.ending = ""
        """Why the run ended and which parameters are returned, once it has ended."""
        self.names: list[str] | None = None
        self.fault: faults.NonFiniteError | None = None
        """What is not finite in the last call, to be raised unless a callback ends the run before it."""
        self.before = state
        """The state with which the last call began."""
        self.resumed = False
        self.enough = False
        """Whether `on_epoch` has ended the run."""
        self.epoch_by_epoch = False
        """Whether every call ends with an epoch, because the state after each is needed."""
        self.watched = False
        """Whether an `on_epoch` may end the run."""

    def over(self, state: TrainState) -> bool:
        return self.enough or int(state.epoch) >= self.until or bool(stopped(state, self.job.hyperparams))

    def advance(self, before: TrainState) -> tuple[TrainState, list[tuple[int, Metrics]]]:
        """The state after one call, and the epochs that it finished."""
        began, self.before = time.perf_counter(), before
        until = min(self.until, int(before.epoch) + 1) if self.epoch_by_epoch else self.until
        state, chunk = self.source.advance(self.job, before, self.budget, until)
        chunk = jax.device_get(self.job.config.placement.host(chunk))
        taken = time.perf_counter() - began
        self.calls += 1
        if self.calls == 1:
            self.compiled = time.perf_counter()
        else:
            self.counted += int(chunk.steps)
            # the first call, which compiled, takes one step, so that a signal is noticed soon; later calls take as many
            # steps as fit into the time, and whole epochs if at least one fits
            fit = next_budget(int(chunk.steps), taken, self.budget)
            self.budget = fit - fit % self.steps if fit > self.steps else fit
        return state, self.record(before, state, chunk)

    def back_to(self, state: TrainState, epoch: int) -> TrainState:
        """The state after this epoch of the last call; the steps up to there are taken again, and the curves end there.

        All processes take them together, since only one has a callback.
        """
        if epoch == int(state.epoch) and not int(state.step):
            return state
        own = epoch - self.began
        self.losses = [np.concatenate(self.losses)[: own * self.steps]]
        self.metrics = {name: values[:own] for name, values in self.metrics.items()}
        steps = (epoch - int(self.before.epoch)) * self.steps - int(self.before.step)
        return self.source.replay(self.job, self.before, steps)

    def pace(self) -> float | None:
        """Epochs per second since the first call, which includes compilation; None before the second call."""
        if not self.counted:
            return None
        return self.counted / self.steps / max(time.perf_counter() - self.compiled, 1e-9)

    def end(self, state: TrainState, *, enough: bool) -> None:
        """Note why the run ended: all epochs are done, patience, or a callback that has seen `enough`."""
        config, epoch = self.job.config, int(state.epoch)
        if enough:
            why = "on_epoch ended it"
        elif epoch < self.until:
            why = f"{config.monitor} did not improve for {int(np.asarray(self.job.hyperparams.patience))} epochs"
        else:
            why = "that was all"
        self.ending = f"ended after epoch {epoch} of {self.until}: {why}"
        if state.best is not None and (curve := self.metrics.get(config.monitor)):
            values = config.sign * np.array(curve, np.float64)
            values[np.isnan(values)] = np.inf
            own = values.min() <= float(np.asarray(state.best.value))
            before = "an earlier call" if self.began else "the start"
            of = f"epoch {self.began + int(values.argmin()) + 1}" if own else before
            self.ending += f"; the parameters of {of} were returned"

    def record(self, before: TrainState, state: TrainState, chunk: ChunkMetrics) -> list[tuple[int, Metrics]]:
        """Add what a call measured to the curves; return the epochs that it finished."""
        assert chunk.losses is not None
        losses, count = np.asarray(chunk.losses[: int(chunk.steps)]), int(chunk.finished)
        bad = np.flatnonzero(~np.isfinite(losses))
        if self.stops and (len(bad) or not chunk.finite):
            # the loss may be finite when the update after it was not
            first = int(bad[0]) if len(bad) else len(losses)
            done = sum(map(len, self.losses))
            every = np.concatenate([*self.losses, losses])
            self.fault = faults.located(self.job, self.source, before, every, done, first)
            # the epochs of this call that ended before the fault are sound
            good = self.fault.step - done
            losses, count = losses[:good], min(count, (int(before.step) + good) // self.steps)
        self.losses.append(losses)
        finished = []
        for k in range(count):
            values = {name: curve[k] for name, curve in chunk.metrics.items()}
            for name, value in values.items():
                self.metrics.setdefault(name, []).append(np.asarray(value))
            number = len(self.metrics["loss"]) + self.began
            monitor = self.job.config.monitor
            if monitor and np.isnan(values[monitor]) and not self.goes_on:
                self.fault = faults.unmeasured(monitor, number, state)
                break
            finished.append((number, {name: float(v) for name, v in values.items()}))
        return finished

    def history(self) -> History:
        flat = np.concatenate(self.losses) if self.losses else np.zeros(0, np.float32)
        whole = len(flat) - len(flat) % self.steps
        return History(
            flat[:whole].reshape(-1, self.steps), {n: np.array(v, np.float64) for n, v in self.metrics.items()}
        )

    def snapshot(self, state: TrainState) -> PyTree:
        """What a checkpoint holds."""
        dtype = measuring_dtype(state.params)
        flat = np.concatenate(self.losses) if self.losses else np.zeros(0, dtype)
        if self.names is None:
            # only once: it traces, and a checkpoint may be written after every call
            self.names = self.job.measured_names(state)
        metrics = {name: np.asarray(self.metrics.get(name, []), dtype) for name in self.names}
        return {
            "state": state, "losses": flat.astype(dtype), "metrics": metrics, "enough": np.asarray(self.enough),
        }  # fmt: skip

    def save(self, folder: Folder | None, run: dict[str, Any], state: TrainState) -> None:
        """Write a checkpoint of this state and the curves; a process without a folder only helps to gather them."""
        whole = self.snapshot(self.job.config.placement.host(state))
        if folder is not None:
            folder.save(whole, run)

    def resume(
        self, group: Group, enter: Callable[[], Folder], state: TrainState, run: dict[str, Any]
    ) -> tuple[TrainState, Folder | None]:
        """The state of the last good checkpoint in the folder, or the given state if there is none; and the folder,
        which only the first process of a group has."""
        like, placement = self.snapshot(self.job.config.placement.host(state)), self.job.config.placement
        folders: list[Folder] = []

        def latest() -> PyTree | None:
            folders.append(enter())
            return folders[0].latest(like, run)

        saved = group.from_first(latest, like)
        folder = folders[0] if folders else None
        if saved is None:
            return state, folder
        self.resumed = True
        self.losses = [np.asarray(saved["losses"])]
        self.metrics = {name: list(np.asarray(values)) for name, values in saved["metrics"].items()}
        state = placement.settle(saved["state"])
        self.enough = self.watched and bool(np.asarray(saved["enough"]))
        if self.enough:
            warn(
                f"fit: on_epoch ended the run of these checkpoints after epoch {int(state.epoch)}; it is returned "
                "as it is. To continue leave on_epoch out, or use another folder.",
            )
        if int(state.epoch) > self.until:
            warn(
                f"fit: the run of these checkpoints already has {int(state.epoch)} epochs, {self.until} were asked "
                "for; it is returned as it is. For fewer epochs use another folder.",
            )
        return state, folder
