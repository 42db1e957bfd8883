"""What a program is compiled for, and the job it does: gradient, optimizer, rows, and the numbers that may change.

Promises: a `Config` is static: another config is another program; a `Job` is a pytree of arrays with its config.
Refuses: a gradient that returns anything but (value, gradients). Letters: N rows, w̄ the mean of their weights.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.adapter import lent_value
from fnn.gradients import Backprop, Objective
from fnn.metrics import accuracy
from fnn.optimizers import Optimizer
from fnn.regularizers import Strength
from fnn.tracing import traced
from fnn.training.placement import HERE, Placement
from fnn.training.state import (
    AnyOptimizer,
    Batch,
    Best,
    Dealt,
    Hyperparams,
    Metric,
    TrainState,
    ValueAndGrad,
    Window,
    measuring_dtype,
)
from fnn.types import Array, Key, Params, PyTree, wide

#: What a metric gets besides (params, x, y) if it has a parameter of this name.
BY_NAME = ("sample_weight", "statistics", "net")


class ByIdentity:
    """A function that cannot be hashed, such as a dataclass that holds a dict: equal only to itself."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__wrapped__ = function

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.__wrapped__(*args, **options)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByIdentity) and other.__wrapped__ is self.__wrapped__

    def __hash__(self) -> int:
        return id(self.__wrapped__)

    def __repr__(self) -> str:
        return repr(self.__wrapped__)


def hashable(function: Any) -> Any:
    """The function as it is, or by its identity if it has no hash: programs are looked up by their functions."""
    try:
        hash(function)
    except TypeError:
        return ByIdentity(function)
    return function


