"""Question: does a network learn handwritten digits with gradients written by hand, as it does with automatic ones?

Prediction: leaf by leaf the two gradients agree to rounding, and so do the two whole trainings; a small multi-layer
perceptron then reads at least 97 % of digits it has never seen.
Refuted by: a leaf that differs by more than rounding; loss curves from the same seed that drift apart by more than
1e-4 (float32) or 1e-10 (float64) of their value; a mean test accuracy below 97 % over the initialisation seeds; a
library that counts the accuracy otherwise; an image in two parts of the split.

One split (1167 train, 270 validation, 360 test) with a stated seed; every choice was made on validation, and the test
images are used only once per net, after its training. With MNIST or similar data, a twelfth of the training images is
for validation, and the test images are those of the archive. The two curves are compared step by step: two correct
float32 gradients differ in their last digit, and a training at the edge of stability (or with kinks, as relu has)
multiplies that without bound, so the comparison is as much about the training as about the gradient.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


#: The activations of `fnn` through which a hidden layer can learn.
Hidden = Literal["sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "gelu", "gelu_tanh", "silu"]


@dataclass(frozen=True)
class Options(frame.Options):
    """Learn 1797 handwritten digits with the hand-written gradient, compared with autodiff and finite differences.

    Trains on 1167 images, chooses nothing, measures 270 for validation after every epoch and 360 for the test at the
    end. With --data it takes MNIST, or other images in that form: on 60000 images --epochs 10 --seeds 1 takes some
    minutes.
    """

    # How these were chosen: on the 270 validation images alone, by their mean accuracy over 3 or 5 initialisation
    # seeds, batches of 32, at most 60 epochs, strengths from 0 to 1e-3, Adam or SGD with momentum. Best of each kind:
    #     64-64-10 relu, Adam 3e-3 98.1 %  · 64-256-10 relu, Adam 3e-3 98.6 %   · 64-128-64-10 relu, SGD 0.1 98.3 %
    #     64-256-128-10 relu, SGD 0.05 98.6 %, tanh, Adam 1e-3 98.1 %           · 64-512-256-10 relu, Adam 2e-3 98.5 %
    #     64-256-128-10 gelu, SGD, strength 3e-5: rate 0.03 98.4 %, 0.04 98.5 %, 0.05 98.4 %; with
    #     the rows in another order 0.07 98.2 %, 0.1 98.6 %
    # One image is 0.4 %, so the best are equal. Among equals gelu at 0.04 is taken because its training amplifies
    # rounding least: it has no kinks, and lies well below the rate where training becomes erratic. Two float32 runs
    # that differ in the last digit part by 1e-2 of the loss with relu, by 4e-4 at 0.05, by 4e-6 at 0.04 and at 0.03.
    data: Path | None = None
    """Folder that holds the four IDX files of MNIST or Fashion-MNIST, gzipped or not; a twelfth of the training images
    is kept for validation."""
    download: bool = False
    """Fetch the files of MNIST into --data first; each file is compared with its SHA-256."""
    hidden: tuple[int, ...] = frame.at_least(1, (256, 128))
    """Units of each hidden layer, one number per layer."""
    activation: Hidden = "gelu"
    """Activation of the hidden layers."""
    learning_rate: float = frame.above(0, 0.04)
    """Rate of stochastic gradient descent; its momentum is 0.9."""
    strength: float = frame.at_least(0, 3e-5)
    """Strength of the L2 penalty on the weights; 0 for none."""
    epochs: int = frame.at_least(1, 60)
    """How often every training image is used."""
    batch_size: int = frame.at_least(1, 32)
    """Images per step, 1 to the number of training images."""
    seeds: int = frame.at_least(1, 5)
    """How many nets are trained, each from an initialisation of its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data is None:
            frame.require(not self.download, "--download", self.download, "given with --data FOLDER")
            frame.require(
                1 <= self.batch_size <= 1167, "--batch-size", self.batch_size, "1 to 1167, the training images"
            )


