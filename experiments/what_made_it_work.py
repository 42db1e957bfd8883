"""Question: of the five things that made deep nets work (initialisation, activation, regularization, accelerated
descent, early stopping), which one matters most for a deep net on digits?

Prediction: the whole recipe (relu, He's weights, L2, Nesterov's momentum, early stopping) reads digits well; with any
one of the five left out the loss on unseen images is higher; without acceleration training takes longer too; stopping
early helps also where there is no penalty; with none of them a deep net does not learn at all (B14). Each part is
judged by itself.
Refuted by: a part that, when left out, lowers the loss or saves time, beyond chance. Open: a part that, when left out,
makes no difference beyond chance here.

The criterion was written after exploration: the problem, seven layers and 300 training images with a tenth of their
labels wrong, is one on which there is something to overfit. It is judged on 20 seeds that no choice has seen: every
variant gets the rate of six and the strength of two that are best on validation images over other seeds, and the test
images are looked at once per net. Effects are paired by seed, and count where they exceed two standard errors. Without
initialisation: weights from N(0, 0.01²). Without activation: sigmoid.
"""

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Leave out, one at a time, what made deep nets work: initialisation, activation, penalty, acceleration, stopping.

    A net of seven layers reads digits from 300 examples; each variant has its own best learning rate and strength.
    """

    hidden: tuple[int, ...] = frame.at_least(1, (32,) * 6)
    """Units of each hidden layer, one number per layer."""
    epochs: int = frame.at_least(1, 50)
    """At most so many passes over the training images."""
    patience: int = frame.at_least(1, 15)
    """Epochs without improvement after which early stopping ends a run."""
    seeds: int = frame.at_least(1, 20)
    """How many nets of each variant are judged."""
    chosen_by: int = frame.at_least(1, 3)
    """How many other nets of each variant, rate and strength choose the rate and the strength."""


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "B14": ("* helps", "* does no harm", "inside", "whole", "none"),
    },
    quick={"hidden": (8,), "epochs": 2, "seeds": 2, "chosen_by": 1},
    unjudged=("*",),
)

# ---- the experiment -------------------------------------------------------------------------------------------------

import jax
import numpy as np
import optax
from rich.console import Console
from rich.table import Table

import fnn
from experiments.frame import Evidence, Prediction
from experiments.progress import Watch, silent

SIZES = {"train": 300, "validation": 300, "test": 1197}
#: The share of the training labels that are wrong; those of validation and test are right.
WRONG = 0.1
#: Of L2, where there is any.
STRENGTHS = (3e-4, 3e-3)
SMALL = fnn.initializers.normal(0.01)
#: The loss at which a training counts as done: half of guessing. Where the right labels are learned and the wrong ones
#: are not, it is about 0.1 · ln(9/0.1) = 0.45.
DONE = float(np.log(10)) / 2


def nesterov(learning_rate: Any) -> Any:
    """Optax's accelerated descent, as a function of the rate."""
    return optax.sgd(learning_rate, momentum=0.9, nesterov=True)


