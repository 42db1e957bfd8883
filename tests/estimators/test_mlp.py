"""The estimators: scikit-learn's own checks, and scikit-learn's own numbers."""

import collections
import pickle
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import fnn
from fnn.estimators import MLPClassifier, MLPRegressor, conventions
from tests import tolerances

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RANDOM = np.random.RandomState(0)
#: 130 rows, so that the last of six batches of 25 is incomplete; the fourth feature is zero.
X = RANDOM.randn(130, 7)
X[:, 3] = 0
WEIGHTS = RANDOM.uniform(0, 2, 130)
WEIGHTS[::9] = 0
CLASSES = {
    "two": np.where(X[:, 0] + X[:, 1] > 0, "yes", "no"),
    "three": np.digitize(X[:, 0], [-0.5, 0.5]),
    "labels": (X[:, :2] > 0).astype(int),
}
VALUES = {"one": X[:, 0] ** 2, "pairs": X[:, :2] ** 2}
#: Six batches an epoch: nine epochs are 54 steps.
OPTIONS = {
    "hidden_layer_sizes": (9, 5), "activation": "tanh", "batch_size": 25, "max_iter": 9, "random_state": 3,
    "alpha": 0.3, "learning_rate_init": 0.01,
}  # fmt: skip


def both(data, **options):
    """Our estimator and scikit-learn's for this target."""
    ours, theirs = (MLPClassifier, TheirClassifier) if data in CLASSES else (MLPRegressor, TheirRegressor)
    return ours(**OPTIONS | options), theirs(**OPTIONS | options)


def apart(one, other):
    """The largest difference of any weight, and of the losses that were reported."""
    pairs = zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True)
    weights = max(np.abs(a - b).max() for a, b in pairs)
    losses = np.abs(np.subtract(*(getattr(each, "loss_curve_", [each.loss_]) for each in (one, other))))
    return max(weights, losses.max())


@pytest.mark.parametrize(
    ("data", "dtype", "options"),
    [
        ("two", "float64", {}),
        ("two", "float32", {"solver": "sgd", "learning_rate": "invscaling"}),
        ("three", "float64", {"solver": "sgd", "nesterovs_momentum": False, "learning_rate": "adaptive", "tol": 0.1}),
        ("three", "float32", {"activation": "logistic", "shuffle": False}),
        ("labels", "float64", {"activation": "relu"}),
        ("one", "float64", {"solver": "lbfgs", "max_iter": 50}),
        ("pairs", "float64", {"hidden_layer_sizes": ()}),
        ("three", "float64", {"solver": "lbfgs", "max_iter": 50}),
    ],
)  # fmt: skip
def test_the_weights_are_those_of_scikit_learn(data, dtype, options):
    x, y = X.astype(dtype), (CLASSES | VALUES)[data]
    for weights in (None, WEIGHTS):
        ours, theirs = (each.fit(x, y, weights) for each in both(data, **options))
        assert apart(ours, theirs) < tolerances.ESTIMATOR
        assert {each.dtype.name for each in ours.coefs_ + ours.intercepts_} == {dtype}
        np.testing.assert_allclose(ours.predict(x) == ours.predict(x), theirs.predict(x) == theirs.predict(x))
        for name in ("n_iter_", "n_layers_", "n_outputs_", "out_activation_", "t_"):
            assert getattr(ours, name) == getattr(theirs, name)
    if data in CLASSES:
        np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=tolerances.ESTIMATOR)
        np.testing.assert_allclose(ours.predict_log_proba(x), theirs.predict_log_proba(x), atol=1e-3)


def test_another_convention_is_seen(monkeypatch):
    def corrected_first(self, gradients, state, params=None):
        adam = fnn.optimizers.Adam(self.learning_rate, self.b1.value, self.b2.value, self.eps)
        return adam.update(gradients, state, params)

    # a size that no other test compiles
    ours, theirs = both("two", hidden_layer_sizes=(4,), epsilon=1e-4)
    monkeypatch.setattr(conventions.AdamLikeScikit, "update", corrected_first)
    assert apart(ours.fit(X, CLASSES["two"]), theirs.fit(X, CLASSES["two"])) > 100 * tolerances.ESTIMATOR


