"""A run before its first step: what its program is made for, its data, and every check of `fit` and `sweep`.

Promises: one builder makes the job of both; its messages name their caller and give remedies that this caller has;
data is looked at once, on the host, and cast once to the dtype of the parameters, with a note.
Refuses: options and data that training would accept without complaint and that cannot be right.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fnn.checks import require_size, validate, warn_cast
from fnn.gradients import Backprop, Objective
from fnn.metrics import accuracy
from fnn.optimizers import Optimizer
from fnn.regularizers import Strength
from fnn.training.state import (
    AnyOptimizer,
    Batch,
    Best,
    Hyperparams,
    Metric,
    TrainState,
    ValueAndGrad,
    Window,
    floating_dtype,
    measuring_dtype,
    wide,
)
from fnn.training.stream import Stream
from fnn.types import Array, Key, Params

#: What may be done when a loss or a gradient is not finite.
NOT_FINITE = ("stop", "skip", "continue")
#: caller -> what to do where the two differ.
REMEDIES = {
    "fit": {
        "needs a rate": "Give learning_rate=1e-3, or optax.adam(1e-3)",
        "has a rate": "Give optimizer=optax.adam, or leave learning_rate out",
        "needs a strength": "Give strength=1e-4",
        "monitor": 'Give validation=(x, y), or monitor="loss"',
    },
    "sweep": {
        "needs a rate": "Name it in over=fnn.grid(learning_rate=[1e-3, 1e-2]), or give optax.adam(1e-3)",
        "has a rate": "Give optimizer=optax.adam, or leave learning_rate out of over",
        "needs a strength": "Name it in over=fnn.grid(strength=[1e-4, 1e-3])",
        "monitor": "Give one of them, or validation=(x, y)",
    },
}


@dataclass(frozen=True)
class Config:
    """What a program is made for; a change of it is another program."""

    value_and_grad: ValueAndGrad | None
    objective: Objective | None
    optimizer: AnyOptimizer
    batch_size: int
    accumulate: int = 1
    metrics: tuple[tuple[str, Metric], ...] = ()
    monitor: str = ""
    """The measured quantity that early stopping watches; larger is better if its name ends in "accuracy"."""
    skip: bool = False
    """Leave out steps in which the loss or a gradient is not finite."""
    runs: str = "one"
    """"one"; or many side by side, "each" with an order of the rows of its own or with one that is "shared"."""
    streamed: bool = False
    """The rows come piece by piece, so that metrics cannot be measured on all of them."""

    def start(self, params: Params, key: Key, hyperparams: Hyperparams) -> TrainState:
        """The state before the first step."""
        zero = jnp.zeros((), measuring_dtype(params))
        count = jnp.zeros((), jnp.int32)
        optimizer_state = self.build(hyperparams.rate).init(params)
        if self.accumulate > 1:
            total = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, wide(leaf.dtype)), params)
            optimizer_state = Window(optimizer_state, total, count, count)
        return self.watch(TrainState(params, optimizer_state, key, count, count, zero, zero, count), hyperparams)

    def watch(self, state: TrainState, hyperparams: Hyperparams) -> TrainState:
        """The state with room for the best parameters if early stopping is asked for, and without if not."""
        if hyperparams.patience is None:
            return state._replace(best=None)
        waited = jnp.zeros((), jnp.int32)
        if state.best is not None:
            return state._replace(best=state.best._replace(waited=waited))
        return state._replace(best=Best(state.params, jnp.full((), jnp.inf, measuring_dtype(state.params)), waited))

    def gradient(self, params: Params, batch: Batch, strength: Strength | None) -> tuple[Array, Params]:
        """(value, gradients) on these rows."""
        assert self.value_and_grad is not None
        options: dict[str, Any] = {} if strength is None else {"strength": strength}
        options |= {} if batch.sample_weight is None else {"sample_weight": batch.sample_weight}
        return _require_pair(self.value_and_grad(params, batch.x, batch.y, **options), params)

    def build(self, rate: Array | np.ndarray | None) -> Any:
        """The optimizer, with its learning rate if that is an argument."""
        optimizer: Any = self.optimizer
        return optimizer(rate) if rate is not None and callable(optimizer) else optimizer

    def measure(self, state: TrainState, data: Batch, validation: Batch | None) -> dict[str, Array]:
        """What an epoch measures: the mean loss over its rows; the metrics of all rows, where they are at hand; and the
        same of the validation rows."""
        dtype = measuring_dtype(state.params)
        values: dict[str, Any] = {"loss": state.loss_sum / state.weight_sum}
        if not self.streamed:
            values |= {name: metric(state.params, data.x, data.y) for name, metric in self.metrics}
        if validation is not None:
            if self.objective is not None:
                scores = self.objective.net.apply(state.params, validation.x)
                values["validation_loss"] = self.objective.loss(scores, validation.y, validation.sample_weight)
                if jnp.issubdtype(validation.y.dtype, jnp.integer) and validation.y.ndim == scores.ndim - 1:
                    values["validation_accuracy"] = accuracy(scores, validation.y)
            for name, metric in self.metrics:
                values[f"validation_{name}"] = metric(state.params, validation.x, validation.y)
        return {name: jnp.asarray(value, dtype) for name, value in values.items()}

    @property
    def sign(self) -> float:
        """−1 if of what is watched more is better, else 1."""
        return sign_of(self.monitor)


@partial(jax.tree_util.register_dataclass, data_fields=["data", "validation", "hyperparams"], meta_fields=["config"])
@dataclass(frozen=True)
class Job:
    """All that stays the same during a run; `data` is the piece at hand where rows are streamed."""

    config: Config
    data: Batch
    validation: Batch | None
    hyperparams: Hyperparams

    def measured_names(self, state: TrainState) -> list[str]:
        """The names of what an epoch measures."""
        return list(jax.eval_shape(self.config.measure, state, self.data, self.validation))


@dataclass(frozen=True)
class Request:
    """What the user asks of `fit` or `sweep`, not looked at yet; the rates and strengths are one for each run."""

    caller: str
    value_and_grad: ValueAndGrad
    params: Params
    """Parameters, or their shapes."""
    data: Any
    optimizer: Any
    batch_size: Any
    rates: tuple[Any, ...] = (None,)
    strengths: tuple[Any, ...] = (None,)
    validation: Any = None
    clip_norm: Any = None
    accumulate: Any = 1
    metrics: Mapping[str, Metric] | None = None
    patience: Any = None
    min_improvement: Any = 0.0
    monitor: str = "validation_loss"
    on_nonfinite: str = "stop"
    runs: str = "one"
    objective: Objective | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "objective", objective_of(self.value_and_grad))

    def job(self) -> Job:
        """The job, everything looked at."""
        where, dtype = self.caller, self._dtype()
        self._require_options()
        self._require_optimizer()
        self._require_strengths()
        data = Batch(None, None) if isinstance(self.data, Stream) else self.prepare(self.data, "data")
        rows = len(self.data) if isinstance(self.data, Stream) else len(data)
        if self.batch_size > rows:
            raise ValueError(
                f"{where}: batch_size {self.batch_size} is larger than the data, {rows} rows. Use {rows} or less."
            )
        validation = None
        if self.validation is not None:
            if self.objective is None and not self.metrics:
                raise ValueError(
                    f"{where}: validation needs a gradient that knows its objective, got a bare function. "
                    "Give fnn.backprop(net, loss) or jax.value_and_grad(fnn.objective(net, loss)), or metrics."
                )
            validation = self.prepare(self.validation, "validation")
        # numbers stay in NumPy: each small operation of JAX would be a program to compile
        number = lambda value, dtype: None if value is None else np.asarray(value, dtype)  # noqa: E731
        many = self.runs != "one"
        rates = None if self.rates[0] is None else np.asarray(self.rates, dtype)
        strengths = None if self.strengths[0] is None else np.asarray(self.strengths, dtype)
        hyperparams = Hyperparams(
            rates if many or rates is None else rates[0], strengths if many or strengths is None else strengths[0],
            number(self.clip_norm, dtype), number(self.patience, np.int32),
            np.asarray(self.min_improvement, measuring_dtype(self.params)),
        )  # fmt: skip
        config = Config(
            self.value_and_grad, self.objective, self.optimizer, int(self.batch_size), int(self.accumulate),
            tuple((self.metrics or {}).items()), self.monitor if self.patience is not None else "",
            self.on_nonfinite == "skip", self.runs, isinstance(self.data, Stream),
        )  # fmt: skip
        return Job(config, data, validation, hyperparams)

    def require_monitor(self, job: Job, state: TrainState) -> None:
        """Raise if what is watched, or what chooses the best run, is not measured."""
        if self.patience is None and self.runs == "one":
            return
        names = job.measured_names(state)
        if self.monitor not in names:
            what = f"patience watches {self.monitor!r}, which" if self.runs == "one" else f"monitor {self.monitor!r}"
            raise ValueError(
                f"{self.caller}: {what} is not measured; measured are: {', '.join(names)}. "
                f"{REMEDIES[self.caller]['monitor']}."
            )

    def prepare(self, data: Any, name: str) -> Batch:
        """The data on the device, looked at on the host before, floats in the dtype of the parameters."""
        where, dtype = self.caller, self._dtype()
        if not isinstance(data, tuple | list) or len(data) not in (2, 3):
            raise TypeError(
                f"{where}: {name} must be the pair (x, y), or (x, y, weights), got {type(data).__name__}. "
                f"Give {name}=(x, y)."
            )
        x, y, *weights = data
        validate(x, y)
        x = _cast(f"{where}: x of {name}", x, dtype)
        if self.objective is not None:
            self.objective.validate_target(self.params, x, y)
        return Batch(x, _cast(f"{where}: y of {name}", y, dtype), self._weights(weights, name, len(x)))

    def _dtype(self) -> Any:
        return floating_dtype(self.params)

    def _require_options(self) -> None:
        where = self.caller
        if not callable(self.value_and_grad):
            raise TypeError(
                f"{where}: a gradient is needed, got {self.value_and_grad!r}. Make it with fnn.backprop(net, loss)."
            )
        require_size(where, "batch_size", self.batch_size, "Give an int: 1 is one example at a time, N the full batch.")
        require_size(where, "accumulate", self.accumulate, "Give 1 for an update after every batch.")
        if self.patience is not None:
            require_size(where, "patience", self.patience, "Give the epochs to wait, such as 10, or None.")
        if not 0 <= self.min_improvement < np.inf:
            raise ValueError(
                f"{where}: min_improvement must be finite and at least 0, got {self.min_improvement}. Try 1e-4."
            )
        if self.clip_norm is not None and not 0 < self.clip_norm < np.inf:
            raise ValueError(f"{where}: clip_norm must be finite and above 0, got {self.clip_norm}. Try 1.0.")
        if self.on_nonfinite not in NOT_FINITE:
            raise ValueError(
                f"{where}: on_nonfinite must be one of {NOT_FINITE}, got {self.on_nonfinite!r}. Give one of them."
            )

    def _require_optimizer(self) -> None:
        """Raise unless this is an optimizer, with a learning rate exactly where it needs one."""
        where, remedies, optimizer = self.caller, REMEDIES[self.caller], self.optimizer
        if isinstance(optimizer, optax.GradientTransformation | Optimizer):
            if self.rates[0] is not None:
                raise ValueError(
                    f"{where}: got learning_rate={self.rates[0]} with an optimizer that has its own. "
                    f"{remedies['has a rate']}."
                )
            return
        if not callable(optimizer):
            raise TypeError(
                f"{where}: optimizer must be an Optax transformation, got {optimizer!r}. Try optax.adam(1e-3)."
            )
        for rate in self.rates:
            if rate is None:
                raise ValueError(f"{where}: {optimizer!r} needs a learning rate. {remedies['needs a rate']}.")
            if not 0 < rate < np.inf:
                raise ValueError(f"{where}: learning_rate must be finite and above 0, got {rate}. Try 1e-3.")

    def _require_strengths(self) -> None:
        """Raise unless there is a strength exactly where there is a regularizer, finite and at least 0."""
        where = self.caller
        for strength in self.strengths:
            regularizer = None if self.objective is None else self.objective.regularizer
            if strength is None and regularizer is not None:
                raise ValueError(
                    f"{where}: got regularizer={regularizer} without a strength. {REMEDIES[where]['needs a strength']}."
                )
            if strength is not None and self.objective is not None and regularizer is None:
                raise ValueError(
                    f"{where}: got strength={strength}, but the objective has no regularizer. "
                    'Make it with fnn.backprop(net, loss, "l2").'
                )
            if strength is not None and not all(0 <= each < np.inf for each in np.ravel(strength)):
                raise ValueError(f"{where}: strength must be finite and at least 0, got {strength}. Try 1e-4.")

    def _weights(self, weights: list[Any], name: str, rows: int) -> Array | None:
        if not weights or weights[0] is None:
            return None
        array = np.asarray(weights[0])
        if array.shape != (rows,):
            raise ValueError(
                f"{self.caller}: weights of {name} must hold one number per row, shape ({rows},), got {array.shape}. "
                "Give one each."
            )
        if not (np.isfinite(array).all() and (array >= 0).all() and array.any()):
            raise ValueError(
                f"{self.caller}: weights of {name} must be finite, at least 0, and not all 0. "
                "Give 1.0 for an ordinary row."
            )
        return jnp.asarray(array, self._dtype())


def sign_of(monitor: str) -> float:
    """−1 for what is better the larger it is, 1 for all else."""
    return -1.0 if monitor.endswith("accuracy") else 1.0


def objective_of(value_and_grad: ValueAndGrad) -> Objective | None:
    """The objective behind a gradient, if it can be known: `jax.value_and_grad` and `jax.jit` keep what they wrap."""
    function: Any = value_and_grad
    while not isinstance(function, Backprop | Objective) and hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    if isinstance(function, Backprop):
        return function.objective
    return function if isinstance(function, Objective) else None


def _require_pair(result: Any, params: Params) -> tuple[Array, Params]:
    """What the gradient gave, if it is (value, gradients): seen while tracing, before the first step."""
    if isinstance(result, tuple) and len(result) == 2 and jax.tree.structure(result[1]) == jax.tree.structure(params):
        return result
    raise TypeError(
        "fit: the gradient must give (value, gradients in the structure of params), got something else. "
        "Give fnn.backprop(net, loss) or jax.value_and_grad(fnn.objective(net, loss)), not jax.grad nor the objective."
    )


def _cast(what: str, array: Any, dtype: Any) -> Array:
    own = np.asarray(array).dtype if not isinstance(array, jax.Array) else array.dtype
    if not jnp.issubdtype(own, jnp.floating) or own == dtype:
        return jnp.asarray(array)
    warn_cast(what, own, dtype)
    return jnp.asarray(array, dtype)