#: Rates of each optimizer, about a factor of three apart: momentum of 0.9 takes steps ten times as long.
RATES = {
    nesterov: (0.001, 0.003, 0.01, 0.03, 0.1, 0.3), optax.sgd: (0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
}  # fmt: skip
#: name: (activation, initializer, strengths, optimizer, early stopping)
WHOLE = "the whole recipe"
VARIANTS = {
    WHOLE: ("relu", "he_normal", STRENGTHS, nesterov, True),
    "without initialisation": ("relu", SMALL, STRENGTHS, nesterov, True),
    "without activation": ("sigmoid", "glorot_uniform", STRENGTHS, nesterov, True),
    "without regularization": ("relu", "he_normal", (0.0,), nesterov, True),
    "without acceleration": ("relu", "he_normal", STRENGTHS, optax.sgd, True),
    "without early stopping": ("relu", "he_normal", STRENGTHS, nesterov, False),
    "neither penalty nor stopping": ("relu", "he_normal", (0.0,), nesterov, False),
    "none of the five": ("sigmoid", SMALL, (0.0,), optax.sgd, False),
}
NEITHER = "neither penalty nor stopping"
LEFT_OUT = tuple(name for name in VARIANTS if name.startswith("without"))
#: What learns at some rate; where nothing does, no rate is best.
LEARNING = (WHOLE, "without regularization", "without acceleration", "without early stopping", NEITHER)
#: The seeds that choose lie far above those that are judged.
CHOOSING = 10_000
#: What stands for a loss that left the finite numbers: worse than any.
WORST = 1e3


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Train all variants, those of equal shape as one program, and return losses, accuracies and epochs."""
    images, labels = fnn.data.digits()
    rows = fnn.data.stratified_split(labels, list(SIZES.values()), seed=0)
    parts = {name: (images[part], labels[part]) for name, part in zip(SIZES, rows, strict=True)}
    random = np.random.default_rng(options.seed)
    wrong = random.choice(SIZES["train"], round(WRONG * SIZES["train"]), replace=False)
    x, y = parts["train"]
    # another digit than the right one
    noisy = y.copy()
    noisy[wrong] = (y[wrong] + random.integers(1, 10, len(wrong))) % 10
    parts["train"] = x, noisy
    # variants that differ in weights and strength alone are runs of one sweep
    programs: dict[Any, list[str]] = {}
    for name, (activation, _, _, optimizer, stops) in VARIANTS.items():
        programs.setdefault((activation, optimizer, stops), []).append(name)
    results: dict[str, Any] = {}
    for k, ((activation, optimizer, stops), names) in enumerate(programs.items(), start=1):
        results |= _measured(options, activation, optimizer, stops, names, parts)
        watch("programs", k, len(programs), ", ".join(names))
    result = {"sizes": SIZES, "epochs": options.epochs, "seeds": options.seeds, "done": DONE}
    result["variants"] = {name: results[name] for name in VARIANTS}
    return result


def _measured(
    options: Options, activation: str, optimizer: Any, stops: bool, names: list[str], parts: Any
) -> dict[str, Any]:
    """The variants of one program, each at the rate and strength that other seeds chose for it."""
    settings = {name: list(product(RATES[optimizer], VARIANTS[name][2])) for name in names}
    choosing = range(CHOOSING + options.seed, CHOOSING + options.seed + options.chosen_by)
    rows = [(seed, *setting, VARIANTS[name][1]) for name in names for setting in settings[name] for seed in choosing]
    # as many runs where the rates are chosen as where they are judged: one program, compiled once
    lanes = max(len(rows), len(names) * options.seeds)
    losses = _trained(options, activation, optimizer, stops, rows, lanes, parts)["validation"]
    losses = losses.reshape(-1, options.chosen_by)
    best, first = {}, 0
    for name in names:
        of_mine = losses[first : first + len(settings[name])].mean(axis=1)
        first += len(settings[name])
        best[name] = settings[name][int(np.argmin(of_mine))]
    judged = range(options.seed, options.seed + options.seeds)
    rows = [(seed, *best[name], VARIANTS[name][1]) for name in names for seed in judged]
    found = _trained(options, activation, optimizer, stops, rows, lanes, parts)
    results = {}
    for k, name in enumerate(names):
        mine = slice(k * options.seeds, (k + 1) * options.seeds)
        rates = RATES[optimizer]
        results[name] = {
            "rate": best[name][0],
            "strength": best[name][1],
            "inside": rates[0] < best[name][0] < rates[-1],
            "test_loss": found["test"][mine],
            "test_accuracy": found["accuracy"][mine],
            "train_loss": float(found["train"][mine].mean()),
            # one more than there are for a run that is never done
            "epochs_to_done": found["epochs"][mine],
            "curve": found["curve"][mine][0],
        }
    return results


def _trained(
    options: Options, activation: str, optimizer: Any, stops: bool, rows: list[tuple[Any, ...]], lanes: int, parts: Any
) -> dict[str, Any]:
    """Losses, accuracies and epochs of nets that differ in (seed, rate, strength, weights).

    The last of them is trained again until there are as many as `lanes`; what that gives is left out.
    """
    net = fnn.mlp(64, *options.hidden, 10, activation=activation)
    names = ("seed", "learning_rate", "strength", "weight_init")
    filled = rows + rows[-1:] * (lanes - len(rows))
    over: dict[str, Any] = dict(zip(names, map(list, zip(*filled, strict=True)), strict=True))
    sweep = fnn.sweep(
        fnn.backprop(net, fnn.softmax_cross_entropy, fnn.l2), parts["train"], over=over, optimizer=optimizer,
        epochs=options.epochs, batch_size=20, validation=parts["validation"], shared_shuffle=True,
        patience=options.patience if stops else None,
        # the loss without the penalty, which is another for each strength
        metrics={"bare": fnn.objective(net, fnn.softmax_cross_entropy)},
    )  # fmt: skip
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *sweep.params)

    found = {name: np.asarray(each, np.float64)[: len(rows)] for name, each in _tested(net, stacked, parts).items()}
    for name in parts:
        found[name] = np.nan_to_num(found[name], nan=WORST, posinf=WORST)
    reached = [np.flatnonzero(curve <= DONE) for curve in sweep.metrics["bare"][: len(rows)]]
    held_out = sweep.metrics["validation_loss"][: len(rows)]
    return found | {
        "epochs": [int(each[0]) + 1 if len(each) else options.epochs + 1 for each in reached],
        "curve": [[None if not np.isfinite(v) else round(float(v), 4) for v in curve] for curve in held_out],
    }


@partial(jax.jit, static_argnums=0)
def _tested(net: fnn.Layer, params: Any, parts: dict[str, tuple[jax.Array, jax.Array]]) -> dict[str, jax.Array]:
    """The loss on each part and the accuracy on the test images, of many nets."""

    def one(params: Any) -> dict[str, jax.Array]:
        scores = {name: net.apply(params, x) for name, (x, _) in parts.items()}
        losses = {name: fnn.softmax_cross_entropy(scores[name], y) for name, (_, y) in parts.items()}
        return losses | {"accuracy": fnn.accuracy(scores["test"], parts["test"][1])}

    return jax.vmap(one)(params)


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def effect(result: dict[str, Any], without: str, beside: str, what: str = "test_loss") -> tuple[float, float]:
    """(mean, standard error) over seeds of what the lack of an ingredient adds."""
    added = np.array(result["variants"][without][what], float) - np.array(result["variants"][beside][what], float)
    return float(added.mean()), float(added.std(ddof=1) / np.sqrt(len(added)))


#: {part: (the variant without it, the one beside which it is seen, what is compared)}
PARTS = {
    "initialisation": ("without initialisation", WHOLE, "test_loss"),
    "activation": ("without activation", WHOLE, "test_loss"),
    "regularization": ("without regularization", WHOLE, "test_loss"),
    "acceleration, for the loss,": ("without acceleration", WHOLE, "test_loss"),
    "acceleration, for the time,": ("without acceleration", WHOLE, "epochs_to_done"),
    "early stopping beside a penalty": ("without early stopping", WHOLE, "test_loss"),
    "early stopping without one": (NEITHER, "without regularization", "test_loss"),
}


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, open where chance may explain it, from a result as it was saved."""
    variants, made = result["variants"], {}
    for part, compared in PARTS.items():
        mean, error = effect(result, *compared)
        value = mean / max(error, 1e-12)
        made[f"{part} helps"] = Prediction(
            f"{part} helps: what its lack adds, in standard errors", value, "at least", 2.0, None,
            f"More seeds or a harder problem would decide about {part.rstrip(',')}.",
        )  # fmt: skip
        made[f"{part} does no harm"] = Prediction(
            f"{part} does no harm: what its lack adds, in standard errors", value, "at least", -2.0
        )
    whole, none = variants[WHOLE], variants["none of the five"]
    return made | {
        "inside": Prediction(
            "the best rate of all that learn lies inside the rates tried",
            all(variants[n]["inside"] for n in LEARNING),
            miss=None,
            decide="More rates would decide.",
        ),
        "whole": Prediction(
            "share of digits that the whole recipe reads", float(np.mean(whole["test_accuracy"])), "at least", 0.8
        ),
        "none": Prediction(
            "share that is read with none of the five", float(np.mean(none["test_accuracy"])), "at most", 0.2
        ),
    }


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """What the ablation says of claim B14, part by part."""
    variants, made = result["variants"], predictions(result)
    words = []
    for part, compared in PARTS.items():
        mean, error = effect(result, *compared)
        outcome = frame.verdict(made[f"{part} {what}"].held for what in ("helps", "does no harm"))
        unit = " epochs" if compared[2] == "epochs_to_done" else ""
        words.append(f"{part} {outcome} ({mean:+.3f} ± {error:.3f}{unit})".replace(",,", ","))
    whole, none = (np.mean(variants[name]["test_accuracy"]) for name in (WHOLE, "none of the five"))
    text = (
        f"What the lack of each adds to the loss on unseen digits (± standard error over {result['seeds']} seeds): "
        f"{'; '.join(words)}. The whole recipe, loss {np.mean(variants[WHOLE]['test_loss']):.3f}, reads "
        f"{whole:.1%}, with "
        f"none of the five {none:.1%} are read."
    )
    return {"B14": Evidence(text, "ablation.svg")}


def show(saved: dict[str, Any], console: Console) -> None:
    """Print losses and accuracies of all variants."""
    result = saved["result"]
    table = Table(title=f"Digits, {result['sizes']['train']} training images, {result['seeds']} seeds")
    for heading in ("variant", "rate", "λ", "training loss", "test loss", "± over seeds", "read correctly", "epochs"):
        table.add_column(heading, justify="left" if heading == "variant" else "right")
    for name, each in result["variants"].items():
        done = [epoch for epoch in each["epochs_to_done"] if epoch <= result["epochs"]]
        table.add_row(
            name, f"{each['rate']:g}", f"{each['strength']:g}", f"{each['train_loss']:.3f}",
            f"{np.mean(each['test_loss']):.3f}", f"{np.std(each['test_loss']):.3f}",
            f"{np.mean(each['test_accuracy']):.1%}", f"{np.mean(done):.0f}" if done else "never",
        )  # fmt: skip
    console.print(table)


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    from experiments import figures

    result = saved["result"]
    figure, ((losses, curves),) = figures.blank(14, 4.8, columns=2)
    names = list(result["variants"])
    for k, name in enumerate(names):
        values = np.array(result["variants"][name]["test_loss"])
        color = (
            figures.GREEN
            if k == 0
            else figures.RED
            if name in (*LEFT_OUT, NEITHER, "none of the five")
            else figures.BLUE
        )
        losses.plot(values, np.full(len(values), k), "o", color=color, alpha=0.6, ms=6)
        losses.plot(values.mean(), k, "|", color="black", ms=18, mew=2.5)
        right = np.mean(result["variants"][name]["test_accuracy"])
        losses.text(1.02, k, f"{right:.1%}", transform=losses.get_yaxis_transform(), va="center")
    losses.text(1.02, -0.9, "right", transform=losses.get_yaxis_transform(), va="center")
    losses.axvline(np.log(10), color="0.4", lw=1, ls=":")
    losses.set_yticks(range(len(names)), names)
    losses.invert_yaxis()
    losses.set_xscale("log")
    losses.set_xticks([0.2, 0.5, 1, 2], ["0.2", "0.5", "1", "2"])
    losses.minorticks_off()
    losses.set(
        xlabel="loss on unseen images (nats; dotted: guessing)",
        title="One ingredient left out; bar: mean",
    )
    shown = ("the whole recipe", "without initialisation", "without activation", "without acceleration",
             "without early stopping", "none of the five")  # fmt: skip
    colors = (figures.GREEN, figures.RED, figures.PINK, figures.BLUE, figures.ORANGE, "0.4")
    for name, color, style in zip(shown, colors, ("-", "--", "-.", "-", (0, (4, 1)), ":"), strict=True):
        curve = [np.nan if value is None else value for value in result["variants"][name]["curve"]]
        curves.plot(range(1, len(curve) + 1), curve, ls=style, color=color, lw=2, label=name)
    curves.set_yscale("log")
    curves.set_yticks([0.2, 0.5, 1, 2], ["0.2", "0.5", "1", "2"])
    curves.minorticks_off()
    curves.set(xlabel="epoch", ylabel="validation loss (nats)", title="The first seed of each")
    curves.legend(fontsize=9)
    return {"ablation.svg": figure}
