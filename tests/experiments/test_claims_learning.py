"""The experiments about learning and formulas: their pure functions, and verdicts on results with a planted error.

Every result here is the smallest from which its claims are judged; a right one is confirmed, and one wrong number
refutes it.
"""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from experiments import frame
from tests import tolerances
from tests.witnesses import assert_close


def verdicts(experiment, result):
    """{claim: verdict}."""
    return {claim: judgement.verdict for claim, judgement in frame.judge(experiment, result).items()}


def planted(result, path, value):
    """The result with one number replaced; a step of the path is a key or an index."""
    wrong = copy.deepcopy(result)
    *steps, last = path
    part = wrong
    for step in steps:
        part = part[step]
    part[last] = value
    return wrong


def assert_refutes(experiment, result, path, value, claims):
    """With this number alone wrong, these claims and no others are refuted."""
    before, after = verdicts(experiment, result), verdicts(experiment, planted(result, path, value))
    assert {claim for claim in after if before[claim] == "confirmed" and after[claim] == "refuted"} == set(claims)


# ---- learning_rate --------------------------------------------------------------------------------------------------

LEARNING_RATE = {
    "quadratics": {
        "count": 3, "shares": [1e-6, 0.5, 0.99, 1.01, 1.1], "largest_end": [1, 0, 1e-30, 1e32, 1e300],
        "smallest_end": [1, 0, 1e-33, 1e30, 1e300], "rose": [0, 0, 0, 1, 1],
        "largest_gradient": [1, 1e-12, 0, 1, 1], "smallest_gradient": [0.99, 0, 0, 1, 1],
    },
    "net": {"apart": True, "observed": 1.0025, "curvature": 2.0, "by_hessian": 2.0},
    "landscape": {
        "starts": 3, "strict": 3, "heights": [{"cost": 0.04, "loss": 0.02}, {"cost": 0.07, "loss": 0.05}],
        "plateau": {"gradient": 1e-16, "before": 0.09, "after": 0.09, "steps": 10},
        "descent": {"rate": 0.02, "steps": 10, "rises": 0, "least_ratio": 1.5, "gradient_left": 1e-3},
    },
    "curves": {
        "bowl": {"rates": [0.3], "off": 1e-12},
        "plane_off": 1e-12,
        "plane": {"gradient descent": {"height": -0.1}},
        "valleys": {
            "as in the lecture": {"ends": [0.03, 4.0], "heights": [0.0, 0.0]},
            "tilted": {"heights": [-3.3, -32.1], "slopes": [0.0, 0.0]},
        }
    },
    "variance": {"measured": [1.0, 0.5], "predicted": [1.0, 0.5], "mean_apart": 1e-15},
    "batches": {
        "epochs": 2,
        "sizes": {
            name: {
                "end": [2.0, best, 9.0], "best": [2.0, best], "best_seeds_worst": best, "outer_seeds_best": [2.0, 9.0],
            }
            for name, best in (("one", 0.05), ("mini", 0.08), ("full", 1.0))
        },
    },
    "optimizers": {
        "first_gradient_apart": {"a": 0.0, "b": 0.0}, "off_formula": {"a": 1e-14, "b": 1e-14}, "nearest_ends": 0.1,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "claims"),
    [
        (("quadratics", "largest_end", 2), 0.5, {"A11", "C6"}),
        (("quadratics", "smallest_end", 3), 0.5, {"A11", "E7"}),
        (("quadratics", "rose", 2), 0.1, {"A11", "C6"}),
        (("quadratics", "smallest_gradient", 0), 0.1, {"A11"}),
        (("quadratics", "largest_gradient", 1), 0.1, {"C6"}),
        (("net", "observed"), 1.05, {"A11"}),
        (("net", "by_hessian"), 2.1, {"A11"}),
        (("curves", "valleys", "as in the lecture", "heights", 0), 5.0, {"E1"}),
        (("curves", "valleys", "tilted", "heights", 0), -32.0, {"E1", "E7"}),
        (("landscape", "heights", 1, "cost"), 0.04, {"B12"}),
        (("landscape", "plateau", "after"), 0.03, {"B12"}),
        (("curves", "bowl", "off"), 0.1, {"E1"}),
        (("curves", "plane_off"), 0.1, {"E1"}),
        (("landscape", "descent", "rises"), 1, {"C6"}),
        (("landscape", "descent", "least_ratio"), 0.9, {"C6"}),
        (("optimizers", "off_formula", "b"), 1e-3, {"A19"}),
        (("variance", "measured", 1), 0.7, {"B6", "E7"}),
        (("variance", "mean_apart"), 0.1, {"B6"}),
        (("batches", "sizes", "mini", "best", 1), 1.5, {"B6"}),
        (("batches", "sizes", "full", "outer_seeds_best", 0), 0.9, {"E7"}),
        (("optimizers", "first_gradient_apart", "b"), 0.1, {"A19"}),
        (("optimizers", "nearest_ends"), 0.0, {"A19"}),
    ],
)
def test_learning_rate_is_judged_by_its_numbers(path, value, claims):
    from experiments import learning_rate

    assert set(verdicts(learning_rate, LEARNING_RATE).values()) == {"confirmed"}
    assert_refutes(learning_rate, LEARNING_RATE, path, value, claims)


