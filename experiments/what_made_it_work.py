"""Question: of the five things that made deep nets work (initialisation, activation, regularization, accelerated
descent, early stopping), which does a deep net on digits miss most?

Prediction: the whole recipe (relu, He's weights, L2, Nesterov's momentum, early stopping) reads digits well; with any
one of the five left out the loss on unseen images is higher, or training takes longer (acceleration), or both do where
another does its work (early stopping without a penalty); with none of them a deep net does not learn at all (B14).
Refuted by: an ingredient whose lack lowers the loss and costs no time. Open: one whose lack makes no difference beyond
chance here.

Seven layers, 300 training images, and a tenth of their labels wrong, so that there is something to overfit: with right
labels alone early stopping made no difference beyond chance. Every variant gets its own best learning rate
of three and strength of two, chosen by validation; the test images are looked at once per net. Effects are paired by
seed, and count where they exceed two standard errors. Without initialisation: weights from N(0, 0.01²). Without
activation: sigmoid.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Leave out one by one what made deep nets work: initialisation, activation, penalty, acceleration, stopping.

    A net of seven layers reads digits from 300 examples; each variant has its own best learning rate and strength.
    """

    hidden: tuple[int, ...] = frame.at_least(1, (32,) * 6)
    """Units of each hidden layer, one number per layer."""
    epochs: int = frame.at_least(1, 50)
    """At most so many passes over the training images."""
    patience: int = frame.at_least(1, 15)
    """Epochs without improvement after which early stopping ends a run."""
    seeds: int = frame.at_least(1, 6)
    """How many nets of each variant, rate and strength."""


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "B14": ("without *", "whole", "none"),
    },
    quick={"hidden": (8,), "epochs": 2, "seeds": 1},
)

# ---- the experiment -------------------------------------------------------------------------------------------------

import jax
import jax.numpy as jnp
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


def heavy_ball(learning_rate: Any) -> Any:
    """Optax's descent with momentum."""
    return optax.sgd(learning_rate, momentum=0.9)


#: Rates of each optimizer, about a factor of three apart: momentum of 0.9 takes steps ten times as long.
RATES = {
    nesterov: (0.003, 0.01, 0.03), heavy_ball: (0.003, 0.01, 0.03), optax.sgd: (0.01, 0.03, 0.1),
    optax.adam: (5e-4, 1.5e-3, 5e-3),
}  # fmt: skip
#: name: (activation, initializer, strengths, optimizer, early stopping)
VARIANTS = {
    "the whole recipe": ("relu", "he_normal", STRENGTHS, nesterov, True),
    "without initialisation": ("relu", SMALL, STRENGTHS, nesterov, True),
    "without activation": ("sigmoid", "glorot_uniform", STRENGTHS, nesterov, True),
    "without regularization": ("relu", "he_normal", (0.0,), nesterov, True),
    "without acceleration": ("relu", "he_normal", STRENGTHS, optax.sgd, True),
    "without early stopping": ("relu", "he_normal", STRENGTHS, nesterov, False),
    "neither penalty nor stopping": ("relu", "he_normal", (0.0,), nesterov, False),
    "momentum in its place": ("relu", "he_normal", STRENGTHS, heavy_ball, True),
    "Adam in its place": ("relu", "he_normal", STRENGTHS, optax.adam, True),
    "none of the five": ("sigmoid", SMALL, (0.0,), optax.sgd, False),
}
NEITHER = "neither penalty nor stopping"
LEFT_OUT = tuple(name for name in VARIANTS if name.startswith("without"))


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
        results |= _trained(options, activation, optimizer, stops, names, parts)
        watch("programs", k, len(programs), ", ".join(names))
    result = {"sizes": SIZES, "epochs": options.epochs, "seeds": options.seeds, "done": DONE}
    result["variants"] = {name: results[name] for name in VARIANTS}
    for name in (*LEFT_OUT, NEITHER):
        # stopping early may do what the penalty does: it is left out once more where there is no penalty
        beside = "without regularization" if name == NEITHER else "the whole recipe"
        effect = np.array(results[name]["test_loss"]) - np.array(results[beside]["test_loss"])
        results[name]["effect"] = float(effect.mean())
        results[name]["effect_error"] = (
            float(effect.std(ddof=1) / np.sqrt(options.seeds)) if options.seeds > 1 else float(np.log(10))
        )
    return result


