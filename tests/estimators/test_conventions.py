"""The estimators behave as scikit-learn asks: its own checks, pipelines and searches, refusals, warnings, an interrupt.

What is computed is held against scikit-learn in `test_mlp`.
"""

import collections
import subprocess
import sys
import textwrap

import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from fnn.estimators import MLPClassifier, MLPRegressor
from tests.estimators.test_mlp import CLASSES, OPTIONS, VALUES, WEIGHTS, X, apart

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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
        ({"alpha": -1}, "MLPClassifier: alpha must be finite and at least 0, got -1. Try 1e-4."),
        ({"max_iter": 1.5}, "max_iter must be a whole number from 1 on, got 1.5"),
        ({"tol": "small"}, "tol must be at least 0, got 'small'"),
        ({"solver": "adagrad"}, r"solver must be one of \('lbfgs', 'sgd', 'adam'\), got 'adagrad'"),
        ({"batch_size": 0}, 'batch_size must be "auto" or a whole number from 1 on, got 0'),
        ({"hidden_layer_sizes": (3, 0)}, r"hidden_layer_sizes must be whole numbers > 0, got \[3, 0\]"),
        ({"activation": ["relu"]}, r"one for each of the 2 hidden layers, got \['relu'\]"),
        ({"activation": "rleu"}, "unknown activation 'rleu'; perhaps 'relu'"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0. Try 0.2."),
        ({"dropout": 0.5, "solver": "lbfgs"}, "lbfgs needs the same function at every step, got dropout=0.5. Use"),
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
    with pytest.raises(ValueError, match=r"y must have the classes of the previous call, \[0 1 2\], got \[1 2 3\]"):
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
    # as many epochs as scikit-learn gives its own perceptrons in these checks
    results = check_estimator(estimator(max_iter=100), on_skip=None)
    statuses = collections.Counter(each["status"] for each in results)
    assert statuses["passed"] > 50 and set(statuses) == {"passed", "skipped"}
    assert {each["check_name"] for each in results if each["status"] == "skipped"} <= SKIPPED