def test_E1_the_slopes_of_the_curves_are_their_derivatives(x64):
    from experiments.learning_rate.curves import two_valleys, two_valleys_slope

    x = jnp.asarray(np.linspace(-1.0, 4.5, 12))
    for tilt in (0.0, 8.0):
        automatic = jax.jit(jax.vmap(jax.grad(lambda x, tilt=tilt: two_valleys(x, tilt))))(x)
        assert_close(two_valleys_slope(np.asarray(x), tilt), np.asarray(automatic), tolerances.FORWARD["float64"])


# ---- depth ----------------------------------------------------------------------------------------------------------


def size(first, off=0.01, share=0.0):
    return {
        "activation_off": off, "gradient_off": off, "gradient": [first, 1.0],
        "zeros": {"mean": share, "error": 0.003},
    }  # fmt: skip


DEPTH = {
    "depth": 24,
    "sizes": {
        "sigmoid": {"glorot_uniform": size(1e-15)},
        "tanh": {"glorot_uniform": size(0.2), "small, 0.3/√H": size(1e-12), "large, 3/√H": size(1e3)},
        "relu": {"he_normal": size(1.3, share=0.497)},
        "glorot": {"largest": 0.2, "bound": 0.21, "variance": 0.0156, "predicted_variance": 0.0156, "entries": 10**6},
    },
    "rounding": {
        "epsilon": {"float32": 1e-7, "bfloat16": 8e-3, "float16": 1e-3},
        "nets": {
            name: {
                "errors": {"float32": [1e-7, 1e-6], "bfloat16": [4e-3, 5e-2], "float16": [5e-4, 5e-3]},
                "decades_per_layer": 0.116, "predicted_decades_per_layer": 0.103,
            }
            for name in ("calm", "chaotic")
        },
    },
    "rules": {"differences": {"tanh": 1e-11}, "bound": 2e-10, "relu_at": [0, 0, 0, 1]},
    "learning": {
        "steps": 10,
        "zeros": [[0.5, 0.4, 0.45], [0.5, 0.4, 0.6]],
        "nets": {
            "sign": {"moved": [0, 0], "end": 1.3}, "hard_threshold": {"moved": [0, 0], "end": 1.4},
            **{name: {"moved": [0.5, 1.0], "end": 0.1} for name in ("sigmoid", "tanh", "relu")},
        },
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "claims"),
    [
        (("sizes", "relu", "he_normal", "gradient_off"), 0.1, {"A13"}),
        (("sizes", "sigmoid", "glorot_uniform", "gradient"), [0.1, 1.0], {"A13"}),
        (("sizes", "tanh", "glorot_uniform", "gradient"), [1e-3, 1.0], {"B10"}),
        (("sizes", "glorot", "largest"), 0.3, {"B10"}),
        (("sizes", "glorot", "variance"), 0.0166, {"B10"}),
        (("learning", "nets", "sign", "moved", 1), 1e-9, {"A14"}),
        (("learning", "nets", "tanh", "moved", 0), 0.0, {"A14"}),
        (("rounding", "nets", "calm", "errors", "float32", 1), 1e-7, {"A17"}),
        (("rounding", "nets", "calm", "errors", "bfloat16", 1), 0.9, {"A17"}),
        (("rounding", "nets", "chaotic", "decades_per_layer"), 0.2, {"A17"}),
        (("rules", "differences", "tanh"), 1e-3, {"B5"}),
        (("rules", "relu_at"), [0, 0, 0.1, 1], {"B17"}),
        (("learning", "zeros"), [[0.5, 0.4, 0.01]], {"B17"}),
        (("sizes", "relu", "he_normal", "zeros", "mean"), 0.4, {"B17"}),
    ],
)
def test_depth_is_judged_by_its_numbers(path, value, claims):
    from experiments import depth

    assert set(verdicts(depth, DEPTH).values()) == {"confirmed"}
    assert_refutes(depth, DEPTH, path, value, claims)