@pytest.mark.parametrize("data", ["two", "three"])
def test_probabilities_are_clipped_in_the_loss_and_nowhere_else(data):
    # so slow that the weights stay where they are: what is compared is one loss far from 0 and 1
    options = {"max_iter": 1, "activation": "identity", "learning_rate_init": 1e-15}
    ours, theirs = (each.fit(X * 1e4, CLASSES[data]) for each in both(data, **options))
    assert 1 < ours.loss_ < 36.1 and apart(ours, theirs) < tolerances.ESTIMATOR
    target = np.ones((1, 1)) if data == "two" else np.array([0])
    far = ours._loss()[0](np.array([[-900.0, 0.0, 0.0]])[:, : ours.n_outputs_], target)
    assert float(far) == pytest.approx(-np.log(np.finfo(np.float32).eps))


def test_early_stopping_is_that_of_scikit_learn_with_a_curve_more():
    for data in ("two", "one"):
        options = {"early_stopping": True, "n_iter_no_change": 2, "max_iter": 60, "validation_fraction": 0.2}
        ours, theirs = (each.fit(X, (CLASSES | VALUES)[data]) for each in both(data, **options))
        assert ours.n_iter_ == theirs.n_iter_ < 60 and apart(ours, theirs) < tolerances.ESTIMATOR
        np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_, atol=tolerances.ESTIMATOR)
        assert ours.best_loss_ is None and len(ours.validation_loss_curve_) == ours.n_iter_
        assert ours.validation_loss_curve_[-1] < ours.validation_loss_curve_[0]


def test_it_goes_on_as_scikit_learn_does():
    parts = np.split(np.arange(130), [25, 70])
    for solver in ("adam", "sgd"):
        pair = both("three", solver=solver)
        for rows in parts:
            for each in pair:
                each.partial_fit(X[rows], CLASSES["three"][rows], classes=[0, 1, 2])
        assert apart(*pair) < tolerances.ESTIMATOR and pair[0].t_ == pair[1].t_ == 130
    pair = both("one", warm_start=True, max_iter=3)
    for _ in range(2):
        for each in pair:
            each.fit(X, VALUES["one"])
    assert apart(*pair) < tolerances.ESTIMATOR and len(pair[0].loss_curve_) == 6
    # a copy goes on where the original does
    copy = pickle.loads(pickle.dumps(pair[0]))
    assert apart(copy.partial_fit(X, VALUES["one"]), pair[0].partial_fit(X, VALUES["one"])) == 0


def test_what_is_new():
    y = CLASSES["two"]
    weighed = MLPClassifier(**OPTIONS, class_weight={"yes": 3.0}).fit(X, y, WEIGHTS)
    assert apart(weighed, MLPClassifier(**OPTIONS).fit(X, y, WEIGHTS * np.where(y == "yes", 3, 1))) == 0
    each = MLPClassifier(**OPTIONS | {"activation": ["elu", fnn.tanh]}).fit(X, y)
    (V, W, U), (a, b, c) = each.coefs_, each.intercepts_
    hidden = fnn.tanh(np.asarray(fnn.elu(X @ V + a[None])) @ W + b[None])
    expected = fnn.sigmoid(np.asarray(hidden) @ U + c[None])
    np.testing.assert_allclose(each.predict_proba(X)[:, 1:], expected, atol=tolerances.ESTIMATOR)
    robust = MLPRegressor(**OPTIONS | {"loss": fnn.huber}).fit(X, VALUES["one"])
    assert robust.loss_curve_[-1] < robust.loss_curve_[0]