@dataclass(frozen=True)
class Config:
    """What a program is compiled for; any change makes another program."""

    value_and_grad: ValueAndGrad | None
    objective: Objective | None
    optimizer: AnyOptimizer
    batch_size: int
    accumulate: int = 1
    metrics: tuple[tuple[str, Metric], ...] = ()
    monitor: str = ""
    """The measure that early stopping watches."""
    sign: float = 1.0
    """−1 if more of the watched measure is better, else 1."""
    skip: bool = False
    """Whether steps in which the loss or a gradient is not finite are left out."""
    runs: str = "one"
    """"one" run; or many side by side, "each" with its own order of the rows, or all with one "shared" order."""
    streamed: bool = False
    """Whether the rows arrive piece by piece, so that metrics cannot be measured on all of them."""
    weights: str = ""
    """"mean": weights are divided by their mean over all rows, and the gradient takes the denominator of the batch;
    "own": the gradient takes the weights as they are and applies them in its own way."""
    placement: Placement = HERE
    """Where the arrays are placed."""
    caller: str = "fit"
    """The function named in messages that are raised while a step is traced."""
    texts: dict[Any, str] = field(default_factory=dict, compare=False, repr=False)
    """What its functions compute, as far as `programs` has read them in this run."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "value_and_grad", hashable(self.value_and_grad))
        object.__setattr__(self, "metrics", tuple((name, hashable(metric)) for name, metric in self.metrics))

    def start(self, params: Params, key: Key, hyperparams: Hyperparams) -> TrainState:
        """The state before the first step."""
        zero = jnp.zeros((), measuring_dtype(params, self.caller))
        count = jnp.zeros((), jnp.int32)
        optimizer_state = self.begun(params, hyperparams.rate)
        if self.accumulate > 1:
            total = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, wide(leaf.dtype)), params)
            optimizer_state = Window(optimizer_state, total, count, count, zero)
        state = TrainState(params, optimizer_state, key, count, count, zero, zero, count)
        if self.has_modes:
            assert self.objective is not None
            state = state._replace(statistics=self.objective.net.start(params))
        return self.watch(state, hyperparams, 0)

    @property
    def has_modes(self) -> bool:
        """Whether the net behaves differently in training and in evaluation, as it does with dropout."""
        return self.objective is not None and self.objective.net.has_modes

    def watch(self, state: TrainState, hyperparams: Hyperparams, watched: int) -> TrainState:
        """The state, with room for the best parameters if early stopping is on.

        `watched` identifies what is watched; a best value of anything else is forgotten.
        """
        if hyperparams.patience is None:
            return state._replace(best=None)
        waited, number = jnp.zeros((), jnp.int32), jnp.asarray(watched, jnp.uint32)
        if state.best is not None and int(state.best.watched) == watched:
            return state._replace(best=state.best._replace(waited=waited))
        # a finite number, so that JAX_DEBUG_INFS does not object
        dtype = measuring_dtype(state.params)
        worst = jnp.asarray(jnp.finfo(dtype).max, dtype)
        return state._replace(best=Best(state.params, worst, waited, number, state.statistics))

    def gradient(
        self, params: Params, batch: Batch, strength: Strength | None, statistics: PyTree, key: Key | None
    ) -> tuple[Array, Params, PyTree]:
        """(value, gradients, the statistics after the step) on these rows; `key` is the key of the step, for a net with
        two modes."""
        assert self.value_and_grad is not None
        options = self.options(batch, strength)
        if self.has_modes:
            options |= {"statistics": statistics, "key": key}
        try:
            with traced(self.caller, "gradient"):
                result: Any = self.value_and_grad(params, batch.x, batch.y, **options)
        except TypeError as error:
            # jax.value_and_grad of an objective that returns a pair
            if not self.has_modes or "scalar-output" not in str(error):
                raise
            result = None
        if not self.has_modes:
            return (*_require_pair(self.caller, result, params), statistics)
        match result:
            case ((value, statistics), gradients):
                return (*_require_pair(self.caller, (value, gradients), params), statistics)
        raise TypeError(
            f"{self.caller}: for a net with layers that behave differently in training, the gradient must return "
            "((value, statistics), gradients), got something else. Give fnn.backprop(net, loss) or "
            "jax.value_and_grad(fnn.objective(net, loss), has_aux=True)."
        )

    def value(
        self, params: Params, batch: Batch, strength: Strength | None, statistics: PyTree, key: Key | None
    ) -> Array:
        """The value alone: Optax's line searches evaluate it at other parameters and differentiate it; they then get
        the gradients that come with it."""
        return lent_value(lambda *args: self.gradient(*args)[:2])(params, batch, strength, statistics, key)

    def options(self, batch: Batch, strength: Strength | None) -> dict[str, Any]:
        """What the gradient takes besides parameters and rows."""
        options: dict[str, Any] = {} if strength is None else {"strength": strength}
        if batch.sample_weight is not None:
            options["sample_weight"] = batch.sample_weight
            if self.weights != "own":
                # the weights have mean 1 over all rows
                options["weight_sum"] = float(len(batch))
        return options

    def build(self, rate: Array | np.ndarray | None) -> Any:
        """The optimizer, built with its learning rate if that is an argument."""
        optimizer: Any = self.optimizer
        if rate is None or not callable(optimizer):
            return optimizer
        try:
            made = optimizer(rate)
        except jax.errors.ConcretizationTypeError as error:
            raise TypeError(
                "the optimizer cannot be built from a learning rate that is an argument of the program, as in most "
                f"schedules of Optax, got {optimizer!r}. Build it with its numbers, or multiply: optax.chain("
                "optax.scale_by_adam(), optax.scale_by_schedule(s), optax.scale_by_learning_rate(rate))."
            ) from error
        if not hasattr(made, "init") or not hasattr(made, "update"):
            raise TypeError(
                f"{self.caller}: a function given as the optimizer must make one from a learning rate, got a "
                f"{type(made).__name__} from {optimizer!r}. Give optax.adam."
            )
        return made

    def begun(self, params: Params, rate: Array | np.ndarray | None) -> PyTree:
        """The state of the optimizer before its first update."""
        optimizer = self.build(rate)
        try:
            with traced(self.caller, "optimizer"):
                return optimizer.init(params)
        except (TypeError, ValueError, AttributeError) as error:
            if isinstance(optimizer, Optimizer) or str(error).startswith(f"{self.caller}: "):
                raise
            raise TypeError(
                f"{self.caller}: the optimizer must start from these parameters, got {type(error).__name__}: "
                f"{str(error).rstrip('.')}. Use one that starts from a tree of arrays."
            ) from error

    def measure(self, state: TrainState, data: Batch | Dealt, validation: Batch | None) -> dict[str, Array]:
        """What an epoch measures: the mean loss over its rows; the metrics on all rows, if they are in memory; and the
        same on the validation rows."""
        dtype = measuring_dtype(state.params)
        validation = self.placement.rows(validation)
        values: dict[str, Any] = {"loss": state.loss_sum / state.weight_sum}
        if isinstance(data, Batch) and not self.streamed:
            rows: Batch = self.placement.rows(data)
            for name, metric in self.metrics:
                values[name] = self.measured(name, metric, state.params, state.statistics, rows)
        if validation is not None:
            if self.objective is not None:
                with traced(self.caller, "gradient"):
                    scores = self.objective.predict(state.params, validation.x, state.statistics)
                    values["validation_loss"] = self.objective.loss(scores, validation.y, validation.sample_weight)
                if jnp.issubdtype(validation.y.dtype, jnp.integer) and validation.y.ndim == scores.ndim - 1:
                    values["validation_accuracy"] = accuracy(scores, validation.y, validation.sample_weight)
            for name, metric in self.metrics:
                value = self.measured(name, metric, state.params, state.statistics, validation)
                values[f"validation_{name}"] = value
        return {name: jnp.asarray(value, dtype) for name, value in values.items()}

    def measured(self, name: str, metric: Metric, params: Params, statistics: PyTree, batch: Batch) -> Array:
        """The metric on these rows, given their weights, the net, or its statistics if it has parameters of those
        names."""
        net = None if self.objective is None else self.objective.net
        known = dict(zip(BY_NAME, (batch.sample_weight, statistics, net), strict=True))
        names = [name for name in parameters_of(metric) if name != "net" or net is not None]
        with traced(self.caller, "metric", f"the metric {name!r}"):
            value = metric(params, batch.x, batch.y, **{each: known[each] for each in known if each in names})
        if shape := _not_one_number(value):
            remedy = "Take its real part: jnp.real" if "complex" in shape else "Take the mean: jnp.mean"
            raise ValueError(f"{self.caller}: the metric {name!r} must return one number, got {shape}. {remedy}.")
        return value


@partial(jax.tree_util.register_dataclass, data_fields=["data", "validation", "hyperparams"], meta_fields=["config"])
@dataclass(frozen=True)
class Job:
    """All that stays the same during a run; `data` is the current piece if rows are streamed."""

    config: Config
    data: Batch | Dealt
    validation: Batch | None
    hyperparams: Hyperparams

    @property
    def rows(self) -> Batch:
        """The rows in memory."""
        assert isinstance(self.data, Batch)
        return self.data

    def measured_names(self, state: TrainState) -> list[str]:
        """The names of what an epoch measures."""
        return list(jax.eval_shape(self.config.measure, state, self.data, self.validation))


def objective_of(value_and_grad: ValueAndGrad) -> Objective | None:
    """The objective behind a gradient, if it can be known: `jax.value_and_grad` and `jax.jit` keep what they wrap."""
    function: Any = value_and_grad
    while not isinstance(function, Backprop | Objective) and hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    if isinstance(function, Backprop):
        return function.objective
    return function if isinstance(function, Objective) else None


def _require_pair(caller: str, result: Any, params: Params) -> tuple[Array, Params]:
    """What the gradient returned, if it is (value, gradients): checked while tracing, before the first step."""
    pair = isinstance(result, tuple | list) and len(result) == 2
    if pair and jax.tree.structure(result[0]) == jax.tree.structure(params) != jax.tree.structure(result[1]):
        raise TypeError(f"{caller}: the gradient must return (value, gradients), got (gradients, value). Swap them.")
    if pair and isinstance(result[0], tuple):
        raise TypeError(
            f"{caller}: the gradient must return (value, gradients), got ((value, auxiliary), gradients), as with "
            "has_aux=True. Leave has_aux out; measure with metrics={name: f}."
        )
    if not pair or jax.tree.structure(result[1]) != jax.tree.structure(params):
        alone = jax.tree.structure(result) == jax.tree.structure(params)
        shape = getattr(result, "shape", None)
        one = f"a {type(result).__name__}" if shape is None else f"one array of shape {shape}"
        got = "gradients without a value" if alone else "gradients of another structure" if pair else one
        raise TypeError(
            f"{caller}: the gradient must return (value, gradients in the structure of params), got {got}. Give "
            "fnn.backprop(net, loss) or jax.value_and_grad(fnn.objective(net, loss)), not jax.grad or the objective."
        )
    if shape := _not_one_number(result[0]):
        remedy = "Take its real part: jnp.real" if "complex" in shape else "Take the mean over the examples: jnp.mean"
        raise ValueError(
            f"{caller}: the value that comes with the gradients must be one number, got {shape}. {remedy}."
        )
    _require_like(caller, result[1], params)
    return jnp.asarray(result[0]), jax.tree.map(_in_floats, result[1], params)


def _in_floats(gradient: Any, parameter: Any) -> Any:
    """Whole numbers as the parameter's floats: a mean of them over a window, or a share, is no whole number."""
    whole = not jnp.issubdtype(jnp.result_type(gradient), jnp.inexact)
    floats = jnp.issubdtype(jnp.result_type(parameter), jnp.floating)
    return jnp.asarray(gradient).astype(jnp.result_type(parameter)) if whole and floats else gradient