def test_A13_the_prediction_of_relu_with_He_is_its_known_value():
    from experiments.depth import predicted

    # E[relu(√q ξ)²] = q / 2 and E[relu′²] = ½: with gain 2 both keep their size
    found = predicted("relu", 2.0, 5)
    assert np.abs(np.array(found["activation"]) - 1).max() <= tolerances.QUADRATURE
    assert np.abs(np.array(found["gradient"]) - 0.5).max() <= tolerances.QUADRATURE


# ---- initialisation -------------------------------------------------------------------------------------------------


def start(end, apart, moved, W1=0.0, b2=0.01):
    return {
        "end": end, "most_apart": apart, "moved": moved,
        "largest_gradients": {"W1": W1, "b1": 0.0, "W2": 0.0, "b2": b2},
    }  # fmt: skip


INITIALISATION = {
    "steps": 10, "entropy": 2.3019,
    "starts": {"zero": start(2.302, 0.0, 0.0), "equal": start(1.7, 0.0, 0.5), "random": start(0.03, 3.9, 2.0)},
    "balanced": {"b2": 5e-17},
    "permutations": {
        "orders": 5, "output": 1e-15, "output_bound": 1e-14, "gradient": 1e-15, "gradient_bound": 1e-13,
        "half_permuted": 3.0,
    },
    "biases": {"0.0": [0.1, 0.12], "0.1": [0.1, 0.13]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "claims"),
    [
        (("starts", "zero", "largest_gradients", "W1"), 1e-20, {"B10"}),
        (("starts", "zero", "end"), 2.2, {"B10"}),
        (("balanced", "b2"), 1e-3, {"B10"}),
        (("starts", "equal", "most_apart"), 1e-3, {"B10"}),
        (("starts", "random", "end"), 1.6, {"B10"}),
        (("permutations", "output"), 1e-3, {"B11"}),
        (("permutations", "gradient"), 1e-3, {"B11"}),
        (("permutations", "half_permuted"), 0.0, {"B11"}),
        (("biases", "0.1"), [0.3, 0.3], {"B29"}),
    ],
)
def test_initialisation_is_judged_by_its_numbers(path, value, claims):
    from experiments import initialisation

    assert set(verdicts(initialisation, INITIALISATION).values()) == {"confirmed"}
    assert_refutes(initialisation, INITIALISATION, path, value, claims)


# ---- regularization -------------------------------------------------------------------------------------------------

METHODS = ("proximal L1", "plain L1", "L2")
REGULARIZATION = {
    "paths": {
        "features": ["a", "b"], "zeros": {"proximal L1": [0, 2], "plain L1": [0, 0], "L2": [0, 0]},
        "lasso_zeros": [0, 2], "apart": {"proximal L1": 1e-11, "plain L1": 0.2, "L2": 1e-14}, "step_of_plain": 0.2,
        "mean": 2.0, "bias": {name: [2.0, 2.0] for name in METHODS},
    },
    "slopes": {f"{p} {what}": 0.0 for p in ("L1", "L2") for what in ("formula", "differences", "bias")},
    "priors": {
        name: {"apart": 1e-16, "constant": -3.0, "without_constant": 0.0} for name in ("Gaussian", "Laplacian")
    } | {"draws": 5, "terms": 450},
    "net": {
        "methods": {
            name: {"zeros": zeros, "biases_zero": 0} for name, zeros in zip(METHODS, (0.7, 0.0, 0.0), strict=True)
        }
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "claims"),
    [
        (("slopes", "L2 formula"), 0.1, {"B9"}),
        (("slopes", "L1 differences"), 0.1, {"B9"}),
        (("slopes", "L1 bias"), 0.1, {"B9"}),
        (("paths", "bias", "proximal L1", 1), 1.0, {"B9"}),
        (("paths", "zeros", "proximal L1", 1), 1, {"B9"}),
        (("paths", "zeros", "plain L1", 1), 1, {"B9"}),
        (("paths", "zeros", "L2", 0), 1, {"B9"}),
        (("net", "methods", "proximal L1", "zeros"), 0.0, {"B9"}),
        (("paths", "apart", "L2"), 0.1, {"B9"}),
        (("priors", "Laplacian", "apart"), 1e-3, {"B18"}),
        (("priors", "Gaussian", "without_constant"), 0.1, {"B18"}),
    ],
)
def test_regularization_is_judged_by_its_numbers(path, value, claims):
    from experiments import regularization

    assert set(verdicts(regularization, REGULARIZATION).values()) == {"confirmed"}
    assert_refutes(regularization, REGULARIZATION, path, value, claims)


