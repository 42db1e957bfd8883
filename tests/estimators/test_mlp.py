"""The estimators: scikit-learn's own numbers."""

import pickle

import jax
import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor

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


def test_a_batch_in_which_nothing_counts_leaves_everything_as_it_was():
    options, weights = OPTIONS | {"shuffle": False, "batch_size": 65, "max_iter": 2}, np.repeat([1.0, 0.0], 65)
    both = MLPClassifier(**options).fit(X, CLASSES["two"], weights)
    half = MLPClassifier(**options).fit(X[:65], CLASSES["two"][:65])
    assert apart(both, half) == 0


def test_a_solver_may_change_between_calls():
    model = MLPClassifier(**OPTIONS | {"solver": "lbfgs"}).fit(X, CLASSES["two"])
    for solver in ("sgd", "adam"):
        model.set_params(solver=solver).partial_fit(X, CLASSES["two"])
    assert len(model.loss_curve_) == 2
    model.set_params(early_stopping=True, warm_start=True, max_iter=3.0).fit(X, CLASSES["two"])
    assert len(model.validation_scores_) == 3
    assert len(model.set_params(early_stopping=False).fit(X, CLASSES["two"]).loss_curve_) == 8


REFUSED = {
    "alpha": (np.inf, r"alpha must be finite and at least 0, got inf"),
    "epsilon": (1j, "epsilon must be finite and above 0, got 1j"),
    "max_iter": (np.inf, "max_iter must be a whole number from 1 on, got inf"),
    "learning_rate_init": (np.inf, "learning_rate_init must be finite and above 0, got inf"),
    "hidden_layer_sizes": ("abc", r"hidden_layer_sizes must be whole numbers > 0, got 'abc'. Try"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_options_that_cannot_be_right_are_refused(name):
    value, says = REFUSED[name]
    with pytest.raises(ValueError, match=says):
        MLPClassifier(**OPTIONS | {name: value}).fit(X, CLASSES["two"])
    for none in (None, (np.nan,), (True, 2.5)):
        with pytest.raises(ValueError, match="hidden_layer_sizes must be whole numbers > 0"):
            MLPClassifier(hidden_layer_sizes=none).fit(X, CLASSES["two"])


def test_what_would_be_learned_wrong_is_refused():
    model = MLPRegressor(**OPTIONS | {"warm_start": True, "max_iter": 1}).fit(X, VALUES["one"])
    with pytest.raises(ValueError, match=r"outputs must stay \[9, 5, 1\] when .*, got \[7, 1\]. Fit without"):
        model.set_params(hidden_layer_sizes=(7,)).fit(X, VALUES["one"])
    with pytest.raises(ValueError, match="y must be probabilities from 0 to 1; row 0"):
        MLPRegressor(**OPTIONS | {"loss": "softmax_cross_entropy"}).fit(X, 3 + VALUES["pairs"])
    for size in (1e308, 1e-310):
        with pytest.raises(ValueError, match="weights of the rows must have a sum that float64 holds, got weights up"):
            MLPClassifier(**OPTIONS).fit(X, CLASSES["two"], np.full(130, size))


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
