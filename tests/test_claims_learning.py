"""The experiments about learning and formulas: their pure functions, and verdicts on results with a planted error.

Every result here is the smallest that its `judge` reads; a right one is confirmed, and one wrong number refutes it.
"""

import copy

import jax.numpy as jnp
import numpy as np
import pytest


def verdicts(judge, result):
    """{claim: verdict}."""
    return {claim: judgement.verdict for claim, judgement in judge(result).items()}


def planted(result, path, value):
    """The result with one number replaced; a step of the path is a key or an index."""
    wrong = copy.deepcopy(result)
    *steps, last = path
    part = wrong
    for step in steps:
        part = part[step]
    part[last] = value
    return wrong


def assert_refutes(judge, result, path, value, claims):
    """With this number alone wrong, these claims and no others are refuted."""
    before, after = verdicts(judge, result), verdicts(judge, planted(result, path, value))
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
    },
    "curves": {
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
    "optimizers": {"first_gradient_apart": {"a": 0.0, "b": 0.0}, "nearest_ends": 0.1},
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
        (("variance", "measured", 1), 0.7, {"B6"}),
        (("variance", "mean_apart"), 0.1, {"B6"}),
        (("batches", "sizes", "mini", "best", 1), 1.5, {"B6"}),
        (("batches", "sizes", "full", "outer_seeds_best", 0), 0.9, {"E7"}),
        (("optimizers", "first_gradient_apart", "b"), 0.1, {"A19"}),
        (("optimizers", "nearest_ends"), 0.0, {"A19"}),
    ],
)
def test_learning_rate_is_judged_by_its_numbers(path, value, claims):
    from experiments.learning_rate import judge

    assert set(verdicts(judge, LEARNING_RATE).values()) == {"confirmed"}
    assert_refutes(judge, LEARNING_RATE, path, value, claims)


def test_E1_the_slopes_of_the_curves_are_their_derivatives(x64):
    import jax

    from experiments.learning_rate import two_valleys, two_valleys_slope
    from tests import tolerances
    from tests.witnesses import assert_close

    x = jnp.asarray(np.linspace(-1.0, 4.5, 12))
    for tilt in (0.0, 8.0):
        automatic = jax.vmap(jax.grad(lambda x, tilt=tilt: two_valleys(x, tilt)))(x)
        assert_close(np.asarray(two_valleys_slope(x, tilt)), np.asarray(automatic), tolerances.FORWARD["float64"])
