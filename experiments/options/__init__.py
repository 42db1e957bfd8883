"""What each experiment can be told: one frozen dataclass per experiment, the only source of its options.

Promises: importing this package imports neither JAX nor NumPy, so that `--help` answers at once.
To add an experiment, write its dataclass in a file here (with fields `seed` and `out`), give it a row in `EXPERIMENTS`,
and a module whose first lines say "Question: …", "Prediction: …", "Refuted by: …", with
    run(options, watch) -> result    a dict that JSON can hold; what differs between two runs stands under "measured"
    judge(result) -> {claim: Judgement}    from a result as it was saved, for each of its claims; absent without claims
    show(saved, console)             prints what a reader wants to know
    draw(saved) -> {name: figure}    may be empty; vector graphics (.svg) unless there are very many points
where `saved` is the whole record as it was written: "result", "verdicts", "measured", "options", "versions", "device".
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from experiments.options.decisions import Logistic, Perceptron, Trees, UniversalApproximation, Xor
from experiments.options.differentiation import FiniteDifferences, MatrixChain, Softmax
from experiments.options.learning import Digits
from experiments.options.trials import Detection, Faults, Speed


class Experiment(NamedTuple):
    """One experiment: what it can be told, where it stands, and what it is about."""

    options: type[Any]
    module: str
    claims: tuple[str, ...] = ()
    """The numbers of the claims that it judges."""
    quick: Mapping[str, Any] = {}
    """Options that make it small, for `all --quick`: a few seconds, every line run, verdicts perhaps open."""


#: In the order in which they are listed.
EXPERIMENTS: dict[str, Experiment] = {
    "digits": Experiment(
        Digits, "experiments.digits", (), {"hidden": (4,), "epochs": 4, "batch_size": 389, "seeds": 1}
    ),
    "xor": Experiment(Xor, "experiments.xor", ("A2", "E8"), {"seeds": 3}),
    "perceptron": Experiment(Perceptron, "experiments.perceptron", ("A1", "B4"), {"sets": 90, "tangled": 10}),
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
    "finite_differences": Experiment(
        FiniteDifferences,
        "experiments.finite_differences",
        ("A8", "A9", "A10", "A12", "E2"),
        {"repeats": 1, "largest": 200},
    ),
    "matrix_chain": Experiment(
        MatrixChain, "experiments.matrix_chain", ("D5",), {"chains": 20, "largest": 100, "repeats": 1}
    ),
    "speed": Experiment(Speed, "experiments.speed"),
    "detection": Experiment(Detection, "experiments.detection"),
    "faults": Experiment(Faults, "experiments.faults"),
}


def summary(options: type[Any]) -> str:
    """The first line of what the options say of their experiment."""
    return (options.__doc__ or "").strip().splitlines()[0]