def test_B9_the_proximal_step_minimizes_what_it_should(x64):
    from experiments.regularization import shrink

    # shrink(w, t) is the v that minimizes ½ (v − w)² + t |v|: no v of a fine grid does better
    grid = np.linspace(-4, 4, 8001)
    step = jax.jit(lambda w: shrink(w, 0.5))
    for w in (-3.0, -0.4, 0.0, 0.5, 2.5):
        v = float(step(jnp.asarray(w)))
        assert 0.5 * (v - w) ** 2 + 0.5 * abs(v) <= (0.5 * (grid - w) ** 2 + 0.5 * np.abs(grid)).min()
    assert float(step(jnp.asarray(0.4))) == 0.0


# ---- bias_variance --------------------------------------------------------------------------------------------------


def follower(width, bias, variance):
    total = bias + variance + 0.09
    return {
        "width": width, "strength": 0.0, "bias": bias, "variance": variance, "error": total, "standard_error": 0.003,
        "absolute_error": 0.3, "absolute_sum": 0.4,
    }  # fmt: skip


BIAS_VARIANCE = {
    "classes": {
        "bayes": 0.14, "bayes_measured": 0.141, "fresh": 20_000, "sets": 5, "sizes": [40, 640],
        "models": [
            {"width": w, "size": n, "excess": excess, "lowest_in_errors": 2.0, "smallest": 0.15}
            for (w, n), excess in {(0, 40): 0.05, (0, 640): 0.04, (24, 40): 0.07, (24, 640): 0.009}.items()
        ],
    },
    "curve": {
        "sets": 200, "noise": 0.09,
        "models": [
            follower(*each)
            for each in ((1, 0.27, 0.07), (2, 0.05, 0.1), (4, 0.01, 0.06), (24, 0.0, 0.043), (24, 0.003, 0.028),
                         (24, 0.1, 0.04), (24, 0.5, 0.04))
        ],
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "claims"),
    [
        (("classes", "bayes_measured"), 0.2, {"B1"}),
        (("classes", "models", 3, "lowest_in_errors"), -8.0, {"B1"}),
        (("classes", "models", 3, "excess"), 0.05, {"B2"}),
        (("classes", "models", 1, "excess"), 0.005, {"B2"}),
        (("curve", "models", 4, "error"), 0.01, {"B1", "B2"}),
        (("curve", "models", 2, "variance"), 0.2, {"B2"}),
        (("curve", "models", 1, "bias"), 0.2, {"B2"}),
        (("curve", "models", 0, "absolute_sum"), 0.3, {"B2"}),
    ],
)
def test_bias_variance_is_judged_by_its_numbers(path, value, claims):
    from experiments import bias_variance

    assert set(verdicts(bias_variance, BIAS_VARIANCE).values()) == {"confirmed"}
    assert_refutes(bias_variance, BIAS_VARIANCE, path, value, claims)


def test_B1_the_integral_of_the_bayes_risk_has_converged():
    from experiments.bias_variance import bayes_risk

    assert abs(bayes_risk(300) - bayes_risk(600)) <= tolerances.QUADRATURE


# ---- losses ---------------------------------------------------------------------------------------------------------

