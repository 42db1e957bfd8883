"""The judges of the experiments on decisions and differentiation: a planted wrong number must be refuted, and the pure
functions that they stand on are right."""

import copy
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from experiments import frame
from experiments.matrix_chain import best_order, cost, every_order, from_left, from_right

TREE = {
    "points": 1_000_000, "points_at_thresholds": 60, "depth": 8, "classes": 3,
    "disagreements": {"random": 0, "thresholds": 0}, "nearly_right": {"rounding to nearest": 9, "subtracting": 4},
}  # fmt: skip
RESULTS = {
    "trees": {
        "trees": [TREE],
        "refused": {"nan": True, "infinity": True},
        "fine_tuning": {
            "test": 450,
            "tree_accuracy": 0.83,
            "copies": [{"steepness": 10.0, "accuracy": [0.8, 0.98], "disagreement": [0.16, 0.17]}],
        },
    },
    "perceptron": {
        "decision": {"points": 5000, "on_the_plane": 300, "wrong": 0, "wrong_on_the_plane": 0},
        "separable": [
            {"sets": 12_000, "unsettled": 0, "wrong": 0, "above_own_bound": 0, "above_sharpest_bound": 0,
             "tightness": [0, 0.01, 0.1, 0.3, 0.8]}
        ],
        "tangled": {"sets": 60, "repeated": 60, "clean_passes": 0, "largest_residual": 1e-16, "periods": [1, 20],
                    "separable": {"sets": 3, "settled": 3}},
        "slide": {"corrections": 0, "due": 24},
        "any_start": {"sets": 3000, "above": 0, "unsettled": 0, "highest": 0.5, "spread": [0.01, 100.0]},
    },
    "logistic": {
        "sets": 400, "covered": 0.95, "formulas": {"value": 1e-16, "gradient": 1e-16}, "distance_from_newton": 1e-13,
        "decisions": {"points": 10_004, "different": 0}, "best_threshold_of_the_true_unit": 0.5,
    },
    "softmax": {
        "lecture": {
            "exponentials": np.exp([-3.44, 1.16, -0.81, 3.91]), "probabilities": [6e-4, 0.0596, 0.0083, 0.9315],
        },
        "one_hot": {"rows": 10, "wrong": 0},
        "identities": {
            "2": {"sum_minus_1": 0.0, "least": 0.0, "probabilities": 0.0, "loss": 0.0, "before": 0.0, "after": 0.0,
                  "before_autodiff": 0.0, "after_autodiff": 0.0, "shifted_probabilities": 0.0, "shifted_loss": 0.0}
        },
        "plain_formula": {"as_written": 0.25, "fnn": 0.0},
        "too_many": {
            "losses": {"three outputs": 0.4, "two outputs": 0.4}, "curvatures": [1e-18, 1e-17, 1e-16, *[0.05] * 6],
            "surplus": 3, "slices": {"all": [0.4, 0.4], "one": [0.5, 0.6]},
        },
    },
    "finite_differences": {
        "lecture": {
            "float64": {"above": 124.4404, "below": 123.5604, "symmetric": 43.99999999999906, "one_sided": 44.08},
            "float32": {"above": 124.4404, "below": 123.5604, "symmetric": 44.0010, "one_sided": 44.08},
            "analytic": 44, "autodiff": 44.0, "error_of_1e-5": {"float64": 1e-9, "float32": 2.0},
            "nodes": {"forward": [11, 121, 124], "backward": [1, 22, 44]},
        },
        "curves": {
            name: {"float64": {"best_central": 1e-5, "predicted_central": predicted, "best_one_sided": 1e-8,
                               "predicted_one_sided": 1e-8, "central": [1e-9, 1e-9, 1.0]}}
            for name, predicted in (("exp", 1e-5), ("quadratic", None))
        },
        "defaults": {
            d: {"eps": 1e-6, "central": [1e-5], "one_sided": [1e-4]} for d in ("float64", "float32")
        },
        "measured": {"times": [{"differences": 1.0, "backprop": 0.01}]},
        "costs": [
            {"parameters": 25, "forward": 100, "backprop": 250, "differences": 4500},
            {"parameters": 10_000, "forward": 40_000, "backprop": 90_000, "differences": None},
        ],
    },
    "matrix_chain": {
        "growth": [
            {"n": 100, "multiplications": {"left": 20_000, "right": 1_010_000}, "products_apart": 1e-7,
             "operations": {"left": 40_000, "right": 2_020_000}},
            {"n": 200, "multiplications": {"left": 80_000, "right": 8_040_000}, "products_apart": 1e-7,
             "operations": {"left": 160_000, "right": 16_080_000}},
        ],
        "shapes": [
            {"predicted": "mixed", "products_apart": 1e-7,
             "multiplications": {"from the output": 9, "from the input": 9, "mixed": 5},
             "operations": {"from the output": 18, "from the input": 18, "mixed": 10}}
        ],
        "programming": {"chains": 300, "wrong": 0},
        "library": 40_100,
    },
    "universal_approximation": {
        "constructed": {"1": {"sine": {"errors": [0.6, 0.1], "bounds": [2.0, 0.2]}}},
        "trained": {
            "1": {
                "tanh": {"sine": {"median": [1.0, 0.1], "best": [1.0, 0.1], "worst": [1.5, 0.5], "falls": [10.0, 9.0]}}
            }
        },
        "sawtooth": [{"slopes": 64, "deep_units": 12, "deep_parameters": 37, "deep_error": 0.0, "shallow_units": 64,
                      "shallow_parameters": 193, "shallow_error": 0.0, "half_error": 0.5, "half_mean": 0.13,
                      "constant_mean": 0.25}],
        "formulas": {"one": 1e-16},
        "depths": {},
    },
}  # fmt: skip

