"""What each experiment can be told: one frozen dataclass per experiment, the only source of its options.

Promises: importing this package imports neither JAX nor NumPy, so that `--help` answers at once.
To add an experiment, write its dataclass in a file here (with fields `seed` and `out`), give it a row in `EXPERIMENTS`,
and a module whose first lines say "Question: …", "Prediction: …", "Refuted by: …", with
    run(options, watch) -> result    a dict that JSON can hold; what differs between two runs stands under "measured"
    judge(result) -> {claim: Judgement}    from a result as it was saved, for each of its claims; absent without claims
    predictions(result) -> {sentence: whether it held}    where there is more to predict than the claims; may be absent
    show(saved, console)             prints what a reader wants to know
    draw(saved) -> {name: figure}    may be empty; vector graphics (.svg) unless there are very many points
where `saved` is the whole record as it was written: "result", "verdicts", "measured", "options", "versions", "device".
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from experiments.options.data import Wine
from experiments.options.decisions import Logistic, Perceptron, Trees, UniversalApproximation, Xor
from experiments.options.differentiation import FiniteDifferences, Graphs, MatrixChain, Softmax
from experiments.options.formulas import Layers, LinearCollapse, Losses
from experiments.options.learning import (
    BiasVariance,
    Depth,
    Digits,
    Initialisation,
    LearningRate,
    Regularization,
    WhatMadeItWork,
)
from experiments.options.trials import Detection, Faults, Speed


class Experiment(NamedTuple):
    """One experiment: what it can be told, where it stands, and what it is about."""

    options: type[Any]
    module: str
    claims: tuple[str, ...] = ()
    """The numbers of the claims that it judges."""
    quick: Mapping[str, Any] = {}
    """Options that make it small, for `all --quick`: a few seconds, every line run, verdicts perhaps open."""
    apart: bool = False
    """It takes hours or a quiet machine: `all` leaves it out, and the report takes its committed results."""


#: In the order in which they are listed.
EXPERIMENTS: dict[str, Experiment] = {
    "digits": Experiment(
        Digits, "experiments.digits", (), {"hidden": (4,), "epochs": 4, "batch_size": 389, "seeds": 1}
    ),
    "perceptron": Experiment(Perceptron, "experiments.perceptron", ("A1", "B4"), {"sets": 90, "tangled": 10}),
    "xor": Experiment(Xor, "experiments.xor", ("A2", "E8"), {"seeds": 3}),
    "logistic": Experiment(Logistic, "experiments.logistic", ("B3",), {"sets": 20}),
    "trees": Experiment(
        Trees, "experiments.trees", ("A4",), {"trees": ("two moons", "signs"), "points": 5_000, "steps": 3}
    ),
    "universal_approximation": Experiment(
        UniversalApproximation,
        "experiments.universal_approximation",
        ("A3", "B16", "C4"),
        {"steps": 20, "seeds": 1, "dimensions": (1,)},
    ),
    "softmax": Experiment(Softmax, "experiments.softmax", ("A5", "A6", "A7", "B7", "B15", "B20"), {"rows": 500}),
    "graphs": Experiment(Graphs, "experiments.graphs", ("A10", "C7", "D3", "E3", "E4", "E5")),
    "finite_differences": Experiment(
        FiniteDifferences,
        "experiments.finite_differences",
        ("A8", "A9", "A10", "A12", "E2"),
        {"repeats": 1, "largest": 200},
    ),
    "matrix_chain": Experiment(
        MatrixChain, "experiments.matrix_chain", ("D5",), {"chains": 20, "largest": 100, "repeats": 1}
    ),
    "layers": Experiment(
        Layers,
        "experiments.layers",
        ("A15", "A18", "B8", "B13", "C8", "C9", "D2", "D4", "D6", "D8", "E6"),
        {"repeats": 10},
    ),
    "losses": Experiment(Losses, "experiments.losses", ("B19", "C10", "D1", "D7"), {"draws": 2000}),
    "linear_collapse": Experiment(LinearCollapse, "experiments.linear_collapse", ("A16", "C3", "C4"), {"nets": 20}),
    "learning_rate": Experiment(
        LearningRate,
        "experiments.learning_rate",
        ("A11", "A19", "B6", "B12", "C6", "E1", "E7"),
        {"quadratics": 20, "starts": 16, "draws": 200, "batches": (32, 1024), "epochs": 6, "seeds": 1},
    ),
    "depth": Experiment(
        Depth,
        "experiments.depth",
        ("A13", "A14", "A17", "B5", "B10", "B17"),
        {"initializers": ("glorot_uniform", "he_normal"), "seeds": 4, "repeats": 1, "steps": 100},
    ),
    "initialisation": Experiment(Initialisation, "experiments.initialisation", ("B10", "B11"), {"permutations": 50}),
    "regularization": Experiment(
        Regularization, "experiments.regularization", ("B9", "B18"), {"strengths": 8, "net_steps": 400}
    ),
    "bias_variance": Experiment(
        BiasVariance, "experiments.bias_variance", ("B1", "B2"), {"sets": 10, "sizes": (40, 640), "fresh": 2000}
    ),
    "what_made_it_work": Experiment(
        WhatMadeItWork, "experiments.what_made_it_work", ("B14",), {"hidden": (8,), "epochs": 2, "seeds": 1}
    ),
    "wine": Experiment(
        Wine, "experiments.wine", ("C1", "C2", "C5"), {"starts": 4, "steps": 2000, "epochs": 20, "nets": 3}
    ),
    "speed": Experiment(Speed, "experiments.speed", apart=True),
    "detection": Experiment(Detection, "experiments.detection", apart=True),
    "faults": Experiment(Faults, "experiments.faults", apart=True),
}


def summary(options: type[Any]) -> str:
    """The first line of what the options say of their experiment."""
    return (options.__doc__ or "").strip().splitlines()[0]
