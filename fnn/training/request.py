"""What the user asks of `fit` or `sweep`, checked before the first step: every check of both is here.

Promises: one builder makes the job of both; its messages name the caller and give remedies that fit it; data is checked
once, on the host, and cast once to the dtype of the parameters, with a warning.
Refuses: options and data that cannot be right, although training would accept them without complaint.
Letters: N rows, w̄ the mean of their weights.
"""

import inspect
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from fnn.checks import numbered, require_hash, require_size, warn
from fnn.gradients import Objective
from fnn.layers import Layer
from fnn.optimizers import Optimizer
from fnn.tracing import traced
from fnn.training import rows
from fnn.training.config import BY_NAME, Config, Job, objective_of, parameters_of
from fnn.training.placement import HERE, Placement
from fnn.training.state import (
    Batch,
    Hyperparams,
    Metric,
    TrainState,
    ValueAndGrad,
    floating_dtype,
    measuring_dtype,
)
from fnn.training.stream import Piece, Stream
from fnn.types import Params, wide

#: What to do when a loss or a gradient is not finite.
NOT_FINITE = ("stop", "skip", "continue")
#: caller -> what to do where the two differ.
REMEDIES = {
    "fit": {
        "needs a rate": "Give learning_rate=1e-3, or optax.adam(1e-3)",
        "has a rate": "Give optimizer=optax.adam, or leave learning_rate out",
        "needs a strength": "Give strength=1e-4",
        "monitor": 'Give validation=(x, y), or monitor="loss"',
        "traced": "Call it outside, or train many runs at once with fnn.sweep",
    },
    "sweep": {
        "needs a rate": "Name it in over=fnn.grid(learning_rate=[1e-3, 1e-2]), or give optax.adam(1e-3)",
        "has a rate": "Give optimizer=optax.adam, or leave learning_rate out of over",
        "needs a strength": "Name it in over=fnn.grid(strength=[1e-4, 1e-3])",
        "monitor": "Give one of them, or validation=(x, y)",
        "traced": "Call it outside",
    },
}


#: Directions by the name of a measure or its ending.
DIRECTIONS = {"min": 1.0, "max": -1.0}
KNOWN = {"loss": "min", "error": "min", "accuracy": "max"}
#: Packages whose functions take targets and predictions, as numbers.
ON_THE_HOST = ("numpy", "scipy", "sklearn")
#: Names that `fit` uses for its own measures.
OWN = ("loss", "validation_loss", "validation_accuracy")


