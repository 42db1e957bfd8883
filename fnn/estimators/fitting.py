"""The training shared by classifier and regressor, with random numbers drawn in scikit-learn's order.

Promises: with the same `random_state` the weights are those of scikit-learn's estimator of the same name, to rounding:
the same first weights, batches, updates and end. float64 data is trained in float64, float32 data in float32, whatever
mode JAX is in. The gradient comes from the rules of this package.
Refuses: a process that was forked after JAX had been used, where a fit could hang; sparse data is made dense.
Letters: N rows, I features, K outputs.
"""

import os
from abc import abstractmethod
from dataclasses import replace
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

import jax
import numpy as np
import scipy.optimize
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, shuffle
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from fnn.checks import warn
from fnn.estimators import programs
from fnn.estimators.conventions import (
    Decay,
    DroppingDense,
    activations,
    first_weights,
)
from fnn.estimators.programs import Rows, Setup, filled, filled_batch, filled_features, filled_rows
from fnn.gradients import objective
from fnn.layers import Layer
from fnn.losses import Loss, half_squared_error
from fnn.network import dense, sequential
from fnn.training.step import initial_state
from fnn.types import Params

#: What an option must be: (name, condition, in words, what to try).
CONDITIONS = (
    ("alpha", lambda v: 0 <= v < np.inf, "finite and at least 0", "1e-4"),
    ("learning_rate_init", lambda v: 0 < v < np.inf, "finite and above 0", "1e-3"),
    ("max_iter", lambda v: 1 <= v < np.inf and v == int(v), "a whole number from 1 on", "200"),
    ("max_fun", lambda v: 1 <= v < np.inf and v == int(v), "a whole number from 1 on", "15000"),
    ("tol", lambda v: v >= 0, "at least 0", "1e-4"),
    ("momentum", lambda v: 0 <= v <= 1, "from 0 to 1", "0.9"),
    ("power_t", lambda v: 0 <= v < np.inf, "finite and at least 0", "0.5"),
    ("validation_fraction", lambda v: 0 < v < 1, "above 0 and below 1", "0.1"),
    ("beta_1", lambda v: 0 <= v < 1, "at least 0 and below 1", "0.9"),
    ("beta_2", lambda v: 0 <= v < 1, "at least 0 and below 1", "0.999"),
    ("epsilon", lambda v: 0 < v < np.inf, "finite and above 0", "1e-8"),
    ("dropout", lambda v: 0 <= v < 1, "at least 0 and below 1", "0.2"),
    ("n_iter_no_change", lambda v: v >= 1, "at least 1", "10"),
)
#: The values that an option may have.
CHOICES = {"solver": ("lbfgs", "sgd", "adam"), "learning_rate": ("constant", "invscaling", "adaptive")}
#: Below this, an adaptive rate no longer shrinks: training ends.
SMALLEST_RATE = 1e-6


#: The process that loaded this file, and with it JAX; a fork does not copy JAX's threads.
LOADED_IN = os.getpid()


def require_unforked() -> None:
    """Raise `RuntimeError` in a process that was forked after this file was loaded."""
    if os.getpid() != LOADED_IN:
        raise RuntimeError(
            "an estimator of fnn must be used in the process that loaded it or in a fresh one, got a fork, in which "
            "JAX could hang. Use joblib's loky backend, which is the default, or the start method spawn."
        )