def test_dropout_is_of_training_alone_and_repeats():
    y, options = CLASSES["three"], OPTIONS | {"dropout": 0.4}
    model, again = (MLPClassifier(**options).fit(X, y) for _ in range(2))
    assert apart(model, again) == 0 < apart(model, MLPClassifier(**OPTIONS).fit(X, y))
    hidden = X
    for W, b in list(zip(model.coefs_, model.intercepts_, strict=True))[:-1]:
        hidden = np.tanh(hidden @ W + b)
    scores = hidden @ model.coefs_[-1] + model.intercepts_[-1]
    np.testing.assert_array_equal(model.predict(X), scores.argmax(axis=1))
    # other rows, or the same once more, get other noise
    before = [W.copy() for W in model.coefs_]
    first = model.partial_fit(X, y).coefs_[0] - before[0]
    second = model.coefs_[0].copy()
    assert np.abs(model.partial_fit(X, y).coefs_[0] - second - first).max() > 1e-6


def test_a_layer_that_drops_is_a_dense_layer_and_dropout():
    layer, key = conventions.DroppingDense(3, 4, fnn.tanh, rate=0.5), jax.random.key(0)
    params, x = layer.init(key), np.ones((5, 3), np.float32)

    @jax.jit
    def run(params):
        y, residuals, _ = layer.train(params, (), x, key)
        pair = lambda p: fnn.dropout(0.5).train((), (), fnn.dense(3, 4, activation="tanh").apply(p, x), key)[0]  # noqa: E731
        return layer.backward(params, residuals, 2 * y)[0], jax.grad(lambda p: (pair(p) ** 2).sum())(params)

    hand, auto = run(params)
    np.testing.assert_allclose(hand["W"], auto["W"], rtol=1e-5, atol=1e-6)


def test_sparse_data_and_double_precision():
    dense, sparse = (MLPClassifier(**OPTIONS).fit(x, CLASSES["two"]) for x in (X, csr_matrix(X)))
    assert apart(dense, sparse) == 0 and (dense.predict(X) == sparse.predict(csr_matrix(X))).all()
    assert not jax.config.jax_enable_x64 and dense.coefs_[0].dtype == np.float64


def test_in_pipelines_searches_and_other_processes():
    model = make_pipeline(StandardScaler(), MLPClassifier(**OPTIONS))
    y = CLASSES["two"]
    search = GridSearchCV(model, {"mlpclassifier__alpha": [1e-3, 100.0]}, cv=2).fit(X, y)
    assert search.best_params_ == {"mlpclassifier__alpha": 1e-3} and search.score(X, y) > 0.9
    alone = cross_val_score(model, X, y, cv=2)
    assert (cross_val_score(model, X, y, cv=2, n_jobs=2) == alone).all()  # in the processes of loky