@dataclass(frozen=True)
class Request:
    """What is asked, not checked yet; there is one rate and one strength for each run."""

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
    direction: str | None = None
    on_nonfinite: str = "stop"
    runs: str = "one"
    key: Any = None
    placement: Placement = HERE
    objective: Objective | None = field(init=False)
    dtype: Any = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", self._require_params())
        object.__setattr__(self, "objective", objective_of(self.value_and_grad))
        require_hash(self.caller, self.objective)
        object.__setattr__(self, "dtype", floating_dtype(self.params, self.caller))
        if (
            self.caller == "fit"
            and callable(self.rates[0])
            and not isinstance(self.optimizer, optax.GradientTransformation | Optimizer)
            and callable(self.optimizer)
        ):
            # a schedule: the optimizer is built with it once, as in Optax
            object.__setattr__(self, "optimizer", self.optimizer(self.rates[0]))
            object.__setattr__(self, "rates", (None,))

    def job(self) -> Job:
        """The job, with everything checked."""
        self._require_options()
        self._require_metrics()
        self._require_optimizer()
        self._require_strengths()
        self._require_weights()
        streamed = isinstance(self.data, Stream) and self.caller == "fit"
        data = Batch(None, None) if streamed else self.prepare(self.data, "data")
        self._require_batches(len(self.data) if streamed else len(data))
        validation = None if self.validation is None else self._validation()
        config = Config(
            self.value_and_grad, self.objective, self.optimizer, int(self.batch_size), int(self.accumulate),
            tuple((self.metrics or {}).items()), self.monitor if self.patience is not None else "", self.sign,
            self.on_nonfinite == "skip", self.runs, isinstance(self.data, Stream), self._weights_mode(),
            self.placement.of(self.caller, self.params), self.caller,
        )  # fmt: skip
        data, validation = self.placement.everywhere((data, validation))
        return Job(config, data, validation, self._hyperparams())

    def start(self, job: Job) -> TrainState:
        """The state before the first step."""
        # NumPy parameters would need a separate program for the first call
        state = job.config.start(jax.tree.map(rows.copied, self.params), self.key, job.hyperparams)
        state = state._replace(mean_weight=self.mean_weight(), epoch_shape=self.epoch_shape(job))
        return job.config.placement.settle(job.config.watch(state, job.hyperparams, self.watched(job)))

    def go_on(self, job: Job, state: TrainState) -> TrainState:
        """The state of an earlier call, if this job can continue it."""
        state = jax.tree.map(rows.copied, state)
        like = jax.eval_shape(lambda p: job.config.start(p, state.key, job.hyperparams), state.params)

        def described(tree: Any) -> Any:
            leaves, structure = jax.tree.flatten(tree)
            return structure, [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]

        if described(like.statistics) != described(state.statistics):
            raise ValueError(
                f"{self.caller}: a state continues with the net that it began with, got statistics of another net. "
                "Give that net, or start over with state.params and a key."
            )
        shapes = [described(each) for each in (like.optimizer_state, state.optimizer_state)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"{self.caller}: a state continues with the optimizer and the accumulate that it began with, got a "
                f"state of another optimizer: {shapes[1][0]} for {shapes[0][0]}. Give the same ones, or start over "
                "with state.params and a key."
            )
        state = self._with_mean_weight(self._in_its_epoch(job, state))
        return job.config.placement.settle(job.config.watch(state, job.hyperparams, self.watched(job)))

    def epoch_shape(self, job: Job) -> np.ndarray:
        """(N, B)."""
        return np.asarray([len(self.data if job.config.streamed else job.data), job.config.batch_size], np.int32)

    def _in_its_epoch(self, job: Job, state: TrainState) -> TrainState:
        """The state, if its position in the epoch fits this data; a state between two epochs fits any data."""
        now, before, step = self.epoch_shape(job), state.epoch_shape, int(state.step)
        if step and (before is None or tuple(map(int, before)) != tuple(map(int, now))):
            made = "a loop of your own" if before is None else "batches of {1} of {0} rows".format(*map(int, before))
            raise ValueError(
                f"{self.caller}: a state in the middle of an epoch continues with the same rows and the same "
                f"batch_size, got one after step {step} of {made}, for batches of {now[1]} of {now[0]} rows. Give the "
                "same ones, or start over with state.params and a key."
            )
        return state._replace(epoch_shape=now)

    def _with_mean_weight(self, state: TrainState) -> TrainState:
        """The state with w̄ of this data; warns if the call before had a different w̄."""
        now, before = self.mean_weight(), state.mean_weight
        if now is not None and before is not None and now != before and self._weights_mode() == "mean":
            warn(
                f"{self.caller}: weights count by their ratio to the mean weight of this data, {float(now):.6g}; in "
                f"the call before the mean was {float(before):.6g}.",
            )
        return state._replace(mean_weight=now)

    def watched(self, job: Job) -> int:
        """A number that identifies what is watched (name, direction, validation data), the same in every process."""
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(job.validation)] if self.patience is not None else []
        return zlib.crc32(repr((self.monitor, self.sign, [rows.mark(leaf) for leaf in leaves])).encode())

    @property
    def sign(self) -> float:
        """−1 if of what is watched more is better, else 1."""
        known = [way for name, way in KNOWN.items() if str(self.monitor).endswith(name)]
        way = self.direction or (known[0] if known else "min")
        return DIRECTIONS[way]

    def require_monitor(self, job: Job, state: TrainState) -> None:
        """Raise if the measure that is watched, or that chooses the best run, is not measured or has no known
        direction."""
        if self.patience is None and self.runs == "one":
            return
        names = job.measured_names(state)
        what = f"patience watches {self.monitor!r}, which" if self.runs == "one" else f"monitor {self.monitor!r}"
        if self.monitor not in names:
            raise ValueError(
                f"{self.caller}: {what} is not measured, got the measures {', '.join(names)}. "
                f"{REMEDIES[self.caller]['monitor'] if self.validation is None else 'Give one of them'}."
            )
        if self.direction is None and not any(self.monitor.endswith(name) for name in KNOWN):
            raise ValueError(
                f"{self.caller}: direction must say whether more or less of {self.monitor!r} is better, got None. "
                'Give direction="max" or direction="min".'
            )

    # ---- data -------------------------------------------------------------------------------------------------------

    def look_at_predictions(self, params: Params, rows: Batch) -> None:
        """Warn if the first predictions cannot be what the loss expects."""
        if self.objective is not None:
            with traced(self.caller, "gradient"):
                self.objective.validate_prediction(self.placement.host(params), rows.x)

    def prepare(self, data: Any, name: str) -> Batch:
        """The data on the device, checked on the host first, floats in the dtype of the parameters."""
        x, y, weights = self._parts(data, name)
        sources = [each for each in (*(x.values() if isinstance(x, dict) else (x,)), y, weights) if each is not None]
        shapes = tuple(jnp.shape(leaf) for leaf in jax.tree.leaves(self.params))
        key = (self.caller, name, str(self.dtype), self.objective, shapes, self._weights_mode())
        return rows.SEEN.get(key, sources, lambda: self.prepare_rows(x, y, weights, name))

    def prepare_piece(self, piece: Piece) -> Batch:
        """The rows of a piece of the stream on the device; messages name them as the source does."""
        mean = None if self.data.weights is None else rows.mean_weight(self.data.weights)
        with numbered(piece.numbers):
            return self.prepare_rows(piece.x, piece.y, piece.weights, "data", mean)

    def prepare_rows(self, x: Any, y: Any, weights: Any, name: str, mean: float | None = None) -> Batch:
        """The rows on the device; `mean` is the mean weight of all rows if these are only some of them."""
        where = f"{self.caller}: "
        y = rows.host(f"{where}y of {name}", y)
        x = rows.inputs(f"{where}x of {name}", x, len(y) if np.ndim(y) else 0)
        leaves = jax.tree.leaves(x)
        integers = self.objective is None or (any(leaf.dtype.kind in "iu" for leaf in leaves) and self._takes(x))
        rows.looked_at(x, y, integers=integers)
        x = jax.tree.map(lambda leaf: self._array(f"{where}x of {name}", leaf, casts=False), x)
        if self.objective is not None:
            with traced(self.caller, "gradient"):
                self.objective.validate_target(self.params, x, y)
        y = self._array(f"{where}y of {name}", y, casts=self.objective is not None)
        return Batch(x, y, self._weights(weights, name, len(y), mean))

    def mean_weight(self) -> Any:
        """w̄ of the data, or None."""
        weights = self.data.weights if isinstance(self.data, Stream) else self._parts(self.data, "data")[2]
        if weights is None:
            return None
        with np.errstate(over="ignore"):
            return jnp.asarray(np.float32(rows.mean_weight(np.asarray(weights, np.float64))))

    def _array(self, what: str, array: Any, *, casts: bool) -> jax.Array:
        return rows.on_device(what, rows.whole_numbers(what, array, self.dtype, casts=casts), self.dtype)

    def _takes(self, x: Any) -> bool:
        """Whether the net takes these inputs as they are, integers included."""
        assert self.objective is not None
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.result_type(leaf)), x)
        try:
            jax.eval_shape(self.objective.predict, self.params, shapes)
        except (TypeError, ValueError):
            return False
        return True

    def _parts(self, data: Any, name: str) -> tuple[Any, Any, Any]:
        where = self.caller
        streams = [each for each in (data if isinstance(data, tuple | list) else [data]) if isinstance(each, Stream)]
        if streams and where == "sweep":
            raise TypeError(
                f"sweep: {name} must be in memory, got a Stream. Give {name}=(x, y), or train with fnn.fit."
            )
        if streams and name == "validation":
            raise TypeError("fit: validation must be in memory, got a Stream. Give validation=(x, y) of some rows.")
        if streams:
            raise TypeError("fit: weights belong to the stream, got a Stream in a tuple. Give Stream(x, y, weights=w).")
        if not isinstance(data, tuple | list) or len(data) not in (2, 3):
            raise TypeError(
                f"{where}: {name} must be the pair (x, y), or (x, y, weights), got {type(data).__name__}. "
                f"Give {name}=(x, y)."
            )
        x, y, *weights = data
        return x, y, weights[0] if weights else None

    def _weights(self, weights: Any, name: str, count: int, mean: float | None) -> Any:
        if weights is None:
            return None
        what = f"{self.caller}: weights of {name}"
        array = np.asarray(weights, np.float64) if mean is not None else rows.require_weights(what, weights, count)
        if name == "data" and self._weights_mode() == "mean":
            # divided by their mean, large weights then fit into narrow dtypes, and a batch needs only its size
            array = array / (rows.mean_weight(array) if mean is None else mean)
        dtype = wide(self.dtype)
        with np.errstate(over="ignore", under="ignore"):
            cast = array.astype(dtype)
        if not np.isfinite(cast).all() or (array.any() and not cast.any()):
            raise ValueError(
                f"{what} must be finite and not all 0 in {jnp.dtype(dtype).name}, got numbers up to "
                f"{array.max():.3g}. Divide them by their mean."
            )
        return rows.copied(cast)

    def _validation(self) -> Batch:
        if self.objective is None and not self.metrics:
            raise ValueError(
                f"{self.caller}: validation needs a gradient that knows its objective, got a bare function. "
                "Give fnn.backprop(net, loss) or jax.value_and_grad(fnn.objective(net, loss)), or metrics."
            )
        try:
            return self.prepare(self.validation, "validation")
        except (TypeError, ValueError) as error:
            if "validation" in str(error):
                raise
            raise rows.about(f"{self.caller}: in validation, ", error) from error

    def _weighted(self) -> bool:
        if isinstance(self.data, Stream):
            return self.data.weights is not None
        return isinstance(self.data, tuple | list) and len(self.data) == 3 and self.data[2] is not None

    def _weights_mode(self) -> str:
        if not self._weighted():
            return ""
        names = parameters_of(self.value_and_grad)
        return "mean" if self.objective is not None or "weight_sum" in names else "own"

    def _hyperparams(self) -> Hyperparams:
        # numbers stay in NumPy: each small JAX operation would be a program to compile
        def number(value: Any, dtype: Any) -> Any:
            return None if value is None else np.asarray(value, dtype)

        many, dtype = self.runs != "one", self.dtype
        rates = None if self.rates[0] is None else np.asarray(self.rates, dtype)
        strengths = None if self.strengths[0] is None else np.asarray(self.strengths, dtype)
        return Hyperparams(
            rates if many or rates is None else rates[0], strengths if many or strengths is None else strengths[0],
            number(self.clip_norm, wide(dtype)), number(self.patience, np.int32),
            np.asarray(self.min_improvement, measuring_dtype(self.params)),
        )  # fmt: skip

    # ---- checks -----------------------------------------------------------------------------------------------------

    def _require_params(self) -> Params:
        """The parameters, those of NumPy as JAX takes them."""
        where, params = self.caller, self.params
        if isinstance(params, Layer):
            raise TypeError(f"{where}: params must be parameters, got the net {params!r}. Give net.init(key).")
        if isinstance(params, tuple | list) and any(isinstance(each, TrainState) for each in params):
            raise TypeError(
                f"{where}: params must be parameters or a state, got the pair that fit returns. Unpack it: "
                "state, history = fnn.fit(…)."
            )
        for path, leaf in jax.tree.leaves_with_path(params):
            if callable(leaf) and not path:
                raise TypeError(
                    f"{where}: params must be parameters, got the function "
                    f"{getattr(leaf, '__name__', leaf)}. Call it: net.init(key)."
                )
            if not hasattr(leaf, "dtype") and not isinstance(leaf, int | float | complex):
                raise TypeError(
                    f"{where}: params must be a tree of arrays, got {leaf!r:.60} at "
                    f"params{jax.tree_util.keystr(path)}. From a model that holds functions give only the arrays: "
                    "params, rest = equinox.partition(model, equinox.is_inexact_array)."
                )
        traced = [
            leaf
            for leaf in jax.tree.leaves((params, self.strengths, self.clip_norm, self.key))
            if isinstance(leaf, Tracer)
        ]
        if traced or any(isinstance(rate, Tracer) for rate in self.rates):
            raise TypeError(
                f"{where} trains whole runs, outside jit, vmap and grad, got a traced value. "
                f"{REMEDIES[where]['traced']}."
            )
        return jax.tree.map(
            lambda leaf: rows.host(f"{where}: params", leaf) if isinstance(leaf, np.ndarray) else leaf, params
        )

    def _require_number(self, name: str, value: Any, low: float, remedy: str, *, above: bool = False) -> None:
        """Raise unless this is one finite number, at least or above 0."""
        condition = "finite and above 0" if above else "finite and at least 0"
        array = hasattr(value, "dtype") and np.ndim(value) == 0 and jnp.issubdtype(value.dtype, jnp.number)
        if isinstance(value, bool) or not (isinstance(value, int | float) or array):
            raise TypeError(f"{self.caller}: {name} must be a number, got {value!r}. {remedy}")
        if not (low < value if above else low <= value) or not value < np.inf:
            raise ValueError(f"{self.caller}: {name} must be {condition}, got {value}. {remedy}")
        self._require_held(name, value, remedy)

    def _require_held(self, name: str, value: Any, remedy: str) -> None:
        """Raise if a finite number becomes 0 or infinity in the dtype in which it counts."""
        dtype = self.dtype if name in ("learning_rate", "strength") else wide(self.dtype)
        with np.errstate(over="ignore", under="ignore"):
            held = np.asarray(value, np.float64).astype(dtype)
        if name != "min_improvement" and (not np.isfinite(held) or (value and not held)):
            raise ValueError(
                f"{self.caller}: {name} must be held by {jnp.dtype(dtype).name}, got {value}, which is {held:g} there. "
                f"{remedy}"
            )

    def _require_options(self) -> None:
        where = self.caller
        if not callable(self.value_and_grad) or isinstance(self.value_and_grad, Layer):
            raise TypeError(
                f"{where}: a gradient is needed, got {self.value_and_grad!r}. Make it with fnn.backprop(net, loss)."
            )
        if taken := _takes_others(self.value_and_grad, ()):
            raise TypeError(
                f"{where}: the gradient must take (params, x, y), got {taken}. Wrap it: lambda params, x, y: f(params, "
                "(x, y))."
            )
        require_size(where, "batch_size", self.batch_size, "Give an int: 1 is one example at a time, N the full batch.")
        require_size(where, "accumulate", self.accumulate, "Give 1 for an update after every batch.")
        if self.patience is not None:
            require_size(where, "patience", self.patience, "Give the number of epochs to wait, such as 10, or None.")
        self._require_number("min_improvement", self.min_improvement, 0, "Try 1e-4.")
        if self.clip_norm is not None:
            self._require_number("clip_norm", self.clip_norm, 0, "Try 1.0.", above=True)
        if self.on_nonfinite not in NOT_FINITE:
            raise ValueError(
                f"{where}: on_nonfinite must be one of {NOT_FINITE}, got {self.on_nonfinite!r}. Give one of them."
            )
        if self.direction not in (None, *DIRECTIONS):
            raise ValueError(f'{where}: direction must be "min" or "max", got {self.direction!r}. Give one, or None.')
        unused = {"min_improvement": self.min_improvement}
        if where == "fit":
            usual = type(self).__dataclass_fields__["monitor"].default
            unused |= {"direction": self.direction, "monitor": None if self.monitor == usual else self.monitor}
        for name, value in unused.items():
            if value and self.patience is None:
                raise ValueError(
                    f"{where}: {name} counts for early stopping alone, got {name}={value!r} without patience. Give "
                    f"patience=10, or leave {name} out."
                )

    def _require_metrics(self) -> None:
        where, metrics = self.caller, self.metrics or {}
        if not isinstance(metrics, Mapping) or not all(map(callable, metrics.values())):
            raise TypeError(f"{where}: metrics must be a dict of functions, got {metrics!r}. Give {{name: f}}.")
        wanting = [name for name, metric in metrics.items() if _needs_net(metric)] if self.objective is None else []
        if wanting:
            raise TypeError(
                f"{where}: the metric {wanting[0]!r} takes the net, got a gradient that does not know one. Give "
                "fnn.backprop(net, loss) or jax.value_and_grad(fnn.objective(net, loss))."
            )
        unnamed = [name for name in metrics if not isinstance(name, str)]
        if unnamed:
            raise TypeError(f"{where}: a metric must have a text for a name, got {unnamed[0]!r}. Give {{name: f}}.")
        taken = [name for name in metrics if name in OWN or str(name).startswith("validation_")]
        if taken:
            raise ValueError(
                f"{where}: a metric must not have a name that fnn uses for its own measures, got {taken[0]!r}. Rename "
                "it."
            )
        if metrics and isinstance(self.data, Stream) and self.validation is None:
            raise ValueError(
                f"{where}: metrics of a stream are measured on validation data, got none. Give validation=(x, y)."
            )
        for name, metric in metrics.items():
            if taken := _takes_others(metric, BY_NAME):
                raise TypeError(
                    f"{where}: the metric {name!r} must take (params, x, y), got {taken}. Give lambda params, x, y: "
                    "fnn.accuracy(net.apply(params, x), y); compute a scikit-learn metric after the run, from its "
                    "params."
                )

    def _require_batches(self, count: int) -> None:
        if self.batch_size > count:
            raise ValueError(
                f"{self.caller}: batch_size {self.batch_size} is larger than the data, {count} rows. "
                f"Use {count} or less."
            )
        batches = -(-count // int(self.batch_size))
        parts = self.placement.parts
        if self.batch_size < parts:
            warn(
                f"{self.caller}: to gain from a mesh, a batch must have a row for each device, got batch_size "
                f'{self.batch_size} for {parts} devices along "data". Use {parts} or more, or fewer devices.',
            )
        if self.accumulate > batches:
            raise ValueError(
                f"{self.caller}: accumulate must be at most the {batches} batches of an epoch, since every update ends "
                f"with its epoch, got {self.accumulate}. Use {batches} or less."
            )

    def _require_weights(self) -> None:
        if not self._weighted() or self.objective is not None:
            return
        names = parameters_of(self.value_and_grad)
        if "sample_weight" not in names and "**" not in names:
            raise TypeError(
                f"{self.caller}: the gradient must take sample_weight for data with weights, got "
                f"{self.value_and_grad!r}, which does not. Declare f(params, x, y, *, sample_weight, weight_sum)."
            )

    def _require_optimizer(self) -> None:
        """Raise unless this is an optimizer, with a learning rate if and only if it needs one."""
        where, remedies, optimizer = self.caller, REMEDIES[self.caller], self.optimizer
        if isinstance(optimizer, Optimizer) and isinstance(optimizer.learning_rate, int | float):
            self._require_held("learning_rate", optimizer.learning_rate, "Try 1e-3.")
        if isinstance(optimizer, optax.GradientTransformation | Optimizer):
            if self.rates[0] is not None:
                raise ValueError(
                    f"{where}: got learning_rate={self.rates[0]} with an optimizer that has its own. "
                    f"{remedies['has a rate']}."
                )
            return
        if hasattr(optimizer, "gradient_transformation"):
            raise TypeError(
                f"{where}: optimizer must be an Optax transformation, got {type(optimizer).__name__}. Give the "
                "optimizer inside with accumulate=k, or its .gradient_transformation()."
            )
        if not callable(optimizer):
            raise TypeError(
                f"{where}: optimizer must be an Optax transformation, got {optimizer!r}. Try optax.adam(1e-3)."
            )
        for rate in self.rates:
            if rate is None:
                name = getattr(optimizer, "__name__", repr(optimizer))
                raise ValueError(f"{where}: {name} needs a learning rate, got none. {remedies['needs a rate']}.")
            several = "fnn.sweep tries several" if where == "fit" else "fnn.grid makes all combinations"
            self._require_number("learning_rate", rate, 0, f"Give one number, such as 1e-3; {several}.", above=True)

    def _require_strengths(self) -> None:
        """Raise unless there is a strength if and only if there is a regularizer, finite and at least 0."""
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
            for each in (
                () if strength is None else strength if isinstance(strength, tuple | list) else np.ravel(strength)
            ):
                self._require_number("strength", each, 0, "Try 1e-4.")
            if regularizer is not None:
                # it says whether it takes one number or a pair
                jax.eval_shape(partial(regularizer, strength=strength), self.params)


def _needs_net(metric: Metric) -> bool:
    """Whether a metric has a parameter `net` without default."""
    return (
        "net" in parameters_of(metric)
        and inspect.signature(metric).parameters["net"].default is inspect.Parameter.empty
    )


def _takes_others(function: Any, known: Iterable[str]) -> str:
    """The name and parameters of a function if it cannot be called with (params, x, y), else "".

    Args:
        known: what it gets besides these if it has parameters of those names; none if it may take anything by name.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    fits = str(getattr(function, "__module__", "")).partition(".")[0] not in ON_THE_HOST
    try:
        if known:
            signature.bind(None, None, None, **{name: None for name in known if name in signature.parameters})
        else:
            signature.bind_partial(None, None, None)
    except TypeError:
        fits = False
    return "" if fits else f"{getattr(function, '__name__', type(function).__name__)}{signature}"