def _trained(
    options: Options, activation: str, optimizer: Any, stops: bool, names: list[str], parts: Any
) -> dict[str, Any]:
    """The variants of one program: every rate and seed of each."""
    net = fnn.mlp(64, *options.hidden, 10, activation=activation)
    seeds = range(options.seed, options.seed + options.seeds)
    settings = {name: list(product(RATES[optimizer], VARIANTS[name][2])) for name in names}
    rows = [
        (seed, rate, strength, VARIANTS[name][1])
        for name in names
        for rate, strength in settings[name]
        for seed in seeds
    ]
    over: dict[str, Any] = dict(
        zip(("seed", "learning_rate", "strength", "weight_init"), map(list, zip(*rows, strict=True)), strict=True)
    )
    sweep = fnn.sweep(
        fnn.backprop(net, fnn.softmax_cross_entropy, fnn.l2), parts["train"], over=over, optimizer=optimizer,
        epochs=options.epochs, batch_size=20, validation=parts["validation"], shared_shuffle=True,
        patience=options.patience if stops else None,
        # the loss without the penalty, which is another for each strength
        metrics={"bare": fnn.objective(net, fnn.softmax_cross_entropy)},
    )  # fmt: skip
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *sweep.params)

    @jax.jit
    def tested(params: Any) -> Any:
        def one(params: Any) -> Any:
            losses = {
                name: fnn.softmax_cross_entropy(net.apply(params, jnp.asarray(x)), jnp.asarray(y))
                for name, (x, y) in parts.items()
            }
            return losses, fnn.accuracy(net.apply(params, jnp.asarray(parts["test"][0])), jnp.asarray(parts["test"][1]))

        return jax.vmap(one)(params)

    losses, accuracy = jax.tree.map(lambda each: np.asarray(each, np.float64), tested(stacked))
    count, first = options.seeds, 0
    results = {}
    for name in names:
        mine = slice(first, first + len(settings[name]) * count)
        first = mine.stop
        # a run that failed is worse than any
        validation = np.nan_to_num(losses["validation"][mine].reshape(-1, count), nan=1e3, posinf=1e3)
        best = int(np.argmin(validation.mean(axis=1)))
        rate, strength = settings[name][best]
        chosen = slice(mine.start + best * count, mine.start + (best + 1) * count)
        curves = sweep.metrics["bare"][chosen]
        reached = [np.flatnonzero(curve <= DONE) for curve in curves]
        test = np.nan_to_num(losses["test"][chosen], nan=1e3, posinf=1e3)
        held_out = sweep.metrics["validation_loss"][chosen]
        results[name] = {
            "rate": rate,
            "strength": strength,
            "test_loss": test,
            "test_accuracy": accuracy[chosen],
            "train_loss": float(np.nan_to_num(losses["train"][chosen], nan=1e3, posinf=1e3).mean()),
            "epochs_to_done": [int(each[0]) + 1 if len(each) else None for each in reached],
            "curve": [None if not np.isfinite(v) else round(float(v), 4) for v in held_out[0]],
        }
    return results


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def worse(name: str, variants: dict[str, Any]) -> bool | None:
    """Whether the loss on unseen images is higher so; None within two standard errors."""
    each = variants[name]
    return None if abs(each["effect"]) <= 2 * each["effect_error"] else each["effect"] > 0


#: What would decide where a difference may be chance.
MORE = "Where a change is not beyond chance, more seeds or a harder problem would decide."


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, open where chance may explain it, from a result as it was saved."""
    variants = result["variants"]
    made = {}
    for name in LEFT_OUT:
        # what the lack of an ingredient may cost instead: time, or the loss where no penalty does its work
        also, instead = {
            "without acceleration": (" or takes longer", lambda: _slower(variants)),
            "without early stopping": (", beside a penalty or without one", lambda: worse(NEITHER, variants)),
        }.get(name, ("", lambda: False))
        direct = worse(name, variants)
        held = direct or (instead() if also else direct)
        made[name] = Prediction(f"{name} it is worse on unseen images{also}", held, MORE)
    whole, none = variants["the whole recipe"], variants["none of the five"]
    # some twenty epochs go by before seven layers read well: a shorter run decides nothing
    read = float(np.mean(whole["test_accuracy"])) >= 0.8 or (None if result["epochs"] < 20 else False)
    return made | {
        "whole": Prediction("the whole recipe reads four of five", read, "Twenty epochs or more would decide."),
        "none": Prediction("with none of the five nothing is learned", float(np.mean(none["test_accuracy"])) <= 0.2),
    }


def _slower(variants: dict[str, Any]) -> bool | None:
    """Fewer epochs with acceleration, in every seed."""
    with_it, without = (variants[name]["epochs_to_done"] for name in ("the whole recipe", "without acceleration"))
    gains = [(b is None or b > a) if a is not None else None for a, b in zip(with_it, without, strict=True)]
    return None if None in gains else (all(gains) or (None if any(gains) else False))


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """What the ablation says of claim B14."""
    variants = result["variants"]
    changes = "; ".join(
        f"{name} {variants[name]['effect']:+.3f} ± {variants[name]['effect_error']:.3f}" for name in LEFT_OUT
    )
    whole, none = (variants[name] for name in ("the whole recipe", "none of the five"))
    epochs = {
        name: [e for e in variants[name]["epochs_to_done"] if e is not None]
        for name in ("the whole recipe", "without acceleration")
    }
    speed = ", ".join(f"{name} {np.mean(e):.0f}" if e else f"{name} never" for name, e in epochs.items())
    alone = f"{variants[NEITHER]['effect']:+.3f} ± {variants[NEITHER]['effect_error']:.3f}"
    right, without = np.mean(whole["test_accuracy"]), np.mean(none["test_accuracy"])
    text = (
        f"Loss on unseen digits, whole recipe {np.mean(whole['test_loss']):.3f} ({right:.1%} right), change when one "
        f"is left out (± standard error over {result['seeds']} seeds): {changes}; early stopping where there is no "
        f"penalty {alone}. Epochs to a training loss of {result['done']:.2f}: {speed}. With none of the five "
        f"{without:.1%}."
    )
    if worse("without acceleration", variants) is False:
        text += " Acceleration buys time here, and no lower loss."
    return {"B14": Evidence(text, "ablation.svg")}


def show(saved: dict[str, Any], console: Console) -> None:
    """Print losses and accuracies of all variants."""
    result = saved["result"]
    table = Table(title=f"Digits, {result['sizes']['train']} training images, {result['seeds']} seeds")
    for heading in ("variant", "rate", "λ", "training loss", "test loss", "± over seeds", "read correctly", "epochs"):
        table.add_column(heading, justify="left" if heading == "variant" else "right")
    for name, each in result["variants"].items():
        done = [epoch for epoch in each["epochs_to_done"] if epoch is not None]
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