def _not_one_number(value: Any) -> str:
    """What this is, if it is not a single number, else ""."""
    if not hasattr(value, "dtype") and not isinstance(value, int | float):
        return f"a {type(value).__name__}"
    if jnp.issubdtype(jnp.result_type(value), jnp.complexfloating):
        return f"a complex number, {jnp.result_type(value)}"
    return f"shape {jnp.shape(value)}" if jnp.ndim(value) else ""


def _require_like(caller: str, gradients: Params, params: Params) -> None:
    """Raise `ValueError` unless each gradient is real and has the shape of its parameter; an update would broadcast
    it."""
    shapes = zip(jax.tree.leaves_with_path(gradients), jax.tree.leaves(params), strict=True)
    for (path, gradient), parameter in shapes:
        if jnp.issubdtype(jnp.result_type(gradient), jnp.complexfloating):
            raise ValueError(
                f"{caller}: the gradient of params{jax.tree_util.keystr(path)} must be real, got "
                f"{jnp.result_type(gradient)}. Take the real part of the loss before it is differentiated: jnp.real."
            )
        if jnp.shape(gradient) != jnp.shape(parameter):
            raise ValueError(
                f"{caller}: the gradient of params{jax.tree_util.keystr(path)} must have shape {jnp.shape(parameter)}, "
                f"got {jnp.shape(gradient)}. Sum over the axes of the examples and over no other."
            )


def parameters_of(function: Any) -> list[str]:
    """The names of the parameters of a function, with "**" where it takes any keyword."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return ["**" if each.kind is each.VAR_KEYWORD else each.name for each in parameters]