#: (experiment, where the number stands, the wrong number, the claims that it refutes)
PLANTED = [
    ("trees", ("trees", 0, "disagreements", "random"), 1, {"A4"}),
    ("trees", ("trees", 0, "disagreements", "thresholds"), 1, {"A4"}),
    ("trees", ("refused", "nan"), False, {"A4"}),
    ("perceptron", ("decision", "wrong_on_the_plane"), 1, {"A1"}),
    ("perceptron", ("separable", 0, "above_sharpest_bound"), 1, {"B4"}),
    ("perceptron", ("separable", 0, "unsettled"), 1, {"B4"}),
    ("perceptron", ("tangled", "clean_passes"), 1, {"B4"}),
    ("perceptron", ("tangled", "largest_residual"), 0.1, {"B4"}),
    ("perceptron", ("any_start", "above"), 1, {"B30"}),
    ("logistic", ("covered",), 0.7, {"B3"}),
    ("logistic", ("decisions", "different"), 1, {"B3"}),
    ("logistic", ("formulas", "gradient"), 1e-3, {"B3"}),
    ("logistic", ("best_threshold_of_the_true_unit",), 0.4, {"B3"}),
    ("softmax", ("one_hot", "wrong"), 1, {"A5"}),
    ("softmax", ("lecture", "probabilities"), [6e-4, 0.0596, 0.0084, 0.9315], {"A6"}),
    ("softmax", ("identities", "2", "loss"), 1e-6, {"A7"}),
    ("softmax", ("identities", "2", "before_autodiff"), 1e-6, {"B7"}),
    ("softmax", ("identities", "2", "shifted_loss"), 1e-6, {"B15"}),
    ("softmax", ("too_many", "curvatures"), [1e-18, 1e-17, 0.05, *[0.05] * 6], {"B15"}),
    ("softmax", ("identities", "2", "after"), 1e-6, {"B20"}),
    ("finite_differences", ("lecture", "float64", "symmetric"), 44.0, {"A8"}),
    ("finite_differences", ("lecture", "error_of_1e-5", "float32"), 0.1, {"A9"}),
    ("finite_differences", ("curves", "exp", "float64", "best_central"), 2e-4, {"A9"}),
    ("finite_differences", ("defaults", "float32", "central"), [1e-5, 1e-2], {"A9"}),
    ("finite_differences", ("measured", "times"), [{"differences": 1.0, "backprop": 1.0}], {"E2"}),
    ("finite_differences", ("curves", "quadratic", "float64", "central"), [1e-3, 1e-9, 1.0], {"A9"}),
    ("finite_differences", ("lecture", "nodes", "backward"), [1, 11, 44], {"A10"}),
    ("finite_differences", ("costs", 1, "backprop"), 400_000, {"A12", "E2"}),
    ("finite_differences", ("costs", 0, "differences"), 200, {"A12", "E2"}),
    ("matrix_chain", ("growth", 0, "multiplications", "right"), 10**6, {"D5"}),
    ("matrix_chain", ("growth", 1, "operations", "left"), 80_000, {"D5"}),
    ("matrix_chain", ("shapes", 0, "predicted"), "from the output", {"D5"}),
    ("matrix_chain", ("programming", "wrong"), 1, {"D5"}),
    ("matrix_chain", ("library",), 2_020_000, {"D5"}),
    ("universal_approximation", ("constructed", "1", "sine", "errors"), [0.6, 0.3], {"A3"}),
    ("universal_approximation", ("constructed", "1", "sine", "bounds"), [2.0, 2.0], {"A3"}),
    ("universal_approximation", ("sawtooth", 0, "half_mean"), 0.25, {"B16"}),
    ("universal_approximation", ("sawtooth", 0, "deep_error"), 1e-3, {"B16"}),
    ("universal_approximation", ("sawtooth", 0, "half_error"), 0.1, {"B16"}),
    ("universal_approximation", ("formulas", "one"), 1e-3, {"C4"}),
]
#: Numbers that decide nothing: the verdict is open, and says what would decide.
UNDECIDED = [
    ("trees", ("trees", 0, "points"), 1000, "A4"),
    ("perceptron", ("separable", 0, "sets"), 90, "B4"),
    ("perceptron", ("tangled", "repeated"), 59, "B4"),
    ("logistic", ("distance_from_newton",), 1e-3, "B3"),
    ("matrix_chain", ("growth",), RESULTS["matrix_chain"]["growth"][:1], "D5"),
    ("universal_approximation", ("trained", "1", "tanh", "sine", "median"), [1.0, 0.9], "A3"),
]


