"""The estimators: multi-layer perceptrons with scikit-learn's names, meanings and numbers.

Promises: with the same `random_state` the weights are those of scikit-learn's estimator of the same name, to rounding.
Letters: N rows, K outputs.
"""

from typing import Any

import numpy as np
import scipy.special
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import column_or_1d, validate_data

from fnn.estimators.conventions import ClippedSigmoidCrossEntropy, ClippedSoftmaxCrossEntropy
from fnn.estimators.fitting import Perceptron, dense_rows
from fnn.losses import Loss, half_squared_error
from fnn.losses import get as get_loss


class MLPClassifier(ClassifierMixin, Perceptron):
    """A classifier with scikit-learn's names and numbers, trained by the rules of this package.

    Every argument and attribute means what it means in `sklearn.neural_network.MLPClassifier`, and with the same
    `random_state` the weights are the same to rounding. What is new:

    Args:
        hidden_layer_sizes, solver, alpha, batch_size, max_iter, tol, early_stopping, …: as in scikit-learn.
        activation: as in scikit-learn; also any activation of this package, such as `"elu"` or a record, or a list with
            one for each hidden layer.
        class_weight: {class: weight}, or "balanced"; multiplied by the `sample_weight` of `fit`.
        dropout: the share of the outputs of every hidden layer that a step drops at random; not with lbfgs.

    Attributes:
        coefs_, intercepts_, loss_curve_, best_loss_, classes_, n_iter_, …: as in scikit-learn.
        validation_loss_curve_: with `early_stopping`, the loss of the rows held out after every epoch, without penalty.

    >>> from fnn.estimators import MLPClassifier
    >>> x, y = fnn.data.digits()
    >>> model = MLPClassifier((32,), activation=["tanh"], max_iter=30, tol=0, n_iter_no_change=30, random_state=0)
    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # it could go on learning
    ...     _ = model.fit(x[:1500], y[:1500])
    >>> model.score(x[1500:], y[1500:]) > 0.85
    True
    """

    def __init__(
        self, hidden_layer_sizes: Any = (100,), activation: Any = "relu", *, solver: str = "adam",
        alpha: float = 0.0001, batch_size: Any = "auto", learning_rate: str = "constant",
        learning_rate_init: float = 0.001, power_t: float = 0.5, max_iter: int = 200, shuffle: bool = True,
        random_state: Any = None, tol: float = 1e-4, verbose: bool = False, warm_start: bool = False,
        momentum: float = 0.9, nesterovs_momentum: bool = True, early_stopping: bool = False,
        validation_fraction: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
        n_iter_no_change: float = 10, max_fun: int = 15000, class_weight: Any = None, dropout: float = 0.0,
    ) -> None:  # fmt: skip
        self.hidden_layer_sizes, self.activation, self.solver, self.alpha = (
            hidden_layer_sizes,
            activation,
            solver,
            alpha,
        )
        self.batch_size, self.learning_rate, self.learning_rate_init = batch_size, learning_rate, learning_rate_init
        self.power_t, self.max_iter, self.shuffle, self.random_state = power_t, max_iter, shuffle, random_state
        self.tol, self.verbose, self.warm_start, self.momentum = tol, verbose, warm_start, momentum
        self.nesterovs_momentum, self.early_stopping = nesterovs_momentum, early_stopping
        self.validation_fraction, self.beta_1, self.beta_2, self.epsilon = validation_fraction, beta_1, beta_2, epsilon
        self.n_iter_no_change, self.max_fun, self.class_weight = n_iter_no_change, max_fun, class_weight
        self.dropout = dropout

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "MLPClassifier":
        """Train on all rows, for at most `max_iter` epochs, and return the estimator."""
        return self._fit(X, y, sample_weight)

    @available_if(lambda self: self._solver_is_stochastic())
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> "MLPClassifier":
        """Train one epoch on these rows and return the estimator; the first call needs all `classes`."""
        if not hasattr(self, "classes_"):
            if classes is None:
                raise ValueError(
                    "classes must be passed on the first call to partial_fit, got None. Pass np.unique(y) of all data."
                )
            labels = np.asarray(y)
            self._label_binarizer = LabelBinarizer().fit(labels if labels.ndim == 2 else unique_labels(classes))
            self.classes_ = self._label_binarizer.classes_
        elif classes is not None and not np.array_equal(self.classes_, unique_labels(classes)):
            raise ValueError(
                f"classes must be those of the first call to partial_fit, {self.classes_}, got {classes}. Leave them "
                "out."
            )
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row, (N,); with several labels per row, those above ½, (N, K)."""
        return self._decided(self._outputs_of(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, (N, K)."""
        p = self._probabilities(self._outputs_of(X))
        return np.hstack([1 - p, p]) if p.shape[1] == 1 else p

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithm of `predict_proba`, (N, K)."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def _validated(self, X: Any, y: Any, incremental: bool, first: bool) -> tuple[np.ndarray, np.ndarray]:
        X, y = validate_data(
            self, X, y, accept_sparse=["csr", "csc"], multi_output=True, dtype=(np.float64, np.float32),
            reset=first,
        )  # fmt: skip
        X = dense_rows(X)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            classes = unique_labels(y)
            unknown = np.setdiff1d(classes, self.classes_)
            if len(unknown) or (self.warm_start and not incremental and set(classes) != set(self.classes_)):
                raise ValueError(
                    f"y must have the classes of the previous call, {self.classes_}, got {classes}. Fit without "
                    "warm_start, or name all classes in the first partial_fit."
                )
        rows = self._label_binarizer.transform(y)
        self.n_outputs_ = rows.shape[1]
        if self._label_binarizer.y_type_ == "multiclass":
            return X, rows.argmax(axis=1).astype(np.int32)
        return X, rows.astype(X.dtype)

    def _weights(self, y: Any, sample_weight: Any, X: np.ndarray, incremental: bool) -> np.ndarray | None:
        weights = super()._weights(y, sample_weight, X, incremental)
        if self.class_weight is None:
            return weights
        if incremental and self.class_weight == "balanced":
            raise ValueError(
                'class_weight="balanced" needs all data, got partial_fit. Give {class: weight}, from '
                "sklearn.utils.class_weight.compute_class_weight."
            )
        of_classes = compute_sample_weight(self.class_weight, np.asarray(y)).astype(X.dtype)
        return of_classes if weights is None else weights * of_classes

    def _loss(self) -> tuple[Loss, str]:
        if self._label_binarizer.y_type_ == "multiclass":
            return ClippedSoftmaxCrossEntropy(), "softmax"
        return ClippedSigmoidCrossEntropy(), "logistic"

    def _probabilities(self, output: np.ndarray) -> np.ndarray:
        if self.out_activation_ == "softmax":
            return np.asarray(scipy.special.softmax(output, axis=1))
        return scipy.special.expit(output)

    def _decided(self, output: np.ndarray) -> np.ndarray:
        p = self._probabilities(output)
        return np.asarray(self._label_binarizer.inverse_transform(p.ravel() if p.shape[1] == 1 else p))

    def _score(self, y: np.ndarray, output: np.ndarray, weights: np.ndarray | None) -> float:
        rows = np.eye(self.n_outputs_)[y] if y.ndim == 1 else y
        true = self._label_binarizer.inverse_transform(rows.ravel() if rows.shape[1] == 1 else rows)
        return float(accuracy_score(true, self._decided(output), sample_weight=weights))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, Perceptron):
    """A regressor with scikit-learn's names and numbers, trained by the rules of this package.

    Every argument and attribute means what it means in `sklearn.neural_network.MLPRegressor`, and with the same
    `random_state` the weights are the same to rounding. What is new:

    Args:
        hidden_layer_sizes, solver, alpha, batch_size, max_iter, tol, early_stopping, …: as in scikit-learn.
        activation: as in scikit-learn; also any activation of this package, or a list with one for each hidden layer.
        dropout: the share of the outputs of every hidden layer that a step drops at random; not with lbfgs.
        loss: "squared_error", which is ½ (p − y)² as in scikit-learn, or a record of this package, such as `fnn.huber`.

    Attributes:
        coefs_, intercepts_, loss_curve_, best_loss_, n_iter_, …: as in scikit-learn.
        validation_loss_curve_: with `early_stopping`, the loss of the rows held out after every epoch, without penalty.

    >>> from fnn.estimators import MLPRegressor
    >>> import numpy as np
    >>> x = np.linspace(-1, 1, 40)[:, None]
    >>> model = MLPRegressor((16,), activation="tanh", solver="lbfgs", random_state=0).fit(x, x[:, 0] ** 2)
    >>> model.score(x, x[:, 0] ** 2) > 0.99
    True
    """

    def __init__(
        self, hidden_layer_sizes: Any = (100,), activation: Any = "relu", *, loss: Any = "squared_error",
        solver: str = "adam", alpha: float = 0.0001, batch_size: Any = "auto", learning_rate: str = "constant",
        learning_rate_init: float = 0.001, power_t: float = 0.5, max_iter: int = 200, shuffle: bool = True,
        random_state: Any = None, tol: float = 1e-4, verbose: bool = False, warm_start: bool = False,
        momentum: float = 0.9, nesterovs_momentum: bool = True, early_stopping: bool = False,
        validation_fraction: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
        n_iter_no_change: float = 10, max_fun: int = 15000, dropout: float = 0.0,
    ) -> None:  # fmt: skip
        self.hidden_layer_sizes, self.activation, self.solver, self.alpha = (
            hidden_layer_sizes,
            activation,
            solver,
            alpha,
        )
        self.batch_size, self.learning_rate, self.learning_rate_init = batch_size, learning_rate, learning_rate_init
        self.power_t, self.max_iter, self.shuffle, self.random_state = power_t, max_iter, shuffle, random_state
        self.tol, self.verbose, self.warm_start, self.momentum = tol, verbose, warm_start, momentum
        self.nesterovs_momentum, self.early_stopping, self.loss = nesterovs_momentum, early_stopping, loss
        self.validation_fraction, self.beta_1, self.beta_2, self.epsilon = validation_fraction, beta_1, beta_2, epsilon
        self.n_iter_no_change, self.max_fun, self.dropout = n_iter_no_change, max_fun, dropout

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "MLPRegressor":
        """Train on all rows, for at most `max_iter` epochs, and return the estimator."""
        return self._fit(X, y, sample_weight)

    @available_if(lambda self: self._solver_is_stochastic())
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> "MLPRegressor":
        """Train one epoch on these rows and return the estimator."""
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> np.ndarray:
        """Return the predicted values, (N,) or (N, K)."""
        return self._decided(self._outputs_of(X))

    def _validated(self, X: Any, y: Any, incremental: bool, first: bool) -> tuple[np.ndarray, np.ndarray]:
        X, y = validate_data(
            self, X, y, accept_sparse=["csr", "csc"], multi_output=True, y_numeric=True,
            dtype=(np.float64, np.float32), reset=first,
        )  # fmt: skip
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        y = y.reshape(len(y), -1).astype(X.dtype)
        self.n_outputs_ = y.shape[1]
        return dense_rows(X), y

    def _loss(self) -> tuple[Loss, str]:
        return half_squared_error if self.loss == "squared_error" else get_loss(self.loss), "identity"

    def _decided(self, output: np.ndarray) -> np.ndarray:
        return output.ravel() if output.shape[1] == 1 else output

    def _score(self, y: np.ndarray, output: np.ndarray, weights: np.ndarray | None) -> float:
        return float(r2_score(y, output, sample_weight=weights))