LOSSES = {
    "bounds": {
        "losses": {
            "hinge": {"constant": 1.0, "smallest_wrong": 1.0, "smallest_bound": 1.0, "examples_wrong": 500},
            "perceptron_loss": {"constant": None, "smallest_wrong": 0.0, "smallest_bound": None, "examples_wrong": 500},
        },
        "slope_of_step": 0.0,
    },
    "sigmoid": {
        name: {
            "predicted": 88.0, "tried_to": 1000.0,
            "forms": {
                "e^z/(e^z+1)": {"largest": 88.0, "smallest": -1000.0, "not_finite": 3},
                "fnn.sigmoid": {"largest": 1000.0, "smallest": -1000.0, "not_finite": 0},
            },
        }
        for name in ("float64", "float32")
    },
    "formulas": {
        "squared": {"one_by_one": 6.0, "ours": 6.0, "with_half": 3.0, "over_outputs": 2.0},
        "entropy": {"bracketed": 0.8, "ours": 0.8, "printed": 0.1},
        "bound": 1e-13, "as_printed": [0.0, -20.7], "with_brackets": [0.0, 20.7],
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "claims"),
    [
        (("bounds", "losses", "hinge", "smallest_bound"), 0.9, {"B19"}),
        (("bounds", "losses", "hinge", "smallest_bound"), 1.1, {"B19"}),
        (("bounds", "losses", "perceptron_loss", "smallest_wrong"), 0.1, {"B19"}),
        (("bounds", "slope_of_step"), 1.0, {"B19"}),
        (("sigmoid", "float32", "forms", "e^z/(e^z+1)", "largest"), 87.0, {"C10"}),
        (("sigmoid", "float64", "forms", "fnn.sigmoid", "not_finite"), 1, {"C10"}),
        (("formulas", "squared", "ours"), 3.0, {"D1"}),
        (("formulas", "entropy", "ours"), 0.1, {"D7"}),
        (("formulas", "as_printed", 1), 20.7, {"D7"}),
    ],
)
def test_losses_are_judged_by_their_numbers(path, value, claims):
    from experiments import losses

    assert set(verdicts(losses, LOSSES).values()) == {"confirmed"}
    assert_refutes(losses, LOSSES, path, value, claims)


# ---- linear_collapse and layers -------------------------------------------------------------------------------------

COLLAPSE = {
    "nets": 5,
    "collapse": {"apart": 1e-15, "bound": 1e-13, "with_tanh": 0.6},
    "deep": {f"W{k}": {"apart": 1e-15, "share_of_bound": 0.1, "from_differences": 1e-9} for k in (1, 2, 3)},
    "formulas": {"one": {"apart": 1e-16, "bound": 1e-13}},
}


@pytest.mark.parametrize(
    ("path", "value", "claims"),
    [
        (("collapse", "apart"), 1e-3, {"C3"}),
        (("collapse", "with_tanh"), 0.0, {"C3"}),
        (("deep", "W2", "share_of_bound"), 2.0, {"A16"}),
        (("deep", "W3", "from_differences"), 0.1, {"A16"}),
        (("formulas", "one", "apart"), 1e-3, {"C4"}),
    ],
)
def test_linear_collapse_is_judged_by_its_numbers(path, value, claims):
    from experiments import linear_collapse

    assert set(verdicts(linear_collapse, COLLAPSE).values()) == {"confirmed"}
    assert_refutes(linear_collapse, COLLAPSE, path, value, claims)


LAYERS = {
    "repeats": 5,
    "identities": {
        f"{claim} formula": {"apart": 1e-16, "bound": 1e-14}
        for claim in ("A15", "A18", "B8", "B13", "C8", "C9", "D4", "D6", "D8", "E6")
    },
    "contrasts": {"D8 constant free": 0.1, "E6 wrong reading": 0.2},
    "taylor": {"slope": 2.0, "slope_of_wrong": 1.0},
}


@pytest.mark.parametrize(
    ("path", "value", "claims"),
    [
        *((("identities", f"{claim} formula", "apart"), 1e-3, {claim}) for claim in ("A15", "B8", "B13", "D8", "E6")),
        (("contrasts", "D8 constant free"), 0.0, {"D8"}),
        (("contrasts", "E6 wrong reading"), 1e-16, {"E6"}),
        (("taylor", "slope"), 1.0, {"D2"}),
        (("taylor", "slope_of_wrong"), 2.0, {"D2"}),
    ],
)
def test_layers_are_judged_by_their_numbers(path, value, claims):
    from experiments import layers

    assert set(verdicts(layers, LAYERS).values()) == {"confirmed"}
    assert_refutes(layers, LAYERS, path, value, claims)