def judged(name, place=(), value=None):
    """The verdicts of this experiment on its result above, with one number replaced."""
    result = copy.deepcopy(RESULTS[name])
    where = result
    for key in place[:-1]:
        where = where[key]
    if place:
        where[place[-1]] = value
    return frame.judge(importlib.import_module(f"experiments.{name}"), result)


@pytest.mark.parametrize("name", RESULTS)
def test_what_was_predicted_is_confirmed(name):
    found = judged(name)
    assert {claim: each.verdict for claim, each in found.items()} == dict.fromkeys(found, "confirmed")
    assert all(each.evidence.endswith(".") for each in found.values())


@pytest.mark.parametrize(("name", "place", "value", "claims"), PLANTED)
def test_a_planted_wrong_number_is_refuted_and_spares_the_other_claims(name, place, value, claims):
    assert {claim for claim, each in judged(name, place, value).items() if each.verdict == "refuted"} == claims


@pytest.mark.parametrize(("name", "place", "value", "claim"), UNDECIDED)
def test_what_decides_nothing_is_open_and_says_what_would(name, place, value, claim):
    found = judged(name, place, value)[claim]
    assert found.verdict == "open" and "would" in found.evidence


def test_D5_orders_of_a_chain():
    sizes = (1, 100, 100, 100)
    assert (from_left(3), from_right(3)) == (((0, 1), 2), (0, (1, 2)))
    assert (cost(from_left(3), sizes), cost(from_right(3), sizes)) == (20_000, 1_010_000)
    # Catalan's numbers
    assert [len(every_order(0, n)) for n in range(6)] == [1, 1, 2, 5, 14, 42]
    assert best_order((300, 300, 2, 300, 300)) == ((0, 1), (2, 3))


def test_A3_a_staircase_is_near_its_function_at_the_nodes(x64):
    from experiments.universal_approximation import _staircase

    w, b, v = _staircase(np.sqrt, 0.0, 1.0, 11)
    x = np.linspace(0, 1, 11)
    net = fnn.mlp(1, len(w), 1, activation="sigmoid")
    params = {"W": w[None], "b": b}, {"W": v[:, None], "b": np.zeros(1)}
    got = np.asarray(net.apply(jax.tree.map(jnp.asarray, params), jnp.asarray(x[:, None])))[:, 0]
    # half a step from the middle of a step a sigmoid of steepness 20 / h is within e⁻¹⁰ of 0 or 1
    assert np.abs(got - np.sqrt(x)).max() < np.exp(-10) * np.abs(v).sum()


def test_B4_a_round_is_found_where_a_state_comes_back():
    from experiments.perceptron import _round

    states = np.array([[0.0, 0.0], [1.0, 2.0], [-0.0, 1.0], [1.0, 2.0]])
    assert _round(states) == (1, 2)
    assert _round(states[:3]) == (3, 0)


def test_B4_the_linear_programs_agree():
    from experiments.perceptron import ZERO, _certificate, _line_exists

    x, exclusive, both = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([-1, 1, 1, -1]), np.array([-1, -1, -1, 1])
    assert _line_exists(x, both) and not _line_exists(x, exclusive)
    assert _certificate(x, exclusive) <= ZERO < _certificate(x, both)