EXPERIMENT = frame.Experiment(
    Options,
    quick={"hidden": (4,), "activation": "tanh", "epochs": 4, "batch_size": 389, "seeds": 1},
    unjudged=("accuracy",),
)

# ---- the experiment -------------------------------------------------------------------------------------------------

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table

import fnn
from experiments import archives
from experiments.frame import Prediction
from experiments.progress import Watch, silent

SIZES = {"train": 1167, "validation": 270, "test": 360}
SPLIT_SEED = 0
#: Of the training images of an archive one in so many is for validation: 5000 of the 60000 of MNIST.
VALIDATION = 12
MOMENTUM = 0.9
#: Finite differences evaluate the objective twice per parameter: a few images keep that quick and prove as much.
DIFFERENCED = 8
#: How often each gradient is timed.
ROUNDS = 300
#: How many numbers the sheet of first-layer weights shows at most: 32 hidden units of 64 pixels, 16 of 784.
SHOWN_UNITS, SHOWN_WEIGHTS = 32, 12_600
#: How many misread images are kept.
SHOWN_IMAGES = 40


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Train by hand and automatically, compare everything, and return the numbers; times stand under "measured"."""
    # matrix products in full precision: TF32 would look like a wrong gradient
    try:
        return _run(options, watch)
    except fnn.NonFiniteError as error:
        raise FloatingPointError(f"{error} Lower --learning-rate.") from error


def _run(options: Options, watch: Watch) -> dict[str, Any]:
    parts, repeated = images(options)
    pixels = parts["train"][0].shape[1]
    net = fnn.mlp(pixels, *options.hidden, 10, activation=options.activation, weight_init="he_normal")
    by_hand = fnn.backprop(net, fnn.softmax_cross_entropy, fnn.l2)
    automatic = jax.value_and_grad(fnn.objective(net, fnn.softmax_cross_entropy, fnn.l2))
    # built once, so that the nets share one compiled program
    optimizer = optax.sgd(options.learning_rate, momentum=MOMENTUM)

    read = jax.jit(net.apply)

    def train(
        gradient: Callable[..., Any], seed: int, stage: str, dtype: Any = np.float32
    ) -> tuple[Any, fnn.training.History]:
        params_key, shuffle_key = jax.random.split(jax.random.key(seed))
        # drawn in float32 and cast, so that float64 starts from the same numbers
        params = _cast(net.init(params_key), dtype)

        def on_epoch(epoch: int, metrics: dict[str, float]) -> None:
            note = f"loss {metrics['loss']:.4f}, validation {metrics['validation_accuracy']:.1%}"
            watch(stage, epoch, options.epochs, note)

        state, history = fnn.fit(
            gradient, params, _cast(parts["train"], dtype), optimizer=optimizer, epochs=options.epochs,
            batch_size=options.batch_size, key=shuffle_key, validation=_cast(parts["validation"], dtype),
            strength=options.strength, on_epoch=on_epoch,
        )  # fmt: skip
        return state.params, history

    params = net.init(jax.random.split(jax.random.key(options.seed))[0])
    x, y = (part[: options.batch_size] for part in parts["train"])
    gradients = _compare_gradients(by_hand, automatic, params, x, y, options.strength, watch)

    trained, nets = [], []
    for seed in range(options.seed, options.seed + options.seeds):
        params_end, history = train(by_hand, seed, f"by hand, seed {seed}")
        trained.append((params_end, history))
        scores = {name: read(params_end, part[0]) for name, part in parts.items()}
        nets.append({"seed": seed} | {name: _accuracy(scores[name], parts[name][1]) for name in parts})
    params_end, history = trained[0]
    automatic32 = train(automatic, options.seed, "automatic")[1]
    with jax.enable_x64(True):
        histories64 = [
            train(gradient, options.seed, f"{name}, float64", np.float64)[1]
            for name, gradient in (("by hand", by_hand), ("automatic", automatic))
        ]
    test = np.array([each["test"] for each in nets])
    return {
        "net": str(net),
        "data": {
            "source": "the digits of fnn" if options.data is None else f"the IDX files in {options.data.name}",
            "split_seed": SPLIT_SEED,
            "sizes": {name: len(part[1]) for name, part in parts.items()},
            "repeated": repeated,
        },
        "gradients": gradients,
        "curves": {"by hand": _curves(history), "automatic": _curves(automatic32)},
        "curve_difference": {
            "float32": _difference(history, automatic32),
            "float64": _difference(*histories64),
        },
        "nets": nets,
        "test_mean": test.mean(),
        # of the sample: n − 1; one net has none
        "test_deviation": test.std(ddof=1) if len(test) > 1 else None,
        "reading": _reading(net, params_end, *parts["test"]),
        "first_layer": _largest_units(params_end[0]["W"]),
        "measured": {
            "step": _step_times(by_hand, automatic, params, x, y, options.strength, options.seed),
        },
    }


class Images(NamedTuple):
    """The images as they are split."""

    parts: dict[str, tuple[np.ndarray, np.ndarray]]
    """{part: (images, labels)} for train, validation and test."""
    repeated: int
    """How many rows of the split stand in a second part."""


def images(options: Options) -> Images:
    """The images of the options, split. Raises `archives.DataError`."""
    if options.data is None:
        x, y = fnn.data.digits()
        rows = fnn.data.stratified_split(y, list(SIZES.values()), seed=SPLIT_SEED)
        return Images({name: (x[part], y[part]) for name, part in zip(SIZES, rows, strict=True)}, _repeated(rows))
    if options.download:
        archives.fetch(archives.MNIST, options.data)
    try:
        (x, y), test = fnn.data.mnist(options.data)
        held_out = max(len(y) // VALIDATION, 1)
        train, validation = fnn.data.stratified_split(y, [len(y) - held_out, held_out], seed=SPLIT_SEED)
        if options.batch_size > len(train):
            raise ValueError(f"--batch-size must be at most {len(train)}, the training images; lower it.")
    except (OSError, ValueError) as error:
        raise archives.DataError(str(error)) from None
    parts = {"train": (x[train], y[train]), "validation": (x[validation], y[validation]), "test": test}
    return Images(parts, _repeated([train, validation]))


def _repeated(rows: Sequence[np.ndarray]) -> int:
    every = np.concatenate(rows)
    return len(every) - len(np.unique(every))


def _cast(tree: Any, dtype: Any) -> Any:
    """Every floating leaf in this dtype; labels stay as they are."""
    return jax.tree.map(lambda a: jnp.asarray(a, dtype if jnp.issubdtype(a.dtype, jnp.floating) else a.dtype), tree)


def _accuracy(scores: jax.Array, labels: np.ndarray) -> float:
    # counted in whole images, so that no rounding of float32 stands in the report
    return int(np.sum(np.argmax(np.asarray(scores), -1) == labels)) / len(labels)


def _compare_gradients(
    by_hand: fnn.gradients.Backprop,
    automatic: Callable[..., Any],
    params: Any,
    x: Any,
    y: Any,
    strength: float,
    watch: Watch,
) -> list[dict[str, Any]]:
    """One row per leaf; every error is the largest of its entries over the largest entry of the leaf."""

    def gradient(value_and_grad: Callable[..., Any], params: Any, x: Any, y: Any) -> dict[str, np.ndarray]:
        grads = jax.jit(value_and_grad)(params, x, y, strength=strength)[1]
        return _by_name(grads)

    hand32, auto32 = (gradient(each, params, x, y) for each in (by_hand, automatic))
    few_x, few_y = x[:DIFFERENCED], y[:DIFFERENCED]
    with jax.enable_x64(True):
        wide, x64, few64 = _cast(params, np.float64), _cast(x, np.float64), _cast(few_x, np.float64)
        hand64, auto64 = (gradient(each, wide, x64, y) for each in (by_hand, automatic))
        few = gradient(by_hand, wide, few64, few_y)

        def value(params: Any, x: Any, y: Any) -> jax.Array:
            return by_hand.objective(params, x, y, strength=strength)

        differences = _by_name(fnn.central_differences(value, chunk=16)(wide, few64, few_y))
        watch("finite differences", 1, 1, f"{len(few)} leaves")
    return [
        {
            "leaf": name,
            "shape": list(auto64[name].shape),
            "largest": np.max(np.abs(auto64[name])),
            "float64": _error(hand64[name], auto64[name]),
            # in float32 the truth is float64 on the same float32-rounded numbers
            "float32_by_hand": _error(hand32[name], auto64[name]),
            "float32_automatic": _error(auto32[name], auto64[name]),
            "differences": _error(few[name], differences[name]),
        }
        for name in auto64
    ]


def _by_name(params: Any) -> dict[str, np.ndarray]:
    """{"1.W": …, "1.b": …, "2.W": …}: the leaves of an mlp, layers counted from 1."""
    return {f"{k}.{name}": np.asarray(leaf) for k, p in enumerate(params, start=1) for name, leaf in p.items()}


def _error(gradient: np.ndarray, truth: np.ndarray) -> float:
    largest = np.max(np.abs(truth))
    return float(np.max(np.abs(gradient.astype(np.float64) - truth)) / (largest if largest > 0 else 1))


def _curves(history: fnn.training.History) -> dict[str, np.ndarray]:
    """What is drawn: one number per epoch and curve, to six digits."""
    return {name: np.array([float(f"{value:.6g}") for value in curve]) for name, curve in history.metrics.items()}


def _difference(by_hand: fnn.training.History, automatic: fnn.training.History) -> dict[str, Any]:
    """How far two curves from the same seed drift apart: |hand − auto| over auto, step by step, and over max auto."""
    hand, auto = (h.step_loss.astype(np.float64) for h in (by_hand, automatic))
    apart = np.abs(hand - auto)
    # without a penalty a loss can reach 0
    pointwise = apart / np.maximum(auto, np.finfo(np.float32).tiny)
    return {
        "pointwise": np.max(pointwise),
        "of_largest": np.max(apart) / np.max(auto),
        "pointwise_by_epoch": np.max(pointwise, axis=1),
    }


def _reading(net: fnn.Layer, params: Any, x: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """The confusion matrix of the first net, rows true and columns read, and the first images that it misreads."""
    read = np.argmax(net.apply(params, x), -1)
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (labels, read), 1)
    wrong = np.flatnonzero(read != labels)
    return {
        "confusion": confusion,
        # four decimals hold the sixteenths of our digits exactly; MNIST's 256 steps are told apart by three
        "misread": [
            {
                "image": np.round(x[n].astype(np.float64), 4 if x.shape[1] == 64 else 3),
                "true": int(labels[n]),
                "read": int(read[n]),
            }
            for n in wrong[:SHOWN_IMAGES]
        ],
    }


def _largest_units(W: jax.Array) -> np.ndarray:
    """(units, pixels): the weights into the hidden units with the largest norms, these first, to four decimals."""
    units = np.asarray(W, np.float64).T
    order = np.argsort(-np.linalg.norm(units, axis=1), kind="stable")
    shown = min(SHOWN_UNITS, SHOWN_WEIGHTS // units.shape[1])
    return np.round(units[order[:shown]], 4)


def _step_times(
    by_hand: Any, automatic: Any, params: Any, x: Any, y: Any, strength: float, seed: int
) -> dict[str, Any]:
    """Median seconds of one compiled gradient of each kind, taken in turn and in random order."""
    x, y = jnp.asarray(x), jnp.asarray(y)
    compiled = {"by hand": jax.jit(by_hand), "automatic": jax.jit(automatic)}
    taken: dict[str, list[float]] = {name: [] for name in compiled}
    order = random.Random(seed)
    for step in compiled.values():
        jax.block_until_ready(step(params, x, y, strength=strength))
    for _ in range(ROUNDS):
        for name in order.sample(list(compiled), len(compiled)):
            began = time.perf_counter()
            jax.block_until_ready(compiled[name](params, x, y, strength=strength))
            taken[name].append(time.perf_counter() - began)
    return {name: float(np.median(seconds)) for name, seconds in taken.items()} | {"rounds": ROUNDS}


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def show(saved: dict[str, Any], console: Console) -> None:
    """Print the tables: gradients leaf by leaf, curves, time, accuracy."""
    result, step = saved["result"], saved["measured"]["step"]
    console.print("\nThe gradient by hand, leaf by leaf: largest error over the largest entry")
    table = Table("leaf")
    # the truth in float32 is autodiff in float64 on the same numbers
    for heading in (
        "shape", "largest", "float64\nby hand –\nautomatic", "float32\nby hand –\ntruth",
        "float32\nautomatic\n– truth", "float64\nby hand –\nfin. diff.",
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    for row in result["gradients"]:
        errors = (row[key] for key in ("float64", "float32_by_hand", "float32_automatic", "differences"))
        shape = " × ".join(map(str, row["shape"]))
        table.add_row(row["leaf"], shape, f"{row['largest']:.2e}", *(f"{error:.1e}" for error in errors))
    console.print(table)
    console.print("truth: autodiff in float64 on the same numbers; fin. diff.: central finite differences")

    console.print("\nAccuracy of the nets trained by hand")
    accuracy = Table()
    for heading in ("seed", *SIZES):
        accuracy.add_column(heading, justify="right")
    for each in result["nets"]:
        accuracy.add_row(str(each["seed"]), *(f"{each[part]:.2%}" for part in SIZES))
    console.print(accuracy)

    ratio = step["by hand"] / step["automatic"]
    deviation = result["test_deviation"]
    lines = [
        f"test accuracy, mean over {len(result['nets'])} seeds: {result['test_mean']:.2%}"
        + ("" if deviation is None else f", standard deviation {deviation:.2%}"),
        f"one gradient, median of {step['rounds']}: by hand {step['by hand'] * 1e6:.0f} µs, "
        f"automatic {step['automatic'] * 1e6:.0f} µs, ratio {ratio:.3f}",
        *(
            f"loss curves by hand and automatic, {dtype}: apart by at most {apart['pointwise']:.1e} of their value, "
            f"{apart['of_largest']:.1e} of the largest loss"
            for dtype, apart in result["curve_difference"].items()
        ),
        f"everything took {saved['measured']['seconds']:.0f} s",
    ]
    console.print("\n" + "\n".join(lines), highlight=False, soft_wrap=True)


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    rows, apart = result["gradients"], result["curve_difference"]
    # float32: no worse than four times autodiff's own rounding, and 4 ulp of the leaf's largest entry (eps = 1.2e-7)
    slack = 4 * float(np.finfo(np.float32).eps)
    return {
        "gradient64": Prediction(
            "every leaf by hand equals autodiff to 1e-12 in float64", all(row["float64"] <= 1e-12 for row in rows)
        ),
        "gradient32": Prediction(
            "every leaf by hand is as near the truth as autodiff in float32",
            all(row["float32_by_hand"] <= 4 * row["float32_automatic"] + slack for row in rows),
        ),
        "curves32": Prediction(
            "the loss curves differ by at most 1e-4 of their value in float32", apart["float32"]["pointwise"] <= 1e-4
        ),
        "curves64": Prediction(
            "the loss curves differ by at most 1e-10 of their value in float64", apart["float64"]["pointwise"] <= 1e-10
        ),
        "accuracy": Prediction("the mean test accuracy is at least 97 %", result["test_mean"] >= 0.97),
        # the curve holds six digits, and the library counts in float32; one image is 1/270
        "counted": Prediction(
            "the library's validation accuracy at the end is the one counted here",
            abs(result["curves"]["by hand"]["validation_accuracy"][-1] - result["nets"][0]["validation"]),
            "at most",
            1e-5,
        ),
        "split": Prediction("no row stands in two parts of the split", result["data"]["repeated"], "is", 0),
    }


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    from experiments import figures

    result = saved["result"]
    return {
        "curves.png": figures.learning_curves(result["curves"], result["curve_difference"]),
        "confusion.png": figures.confusion(result["reading"]["confusion"]),
        "misread.png": figures.misread(result["reading"]["misread"], result["reading"]["confusion"]),
        "weights.png": figures.first_layer(result["first_layer"]),
    }