def test_A18_a_mask_has_as_many_connections_as_its_layer():
    from experiments.layers import masks

    counts = {name: mask.sum(axis=0) for name, mask in masks().items()}
    assert (counts["convolution"] == 9).all() and (counts["pooling"] == 4).all() and (counts["full"] == 36).all()


# ---- what_made_it_work ----------------------------------------------------------------------------------------------


def variant(loss=0.9, accuracy=0.92, epochs=30):
    # a little apart from seed to seed
    return {
        "inside": True, "test_accuracy": [accuracy] * 3, "test_loss": [loss, loss + 0.01, loss - 0.02],
        "epochs_to_done": [epochs, epochs, epochs],
    }  # fmt: skip


ABLATION = {
    "seeds": 3,
    "epochs": 50,
    "done": 0.1,
    "variants": {
        "the whole recipe": variant(0.3, epochs=16) | {"test_loss": [0.3, 0.32, 0.31]},
        **{f"without {what}": variant() for what in ("initialisation", "activation", "acceleration", "early stopping")},
        "without regularization": variant(0.6) | {"test_loss": [0.6, 0.62, 0.61]},
        "neither penalty nor stopping": variant(),
        "none of the five": variant(2.3, accuracy=0.1),
    },
}


@pytest.mark.parametrize(
    ("path", "value", "verdict", "part"),
    [
        (("variants", "without regularization", "test_loss"), [0.1, 0.13, 0.12], "refuted", "regularization"),
        (("variants", "without activation", "test_loss"), [0.3, 0.31, 0.33], "open", "activation"),
        (
            ("variants", "without acceleration", "test_loss"),
            [0.1, 0.13, 0.12],
            "refuted",
            "acceleration, for the loss,",
        ),
        (("variants", "without acceleration", "epochs_to_done"), [8, 9, 8], "refuted", "acceleration, for the time,"),
        (
            ("variants", "neither penalty nor stopping", "test_loss"),
            [0.6, 0.61, 0.63],
            "open",
            "early stopping without",
        ),
        (("variants", "the whole recipe", "inside"), False, "open", ""),
        (("variants", "none of the five", "test_accuracy"), [0.9], "refuted", ""),
        (("variants", "the whole recipe", "test_accuracy"), [0.5], "refuted", ""),
    ],
)
def test_B14_the_parts_of_the_ablation_are_judged_apart(path, value, verdict, part):
    from experiments import what_made_it_work

    assert verdicts(what_made_it_work, ABLATION) == {"B14": "confirmed"}
    wrong = planted(ABLATION, path, value)
    judgement = frame.judge(what_made_it_work, wrong)["B14"]
    assert judgement.verdict == verdict
    assert (
        not part
        or f"{part} {verdict}".replace(",,", ",") in judgement.evidence
        or f"{part} one {verdict}" in judgement.evidence
    )
    assert judgement.evidence.count("confirmed") == (6 if part else 7)


def test_B14_a_net_of_three_layers_learns_from_large_enough_weights_alone():
    images, labels = fnn.data.digits()
    net = fnn.mlp(64, 16, 16, 10, activation="relu", weight_init="he_normal")
    by_hand, optimizer = fnn.backprop(net, fnn.softmax_cross_entropy), fnn.optimizers.nesterov(0.1)

    @jax.jit
    def loss(params, x, y):
        def step(carry, _):
            updates, state = optimizer.update(by_hand(carry[0], x, y)[1], carry[1])
            return (jax.tree.map(jnp.add, carry[0], updates), state), None

        end = jax.lax.scan(step, (params, optimizer.init(params)), None, length=60)[0][0]
        return by_hand(end, x, y)[0]

    params = net.init(jax.random.key(0))
    small = jax.tree.map(lambda leaf: 0.03 * leaf, params)
    large, small = (float(loss(each, images[:300], labels[:300])) for each in (params, small))
    assert large < np.log(10) / 2 and abs(small - np.log(10)) < 0.05