FORKED = """
import os, warnings
warnings.simplefilter("ignore")
import numpy as np
from fnn.estimators import MLPRegressor
child = os.fork()
if child == 0:
    try:
        MLPRegressor().fit(np.ones((4, 1)), np.ones(4))
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


def said_by(script):
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300
    ).stdout


def test_a_fork_is_refused_and_the_room_is_optional():
    assert "must be used in the process that loaded it or in a fresh one, got a fork" in said_by(FORKED)
    without = textwrap.dedent("""
        import sys, fnn
        print("sklearn" in sys.modules)
        sys.modules["sklearn"] = None
        try:
            fnn.estimators
        except ImportError as error:
            print(error)
    """)
    assert said_by(without).startswith("False\nfnn.estimators needs scikit-learn, which is not installed. Install it")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"alpha": -1}, "MLPClassifier: alpha must be at least 0, got -1. Try 1e-4."),
        ({"max_iter": 1.5}, "max_iter must be a whole number from 1 on, got 1.5"),
        ({"tol": "small"}, "tol must be at least 0, got 'small'"),
        ({"solver": "adagrad"}, r"solver must be one of \('lbfgs', 'sgd', 'adam'\), got 'adagrad'"),
        ({"batch_size": 0}, 'batch_size must be "auto" or a whole number from 1 on, got 0'),
        ({"hidden_layer_sizes": (3, 0)}, r"hidden_layer_sizes must be whole numbers > 0, got \[3, 0\]"),
        ({"activation": ["relu"]}, r"one for each of the 2 hidden layers, got \['relu'\]"),
        ({"activation": "rleu"}, "unknown activation 'rleu'; perhaps 'relu'"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0. Try 0.2."),
        ({"dropout": 0.5, "solver": "lbfgs"}, "lbfgs needs the same function at every step, got dropout=0.5. Take"),
        ({"early_stopping": True, "validation_fraction": 0.001}, "at least 2 rows must be held out, got 1"),
    ],
)  # fmt: skip
def test_invalid_options_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        MLPClassifier(**OPTIONS | options).fit(X, CLASSES["three"])


def test_invalid_calls_are_refused():
    y, model = CLASSES["three"], MLPClassifier(**OPTIONS)
    for weights, says in (
        (WEIGHTS[:5], r"sample_weight must have shape \(130,\)"),
        (WEIGHTS - 1, "sample_weight must be at least 0, got -1"),
        (0 * WEIGHTS, "weights that are all zero"),
    ):
        with pytest.raises(ValueError, match=says):
            model.fit(X, y, weights)
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        MLPClassifier().partial_fit(X, y)
    model.partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="classes must be those of the first call to partial_fit"):
        model.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match=r"y must have the classes of the call before, \[0 1 2\], got \[1 2 3\]"):
        model.partial_fit(X, y + 1)
    with pytest.raises(ValueError, match="partial_fit sees one batch of data"):
        MLPClassifier(early_stopping=True).partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match='class_weight="balanced" needs all data, got partial_fit'):
        MLPClassifier(class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'") as raised:
        MLPRegressor(solver="lbfgs").partial_fit  # noqa: B018
    assert "needs a stochastic solver, got lbfgs" in str(raised.value.__cause__)
    with pytest.raises(ValueError, match=r"the weights must stay finite, got NaN or infinity\. Scale"):
        MLPRegressor(**OPTIONS | {"solver": "sgd", "learning_rate_init": 1e30}).fit(X, VALUES["one"])


def test_warnings_say_what_to_do(capsys):
    with pytest.warns(UserWarning, match="batch_size is 500, got 130 rows to train on"):
        MLPClassifier(**OPTIONS | {"batch_size": 500, "verbose": True}).fit(X, CLASSES["two"])
    assert "Iteration 9, loss = " in capsys.readouterr().out
    with pytest.warns(ConvergenceWarning, match=r"still falling after max_iter=9 epochs\. Give more"):
        MLPClassifier(**OPTIONS).fit(X, CLASSES["two"])
    with pytest.warns(ConvergenceWarning, match="lbfgs did not converge after"):
        MLPRegressor(**OPTIONS | {"solver": "lbfgs", "max_iter": 3}).fit(X, VALUES["one"])


def test_an_interrupt_keeps_what_was_trained(monkeypatch):
    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(MLPClassifier, "_watch_loss", interrupt)
    with pytest.warns(UserWarning, match="interrupted"):
        model = MLPClassifier(**OPTIONS).fit(X, CLASSES["two"])
    monkeypatch.undo()
    assert model.n_iter_ == 1 and apart(model, MLPClassifier(**OPTIONS | {"max_iter": 1}).fit(X, CLASSES["two"])) == 0


#: What scikit-learn skips for its own perceptrons too: pandas and array API are not installed here or not asked for,
#: data that is no array has a check of its own in newer releases, and there is no decision function.
SKIPPED = {
    "check_sample_weights_pandas_series", "check_array_api_input", "check_classifier_data_not_an_array",
    "check_regressor_data_not_an_array", "check_classifiers_multilabel_output_format_decision_function",
}  # fmt: skip


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_scikit_learn_checks_them(estimator):
    results = check_estimator(estimator(), on_skip=None)
    statuses = collections.Counter(each["status"] for each in results)
    assert statuses["passed"] > 50 and set(statuses) == {"passed", "skipped"}
    assert {each["check_name"] for each in results if each["status"] == "skipped"} <= SKIPPED