class Perceptron(BaseEstimator):
    """The base of classifier and regressor: the training."""

    # set by the estimators
    hidden_layer_sizes: Any
    activation: Any
    solver: str
    alpha: float
    batch_size: Any
    learning_rate: str
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    random_state: Any
    tol: float
    verbose: bool
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    max_fun: int
    dropout: float

    # set by a fit
    n_features_in_: int
    n_outputs_: int
    coefs_: list[np.ndarray]
    intercepts_: list[np.ndarray]
    loss_curve_: list[float]
    best_loss_: Any
    validation_scores_: Any
    validation_loss_curve_: Any
    best_validation_score_: Any

    @abstractmethod
    def _validated(self, X: Any, y: Any, incremental: bool, first: bool) -> tuple[np.ndarray, np.ndarray]:
        """(dense X, targets (N, K) as the net learns them)."""

    @abstractmethod
    def _loss(self) -> tuple[Loss, str]:
        """(the loss of the net's last weighted sums, scikit-learn's name for the function after them)."""

    @abstractmethod
    def _decided(self, output: np.ndarray) -> np.ndarray:
        """The prediction that belongs to these outputs."""

    @abstractmethod
    def _score(self, y: np.ndarray, output: np.ndarray, weights: np.ndarray | None) -> float:
        """Accuracy or R² of these outputs, or NaN."""

    # ---- fitting ----------------------------------------------------------------------------------------------------

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, incremental: bool = False) -> Any:
        self._require_options(incremental)
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        raw = y
        X, y = self._validated(X, y, incremental, first)
        with np.errstate(over="ignore"):
            weights = self._weights(raw, sample_weight, X, incremental)
            self._require_weights(weights)
        random = check_random_state(self.random_state)
        with jax.enable_x64(X.dtype == np.float64):
            if first:
                self._initialize(random, X)
            elif (was := [len(b) for b in self.intercepts_]) != (now := [*self._hidden(), self.n_outputs_]):
                raise ValueError(
                    f"{type(self).__name__}: the sizes of hidden layers and outputs must stay {was} when training goes "
                    f"on, got {now}. Fit without warm_start."
                )
            self._require_targets(X, y)
            self._params, loss = self._filled_params(), self._loss()[0]
            outputs = self.n_outputs_ if loss is half_squared_error else 1
            net, ahead = self._net(self.dropout), bool(self.nesterovs_momentum)
            setup = Setup(net, loss, self.solver, ahead, filled_rows(len(X)), outputs)
            try:
                if self.solver == "lbfgs":
                    self._fit_all_rows(setup, X, y, weights)
                else:
                    self._fit_batches(setup, X, y, weights, random, incremental)
            finally:
                self._keep(self._params)
                del self._params
        if not all(np.isfinite(each).all() for each in (*self.coefs_, *self.intercepts_)):
            raise ValueError(
                f"{type(self).__name__}: the weights must stay finite, got NaN or infinity. Scale the features, as "
                "StandardScaler does, or lower learning_rate_init."
            )
        return self

    def _fit_batches(
        self, setup: Setup, X: np.ndarray, y: np.ndarray, weights: np.ndarray | None, random: Any, incremental: bool
    ) -> None:
        train, held_out = np.arange(len(X)), None
        if self.early_stopping:
            one = y.reshape(-1, 1) if isinstance(self, ClassifierMixin) and self.n_outputs_ == 1 else None
            train, held_out = train_test_split(
                train, random_state=random, test_size=self.validation_fraction,
                stratify=None if one is None else one.astype(bool),
            )  # fmt: skip
            if len(held_out) < 2:
                raise ValueError(
                    f"{type(self).__name__}: at least 2 rows must be held out, got {len(held_out)}. Give a larger "
                    "validation_fraction, or more rows."
                )
            held_out = X[held_out], y[held_out], None if weights is None else weights[held_out]
        count = len(train)
        rows = _rows(X[train], y[train], None if weights is None else weights[train])
        batch = min(200, count) if self.batch_size == "auto" else min(int(self.batch_size), count)
        if self.batch_size != "auto" and batch < self.batch_size:
            warn(
                f"batch_size is {self.batch_size}, got {count} rows to train on: a single batch holds them all.",
            )
        setup = replace(setup, batch=filled_batch(batch, count))
        numbers = self._numbers(X.dtype)
        # only dropout draws numbers that scikit-learn would not draw; different rows get different noise
        seed = (random.randint(2**31 - 1) + self.t_) % 2**31 if self.dropout else 0
        key = jax.random.key(seed)
        state = initial_state(self._params, setup.optimizer(numbers), key=key, net=setup.net)
        solver, before = getattr(self, "_optimizer_state", (None, None))
        if incremental and solver == self.solver:
            state = state._replace(optimizer_state=before)
        else:
            self._rate = float(self.learning_rate_init)
        self._require_curves()
        order, best = np.arange(count), None
        validation = None if held_out is None else _rows(*held_out)
        self.n_iter_ = 0
        try:
            for _ in range(int(self.max_iter)):
                if self.shuffle:
                    order = np.asarray(shuffle(order, random_state=random))
                numbers["rate"] = np.asarray(self._rate, X.dtype)
                state, total, counted = programs.epoch(
                    setup, numbers, state, rows, filled(order, len(rows.x)).astype(np.int32), np.int32(count),
                    np.int32(batch),
                )  # fmt: skip
                self._params = state.params
                self.n_iter_ += 1
                self.t_ += count
                self.loss_ = float(total) / float(counted)
                self.loss_curve_.append(self.loss_)
                if self.verbose:
                    print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
                if validation is not None and held_out is not None:
                    self.validation_loss_curve_.append(float(programs.mean_loss(setup, self._params, validation)))
                    best = self._watch_validation(held_out, best)
                else:
                    self._watch_loss()
                if self.solver == "sgd" and self.learning_rate == "invscaling":
                    self._rate = float(self.learning_rate_init) / (self.t_ + 1) ** self.power_t
                if self._no_improvement_count > self.n_iter_no_change and self._ends():
                    break
                if incremental:
                    break
                if self.n_iter_ == self.max_iter:
                    warn(
                        f"{type(self).__name__}: the loss was still falling after max_iter={self.max_iter} epochs. "
                        "Give more, or a larger tol.",
                        ConvergenceWarning,
                    )
        except KeyboardInterrupt:
            warn("Training interrupted by user.")
        if best is not None:
            self._params = best
        # another solver has a state of its own
        self._optimizer_state = self.solver, jax.device_get(state.optimizer_state)

    def _fit_all_rows(self, setup: Setup, X: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> None:
        rows = _rows(X, y, weights)
        alpha = np.asarray(self.alpha, X.dtype)
        # scikit-learn packs all weights, then all biases; the order affects only rounding
        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(self._params)]
        structure = jax.tree.structure(self._params)
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])

        def unpacked(flat: np.ndarray) -> Params:
            pieces = np.split(flat.astype(X.dtype, copy=False), ends[:-1])
            return jax.tree.unflatten(structure, [each.reshape(s) for each, s in zip(pieces, shapes, strict=True)])

        def packed(tree: Params) -> np.ndarray:
            return np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in jax.tree.leaves(tree)])

        def value_of(flat: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradients = jax.device_get(programs.value_and_gradient(setup, alpha, unpacked(flat), rows))
            return float(value), packed(gradients)

        found = scipy.optimize.minimize(
            value_of, packed(self._params), method="L-BFGS-B", jac=True,
            options={"maxfun": int(self.max_fun), "maxiter": int(self.max_iter), "gtol": self.tol},
        )  # fmt: skip
        self.n_iter_, self.loss_, self._params = min(int(found.nit), self.max_iter), float(found.fun), unpacked(found.x)
        if found.status != 0:
            warn(
                f"{type(self).__name__}: lbfgs did not converge after {found.nit} iterations: {found.message}. Give a "
                "larger max_iter, or scale the features.",
                ConvergenceWarning,
            )

    # ---- when it ends -----------------------------------------------------------------------------------------------

    def _watch_loss(self) -> None:
        worse = self.loss_curve_[-1] > self.best_loss_ - self.tol
        self._no_improvement_count = self._no_improvement_count + 1 if worse else 0
        self.best_loss_ = min(self.best_loss_, self.loss_curve_[-1])

    def _watch_validation(self, held_out: tuple, best: Params | None) -> Params | None:
        """Keep the best parameters so far, by the score on the held-out rows."""
        x, y, weights = held_out
        output = self._output(self._params, x)
        score = self._score(y, output, weights) if np.isfinite(output).all() else np.nan
        self.validation_scores_.append(score)
        if self.verbose:
            print(f"Validation score: {score:f}")
        worse = score < self.best_validation_score_ + self.tol
        self._no_improvement_count = self._no_improvement_count + 1 if worse else 0
        if score > self.best_validation_score_:
            self.best_validation_score_ = score
            return self._params
        return best

    def _ends(self) -> bool:
        """Whether training ends; an adaptive rate shrinks first."""
        if self.solver != "sgd" or self.learning_rate != "adaptive" or self._rate <= SMALLEST_RATE:
            return True
        self._rate /= 5.0
        self._no_improvement_count = 0
        return False

    # ---- parameters, rows and options -------------------------------------------------------------------------------

    def _initialize(self, random: Any, X: np.ndarray) -> None:
        self.n_iter_, self.t_ = 0, 0
        self.out_activation_ = self._loss()[1]
        widths = [X.shape[1], *self._hidden(), self.n_outputs_]
        self.n_layers_ = len(widths)
        hidden = activations(self.activation, len(widths) - 2)
        # the last layer is drawn for the activation before it
        drawn_for = [*hidden, *(hidden[-1:] or activations(self.activation, 1))]
        drawn = [
            first_weights(random, *pair, each, X.dtype) for pair, each in zip(pairwise(widths), drawn_for, strict=True)
        ]
        self.coefs_, self.intercepts_ = [W for W, _ in drawn], [b for _, b in drawn]
        self._no_improvement_count = 0
        self.__dict__.pop("_optimizer_state", None)
        for name in ("loss_curve_", "validation_scores_", "validation_loss_curve_", "best_validation_score_"):
            self.__dict__.pop(name, None)
        self.best_loss_ = None
        if self.solver != "lbfgs":
            self._require_curves()

    def _require_curves(self) -> None:
        """Curves and best values, those begun that the solver and early stopping need and an earlier fit did not."""
        stops = bool(self.early_stopping)
        begun = {
            "loss_curve_": [], "validation_scores_": [] if stops else None,
            "validation_loss_curve_": [] if stops else None, "best_validation_score_": -np.inf if stops else None,
            "best_loss_": None if stops else np.inf,
        }  # fmt: skip
        for name, value in begun.items():
            if getattr(self, name, None) is None:
                setattr(self, name, value)

    def _require_targets(self, X: np.ndarray, y: np.ndarray) -> None:
        """Raise where a loss of the package cannot take these targets."""
        loss = self._loss()[0]
        if loss is not half_squared_error:
            x = filled(X, len(X), filled_features(X.shape[1]))
            objective(self._net(), loss).validate_target(self._filled_params(), x, y)

    def _net(self, rate: float = 0.0) -> Layer:
        """The net with the fitted sizes and padded features; in training with dropout after every hidden layer."""
        widths = [filled_features(len(self.coefs_[0])), *map(len, self.intercepts_)]
        *below, last = pairwise(widths)
        each = zip(below, activations(self.activation, len(below)), strict=True)
        hidden = [DroppingDense(*pair, a, rate=rate) if rate else dense(*pair, activation=a) for pair, a in each]
        return sequential(*hidden, dense(*last))

    def _filled_params(self) -> Params:
        first, *rest = self.coefs_
        return tuple(
            {"W": W, "b": b}
            for W, b in zip((filled(first, filled_features(len(first))), *rest), self.intercepts_, strict=True)
        )

    def _keep(self, params: Params) -> None:
        """Store the parameters as scikit-learn shows them."""
        params = jax.device_get(params)
        self.coefs_ = [np.array(layer["W"]) for layer in params]
        self.coefs_[0] = self.coefs_[0][: self.n_features_in_]
        self.intercepts_ = [np.array(layer["b"]) for layer in params]

    def _output(self, params: Params, X: np.ndarray) -> np.ndarray:
        """The net's last weighted sums, (N, K)."""
        x = filled(X, filled_rows(len(X)), filled_features(X.shape[1]))
        return np.asarray(programs.predict(self._net(), params, x))[: len(X)]

    def _outputs_of(self, X: Any) -> np.ndarray:
        require_unforked()
        check_is_fitted(self)
        X = dense_rows(
            validate_data(self, X, accept_sparse=["csr", "csc"], dtype=(np.float64, np.float32), reset=False)
        )
        with jax.enable_x64(X.dtype == np.float64):
            params = jax.tree.map(lambda leaf: np.asarray(leaf, X.dtype), self._filled_params())
            return self._output(params, X)

    def _hidden(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        text = isinstance(sizes, str | bytes)
        sizes = list(sizes) if hasattr(sizes, "__iter__") and not text else [sizes]
        whole = [isinstance(size, Integral) or (isinstance(size, float) and size.is_integer()) for size in sizes]
        if not all(whole) or any(size <= 0 for size in sizes):
            got = repr(sizes[0]) if text else sizes
            raise ValueError(f"hidden_layer_sizes must be whole numbers > 0, got {got}. Try (100,).")
        return [int(size) for size in sizes]

    def _numbers(self, dtype: Any) -> dict[str, Any]:
        one = {"alpha": self.alpha, "eps": self.epsilon, "momentum": self.momentum, "rate": self.learning_rate_init}
        numbers: dict[str, Any] = {name: np.asarray(value, dtype) for name, value in one.items()}
        return numbers | {"b1": Decay.of(self.beta_1, dtype), "b2": Decay.of(self.beta_2, dtype)}

    def _weights(self, y: Any, sample_weight: Any, X: np.ndarray, incremental: bool) -> np.ndarray | None:
        """The weight of each row, or None."""
        if sample_weight is None:
            return None
        weights = np.full(len(X), sample_weight) if np.isscalar(sample_weight) else sample_weight
        weights = check_array(weights, ensure_2d=False, dtype=X.dtype.name, input_name="sample_weight")
        if weights.shape != (len(X),):
            raise ValueError(
                f"sample_weight must have shape ({len(X)},), one weight per row, got {weights.shape}. Pass one column."
            )
        if (weights < 0).any():
            raise ValueError(f"sample_weight must be at least 0, got {weights.min()}. Give the row another target.")
        return weights

    def _require_weights(self, weights: np.ndarray | None) -> None:
        """Raise where the weights, those of classes in them, weigh nothing or cannot be added up."""
        if weights is None:
            return
        if not (weights > 0).any():
            raise ValueError("sample_weight must be above 0 for some row, got weights that are all zero. Leave it out.")
        total = np.sum(weights)
        with np.errstate(over="ignore", divide="ignore"):
            held = np.isfinite(total) and np.isfinite(len(weights) / total)
        if not held:
            raise ValueError(
                f"the weights of the rows must have a sum that {weights.dtype} holds, got weights up to "
                f"{weights.max():.3g}. Divide them by their mean."
            )

    def _require_options(self, incremental: bool) -> None:
        require_unforked()
        where = type(self).__name__
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{where}: {name} must be one of {choices}, got {getattr(self, name)!r}. Pick one.")
        for name, holds, condition, usual in CONDITIONS:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real) or not holds(value):
                raise ValueError(f"{where}: {name} must be {condition}, got {value!r}. Try {usual}.")
        size = self.batch_size
        if size != "auto" and (isinstance(size, bool) or not isinstance(size, Integral) or size < 1):
            raise ValueError(f'{where}: batch_size must be "auto" or a whole number from 1 on, got {size!r}. Try 32.')
        if self.dropout and self.solver == "lbfgs":
            raise ValueError(
                f"{where}: lbfgs needs the same function at every step, got dropout={self.dropout}. Use solver='adam' "
                "or 'sgd', or dropout=0."
            )
        if self.early_stopping and incremental:
            raise ValueError(
                f"{where}: partial_fit sees one batch of data, so it cannot hold rows out, got early_stopping=True. "
                "Set it to False."
            )

    def _solver_is_stochastic(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError("partial_fit needs a stochastic solver, got lbfgs. Use solver='adam' or 'sgd'.")
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def dense_rows(X: Any) -> Any:
    """Sparse rows as an array."""
    return X.toarray() if hasattr(X, "toarray") else X


def _rows(X: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> Rows:
    """The rows on the device, padded."""
    count = filled_rows(len(X))
    weights = np.ones(len(X), X.dtype) if weights is None else weights
    x = filled(X, count, filled_features(X.shape[1]))
    return Rows(*map(jax.numpy.asarray, (x, filled(y, count), filled(weights, count))))
