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

from experiments.options.decisions import Xor
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


#: In the order in which they are listed.
EXPERIMENTS: dict[str, Experiment] = {
    "digits": Experiment(
        Digits, "experiments.digits", (), {"hidden": (4,), "epochs": 4, "batch_size": 389, "seeds": 1}
    ),
    "xor": Experiment(Xor, "experiments.xor", ("A2", "E8"), {"seeds": 3}),
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
    "linear_collapse": Experiment(LinearCollapse, "experiments.linear_collapse", ("A16", "C3", "C4"), {"nets": 20}),
    "layers": Experiment(
        Layers,
        "experiments.layers",
        ("A15", "A18", "B8", "B13", "C8", "C9", "D2", "D4", "D6", "D8", "E6"),
        {"repeats": 10},
    ),
    "what_made_it_work": Experiment(
        WhatMadeItWork, "experiments.what_made_it_work", ("B14",), {"hidden": (8,), "epochs": 2, "seeds": 1}
    ),
    "losses": Experiment(Losses, "experiments.losses", ("B19", "C10", "D1", "D7"), {"draws": 2000}),
    "speed": Experiment(Speed, "experiments.speed"),
    "detection": Experiment(Detection, "experiments.detection"),
    "faults": Experiment(Faults, "experiments.faults"),
}


def summary(options: type[Any]) -> str:
    """The first line of what the options say of their experiment."""
    return (options.__doc__ or "").strip().splitlines()[0]
