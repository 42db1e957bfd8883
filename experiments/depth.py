"""Question: how do activations, gradients and their rounding errors change from layer to layer, and which activations
let a layer learn at all?

Prediction: with weights of variance v the mean square of the sums follows q ← H v E[σ(√q ξ)²], and that of the
cotangents shrinks or grows by H v E[σ′(√q ξ)²] per layer, ξ ~ N(0, 1): products of partials vanish (sigmoid with any
usual initializer), explode (large weights), or keep their size (relu with He, tanh with the lecture's U[−b, b]) (A13,
B10). Each dtype's error of the gradient grows with depth, and by the square root of the same factor per layer where the
net is chaotic (A17). Below sign and threshold the gradient is exactly 0 and nothing is learned (A14); the derivatives
of the other activations are those of their formulas (B5). Half of the relu units are exactly 0; "strictly increasing"
and "always positive", as the slide says, are not true of relu (B17).
Refuted by: a size that differs from its prediction by more than 0.05 decades per layer; an error that does not grow; a
first layer that moves below sign; a derivative that differs from differences; a share of zeros away from one half.

The prediction is an integral over one normal number and uses nothing from the nets. It is exact for infinite width; the
nets have 64 units.
"""

import functools
from dataclasses import dataclass
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Follow activations, gradients and rounding errors through many layers, and see which activations learn.

    Each size is measured for every initializer and put beside its prediction.
    """

    width: int = frame.at_least(2, 64)
    """Units of every layer."""
    depth: int = frame.at_least(1, 24)
    """How many layers."""
    initializers: tuple[str, ...] = (
        "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal", "orthogonal",
    )  # fmt: skip
    """Those whose sizes are measured, beside small and large normal weights; Glorot's uniform and He's normal among
    them."""
    seeds: int = frame.at_least(1, 16)
    """How many nets each size is averaged over."""
    repeats: int = frame.at_least(1, 5)
    """How many nets each rounding error is averaged over."""
    steps: int = frame.at_least(1, 400)
    """Steps of gradient descent of the nets that read digits."""

    def __post_init__(self) -> None:
        super().__post_init__()
        both = {"glorot_uniform", "he_normal"} <= set(self.initializers)
        frame.require(both, "--initializers", self.initializers, "with glorot_uniform and he_normal among them")


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "A13": ("follows", "vanish", "explode", "keep"),
        "A14": ("still", "moves"),
        "A17": ("grows", "proportion", "chaos"),
        "B5": ("formulas",),
        "B10": ("bound", "spread", "keeps", "smaller", "explode"),
        "B17": ("half", "sparse", "none", "words"),
    },
    quick={"initializers": ("glorot_uniform", "he_normal"), "seeds": 4, "repeats": 1, "steps": 100},
    seeds=5,
    again={"initializers": ("glorot_uniform", "he_normal")},
)

# ---- the experiment -------------------------------------------------------------------------------------------------

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import fnn
from experiments.frame import Evidence, Prediction
from experiments.progress import Watch, silent

ACTIVATIONS = ("sigmoid", "tanh", "relu")
#: What is drawn of the initializers; the others have the variance of one of these.
DRAWN = ("small, 0.3/√H", "glorot_uniform", "he_normal", "large, 3/√H")
EXAMPLES = 16
#: Layers of the nets whose rounding is measured, and their widths of spread: √(H v).
ROUNDED_DEPTHS = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48)
SPREADS = {"calm": 1.0, "chaotic": 2.5}
#: The error that stands for a gradient that left the finite numbers.
LOST = 100.0
#: From float64, the truth, to the coarsest.
DTYPES = ("float32", "bfloat16", "float16")


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Measure everything and return the numbers."""
    with jax.enable_x64(True):
        sizes = _sizes(options, watch)
        rounding = _rounding(options)
        watch("rounding", 1, 1, "float32, bfloat16 and float16 against float64")
        rules = _rules()
    learning = _learning(options)
    watch("learning", 1, 1, "sign, threshold, sigmoid, tanh, relu")
    result = {"width": options.width, "depth": options.depth, "sizes": sizes, "rounding": rounding, "rules": rules}
    return result | {"learning": learning}


# ---- sizes, layer by layer ------------------------------------------------------------------------------------------

# NumPy's own functions: the prediction shares nothing with what it predicts
FUNCTIONS = {
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z: np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z))) ** 2),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float)),
}


@functools.cache
def half_normal() -> tuple[np.ndarray, np.ndarray]:
    """Nodes from 0 to 12 and their weights times the normal density: relu has its kink at 0, the halves are smooth."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    xi = 6 * (nodes + 1)
    return xi, 6 * weights * np.exp(-(xi**2) / 2) / np.sqrt(2 * np.pi)


def normal_mean(function: Any, deviation: float) -> float:
    """E[function(deviation ξ)] for a normal ξ, on either side of 0 apart.

    >>> round(normal_mean(lambda z: z * z, 3.0), 6)
    9.0
    """
    xi, density = half_normal()
    return float(np.sum(density * (function(deviation * xi) + function(-deviation * xi))))


def predicted(activation: str, gain: float, depth: int) -> dict[str, list[float]]:
    """Mean squares layer by layer for inputs and last cotangents of mean square 1; gain = H v."""
    value, slope = FUNCTIONS[activation]
    a, squares, factors = 1.0, [], []
    for _ in range(depth):
        q = gain * a
        a = normal_mean(lambda z: value(z) ** 2, np.sqrt(q))
        squares.append(a)
        factors.append(normal_mean(lambda z: slope(z) ** 2, np.sqrt(q)))
    bars, bar = [], 1.0
    for factor in reversed(factors):
        # z_bar = σ′(z) a_bar, then a_bar = z_bar Wᵀ of the layer below
        bars.append(bar * factor)
        bar = bar * factor * gain
    return {"activation": squares, "gradient": bars[::-1]}


def _initializers(width: int, names: tuple[str, ...]) -> dict[str, Any]:
    return {
        DRAWN[0]: fnn.initializers.normal(0.3 / width**0.5),
        DRAWN[3]: fnn.initializers.normal(3 / width**0.5),
        **{name: fnn.initializers.get(name) for name in names},
    }


def _sizes(options: Options, watch: Watch) -> dict[str, Any]:
    """Mean squares of activations and cotangents of many nets, for each activation and initializer."""
    width, depth, seeds = options.width, options.depth, options.seeds
    random = np.random.default_rng(options.seed)
    x, y_bar = (jnp.asarray(random.normal(size=(EXAMPLES, width))) for _ in range(2))

    def measured(activation: str, W: jax.Array) -> Any:
        layer = fnn.dense(width, width, activation=activation)
        zero = jnp.zeros(width)

        def forward(a: jax.Array, W: jax.Array) -> Any:
            a, residuals = layer.forward({"W": W, "b": zero}, a)
            return a, (residuals, jnp.mean(a * a), jnp.mean(a == 0))

        _, (residuals, squares, zeros) = jax.lax.scan(forward, x, W)

        def backward(a_bar: jax.Array, each: Any) -> Any:
            W, residuals = each
            params_bar, x_bar = layer.backward({"W": W, "b": zero}, residuals, a_bar)
            z_bar = layer.activation.backward(residuals[1], a_bar)
            return x_bar, (jnp.mean(z_bar * z_bar), jnp.sqrt(jnp.sum(params_bar["W"] ** 2)))

        _, (bars, norms) = jax.lax.scan(backward, y_bar, (W, residuals), reverse=True)
        return squares, bars, norms, zeros

    programs = {name: jax.jit(jax.vmap(lambda W, name=name: measured(name, W))) for name in ACTIVATIONS}
    results: dict[str, Any] = {name: {} for name in ACTIVATIONS}
    initializers = _initializers(width, options.initializers)
    keys = jax.jit(lambda: jax.random.split(jax.random.key(options.seed), seeds * depth))()
    for k, (words, initializer) in enumerate(initializers.items(), start=1):
        W = jax.jit(jax.vmap(lambda key, make=initializer: make(key, (width, width), jnp.float64)))(keys)
        W = W.reshape(seeds, depth, width, width)
        gain = width * float(jnp.mean(W * W))
        for name in ACTIVATIONS:
            squares, bars, norms, zeros = (np.asarray(each) for each in programs[name](W))
            expected = predicted(name, round(gain, 2), depth)
            each = {
                "gain": round(gain, 2),
                "activation": np.sqrt(squares.mean(axis=0)),
                "gradient": np.sqrt(bars.mean(axis=0)),
                "weight_gradient": [float(norms[:, j].mean()) for j in (0, -1)],
                "predicted_activation": np.sqrt(expected["activation"]),
                "predicted_gradient": np.sqrt(expected["gradient"]),
            }
            for what in ("activation", "gradient"):
                off = np.log10(each[what] / each[f"predicted_{what}"])
                # decades per layer that the measured size gains on the predicted one
                each[f"{what}_off"] = float(np.abs(off[-1] if what == "activation" else off[0]) / depth)
            if name == "relu":
                share = zeros.mean(axis=1)
                each["zeros"] = {
                    "mean": share.mean(), "error": share.std(ddof=1) / np.sqrt(seeds) if seeds > 1 else 0.1,
                }  # fmt: skip
            else:
                each["zeros"] = {"mean": zeros.mean(), "error": 0.0}
            results[name][words] = each
        if words == "glorot_uniform":
            results["glorot"] = {
                "largest": float(jnp.max(jnp.abs(W))),
                "bound": (6 / (2 * width)) ** 0.5,
                "variance": float(jnp.var(W)),
                "predicted_variance": 2 / (2 * width),
                "entries": W.size,
            }
        watch("initializers", k, len(initializers), words)
    return results


# ---- rounding -------------------------------------------------------------------------------------------------------


def _rounding(options: Options) -> dict[str, Any]:
    """The relative error of the gradient at the input against depth, in each dtype, on equal numbers."""
    width, deepest = options.width, max(ROUNDED_DEPTHS)
    layer = fnn.dense(width, width, activation="tanh")
    random = np.random.default_rng(options.seed + 1)
    depths = jnp.asarray(ROUNDED_DEPTHS)

    @jax.jit
    def gradients(W: jax.Array, x: jax.Array, y_bar: jax.Array) -> jax.Array:
        zero = jnp.zeros(width, W.dtype)
        _, residuals = jax.lax.scan(lambda a, W: layer.forward({"W": W, "b": zero}, a), x, W)

        def of(depth: jax.Array) -> jax.Array:
            def backward(bar: jax.Array, each: Any) -> tuple[jax.Array, None]:
                number, W, residuals = each
                x_bar = layer.backward({"W": W, "b": zero}, residuals, bar)[1]
                return jnp.where(number < depth, x_bar, bar), None

            return jax.lax.scan(backward, y_bar, (jnp.arange(deepest), W, residuals), reverse=True)[0]

        return jax.vmap(of)(depths)

    results: dict[str, Any] = {"depths": list(ROUNDED_DEPTHS), "epsilon": {}, "nets": {}}
    for name, spread in SPREADS.items():
        # rounded to 8 bits, which every dtype here holds: all begin with equal numbers
        def coarse(*shape: int, scale: float = 1.0) -> jax.Array:
            drawn = jnp.asarray(scale * random.normal(size=shape), jnp.bfloat16)
            return jnp.asarray(np.asarray(drawn, np.float64))

        draws = [(coarse(deepest, width, width, scale=spread / width**0.5), coarse(4, width), coarse(4, width))
                 for _ in range(options.repeats)]  # fmt: skip
        truth = [np.asarray(gradients(*draw)) for draw in draws]
        errors = {}
        for dtype in DTYPES:
            each = []
            for draw, right in zip(draws, truth, strict=True):
                got = np.asarray(gradients(*(array.astype(dtype) for array in draw)), np.float64)
                error = np.linalg.norm(got - right, axis=(1, 2)) / np.linalg.norm(right, axis=(1, 2))
                # float16 ends at 65504: a gradient beyond is as wrong as can be
                each.append(np.nan_to_num(error, nan=LOST, posinf=LOST))
            errors[dtype] = np.exp(np.mean(np.log(each), axis=0))
            results["epsilon"][dtype] = float(jnp.finfo(dtype).eps)
        expected = predicted("tanh", spread**2, 100)["gradient"]
        # far from the first layer each one multiplies by one and the same factor
        growth = expected[50] / expected[51]
        results["nets"][name] = {
            "spread": spread,
            "errors": errors,
            "predicted_decades_per_layer": float(np.log10(growth) / 2),
            # float32 between the depths where it is past its start and not yet all noise
            "decades_per_layer": _slope(errors["float32"]),
        }
    return results


def _slope(errors: np.ndarray) -> float:
    """Decades per layer between depths 4 and 24."""
    depths = np.array(ROUNDED_DEPTHS)
    inside = (depths >= 4) & (depths <= 24)
    return float(np.polyfit(depths[inside], np.log10(errors[inside]), 1)[0])


# ---- the rules themselves, and what learns --------------------------------------------------------------------------


def _rules() -> dict[str, Any]:
    """Derivatives of the lecture's formulas against central differences, and relu beside the slide's words."""
    # no point within a step of the kink at 0
    z = jnp.linspace(-6, 6, 240)
    step = 1e-5
    names = (
        "identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "gelu", "gelu_tanh", "silu",
        "hard_threshold", "sign",
    )  # fmt: skip

    @jax.jit
    def both(z: jax.Array) -> Any:
        records = [fnn.activations.get(name) for name in names]
        return [(each.derivative(z), (each(z + step) - each(z - step)) / (2 * step)) for each in records]

    # truncation step²/6 |f‴| ≤ 1e-10/6 · 2, and rounding eps · 6 / (2 step) for values up to 6
    bound = step**2 / 3 + 2 * np.finfo(np.float64).eps * 6 / (2 * step)
    differences = {name: float(jnp.max(jnp.abs(a - b))) for name, (a, b) in zip(names, both(z), strict=True)}
    at = np.asarray(fnn.relu(jnp.asarray([-2.0, -1.0, 0.0, 1.0])))
    return {"differences": differences, "bound": bound, "relu_at": at, "points": [-2, -1, 0, 1]}


def _learning(options: Options) -> dict[str, Any]:
    """Nets with one hidden layer on digits: how far its weights move, and the loss."""
    x, y = fnn.data.digits()
    x, y = jnp.asarray(x[:500]), jnp.asarray(y[:500])
    names = ("sign", "hard_threshold", "sigmoid", "tanh", "relu")

    @jax.jit
    def trained(keys: jax.Array) -> Any:
        def one(name: str, key: jax.Array) -> Any:
            net = fnn.mlp(64, 12, 10, activation=name)
            by_hand = fnn.backprop(net, fnn.softmax_cross_entropy)
            start = net.init(key)

            def step(params: Any, _: None) -> Any:
                value, g = by_hand(params, x, y)
                return jax.tree.map(lambda p, g: p - 0.5 * g, params, g), value

            end, losses = jax.lax.scan(step, start, None, length=options.steps)
            moved = jnp.max(jnp.abs(end[0]["W"] - start[0]["W"]))
            return losses[:: max(options.steps // 40, 1)], by_hand(end, x, y)[0], moved

        return {name: jax.vmap(lambda key, name=name: one(name, key))(keys) for name in names}

    @jax.jit
    def zeros(key: jax.Array) -> jax.Array:
        """The share of units that are exactly 0 on the data, layer by layer, along the training of a relu net."""
        net = fnn.mlp(64, 24, 24, 24, 10, activation="relu", weight_init="he_normal")
        by_hand = fnn.backprop(net, fnn.softmax_cross_entropy)

        def step(params: Any, _: None) -> Any:
            a, shares = x, []
            for layer, own in zip(net.layers[:-1], params, strict=False):
                a = layer.apply(own, a)
                shares.append(jnp.mean(a == 0))
            return jax.tree.map(lambda p, g: p - 0.1 * g, params, by_hand(params, x, y)[1]), jnp.stack(shares)

        return jax.lax.scan(step, net.init(key), None, length=options.steps)[1]

    results = trained(jax.random.split(jax.random.key(options.seed), 5))
    every = max(options.steps // 40, 1)
    return {
        "zeros": np.asarray(zeros(jax.random.key(options.seed)), np.float64)[::every].round(4),
        "steps": options.steps,
        "every": max(options.steps // 40, 1),
        "nets": {
            name: {
                "curve": np.round(np.asarray(results[name][0], np.float64).mean(axis=0), 4),
                "end": float(results[name][1].mean()),
                "moved": [float(results[name][2].min()), float(results[name][2].max())],
            }
            for name in names
        },
    }


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    sizes, rounding, rules, nets = (
        result["sizes"], result["rounding"], result["rules"], result["learning"]["nets"],
    )  # fmt: skip
    rows = [each for name in ACTIVATIONS for each in sizes[name].values()]

    def gradient(activation: str, initializer: str) -> float:
        """The first layer's over the last's."""
        size = sizes[activation][initializer]["gradient"]
        return size[0] / size[-1]

    calm, chaotic = (rounding["nets"][name] for name in SPREADS)
    zeros, glorot = sizes["relu"]["he_normal"]["zeros"], sizes["glorot"]
    # the relative deviation of the mean square of a uniform number is √(4/5n)
    deviation = (0.8 / glorot["entries"]) ** 0.5
    return {
        "follows": Prediction(
            "every size follows its prediction: decades per layer that it leaves it",
            [row[f"{what}_off"] for row in rows for what in ("activation", "gradient")],
            "at most",
            0.05,
        ),
        "vanish": Prediction(
            "sigmoid's gradients vanish: first over last", gradient("sigmoid", "glorot_uniform"), "at most", 1e-6
        ),
        "explode": Prediction(
            "those of large weights explode: first over last", gradient("tanh", DRAWN[3]), "at least", 1e2
        ),
        "keep": Prediction(
            "relu's with He keep their size: first over last", gradient("relu", "he_normal"), "within", (1 / 3, 3.0)
        ),
        "bound": Prediction(
            "U[−b, b]: largest weight over the lecture's b", glorot["largest"] / glorot["bound"], "at most", 1.0
        ),
        "spread": Prediction(
            "its variance is the lecture's: deviation in standard errors",
            abs(glorot["variance"] / glorot["predicted_variance"] - 1) / deviation,
            "at most",
            5.0,
        ),
        "keeps": Prediction(
            "tanh keeps its gradients with U[−b, b]: first over last",
            gradient("tanh", "glorot_uniform"),
            "at least",
            0.1,
        ),
        "smaller": Prediction(
            "with smaller weights they vanish: first over last", gradient("tanh", DRAWN[0]), "at most", 1e-6
        ),
        "grows": Prediction(
            "the error of the gradient grows with depth in every dtype: last over first",
            # no error at all in one layer is no error of rounding
            [
                net["errors"][dtype][-1] / (net["errors"][dtype][0] or np.nan)
                for net in (calm, chaotic)
                for dtype in DTYPES
            ],
            "at least",
            2.0,
        ),
        "proportion": Prediction(
            "in a calm net it stays in proportion to the dtype's epsilon: error over epsilon",
            [calm["errors"][dtype][-1] / rounding["epsilon"][dtype] for dtype in DTYPES],
            "at most",
            48.0,
        ),
        "chaos": Prediction(
            "in a chaotic net it grows as predicted: difference in decades per layer",
            abs(chaotic["decades_per_layer"] - chaotic["predicted_decades_per_layer"]),
            "at most",
            0.05,
        ),
        "still": Prediction(
            "below sign and threshold the weights move by",
            [nets[n]["moved"][1] for n in ("sign", "hard_threshold")],
            "at most",
            0.0,
        ),
        "moves": Prediction(
            "below sigmoid, tanh and relu they move by", [nets[n]["moved"][0] for n in ACTIVATIONS], "above", 0.0
        ),
        "formulas": Prediction(
            "derivatives are those of differences: difference over its bound",
            [d / rules["bound"] for d in rules["differences"].values()],
            "at most",
            1.0,
        ),
        "half": Prediction(
            "half of the relu units are 0: deviation in standard errors",
            # where no unit ever is 0 the error is 0 too
            abs(zeros["mean"] - 0.5) / (zeros["error"] or 1e-9),
            "at most",
            5.0,
        ),
        "sparse": Prediction(
            "on digits, in every layer and all along the training: share of relu units that are 0",
            result["learning"]["zeros"],
            "at least",
            0.2,
        ),
        "none": Prediction(
            "share of tanh and sigmoid units that are 0",
            [sizes[name]["glorot_uniform"]["zeros"]["mean"] for name in ("tanh", "sigmoid")],
            "at most",
            0.0,
        ),
        "words": Prediction(
            "relu at −2, −1, 0 and 1: neither strictly increasing nor always positive",
            rules["relu_at"],
            "is",
            [0, 0, 0, 1],
        ),
    }


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """What the numbers say of claims A13, A14, A17, B5, B10 and B17."""
    sizes, rounding, nets = result["sizes"], result["rounding"], result["learning"]["nets"]
    count = sum(len(sizes[name]) for name in ACTIVATIONS)
    worst = max(max(r["activation_off"], r["gradient_off"]) for name in ACTIVATIONS for r in sizes[name].values())

    def gradient(activation: str, initializer: str) -> str:
        size = sizes[activation][initializer]["gradient"]
        return f"{size[0] / size[-1]:.1e}"

    calm, chaotic = (rounding["nets"][name] for name in SPREADS)
    zeros, layers, glorot = sizes["relu"]["he_normal"]["zeros"], result["depth"], sizes["glorot"]
    return {
        "A13": Evidence(
            f"First over last cotangent after {layers} layers: sigmoid (Glorot) "
            f"{gradient('sigmoid', 'glorot_uniform')}, tanh with large weights {gradient('tanh', DRAWN[3])}, relu (He) "
            f"{gradient('relu', 'he_normal')}; {count} activations × initializers follow variance propagation to "
            f"{worst:.3f} decades per layer (bound 0.05).",
            "sizes.svg",
        ),
        "A14": Evidence(
            "Hidden weights below sign and threshold moved by "
            f"{max(nets[n]['moved'][1] for n in ('sign', 'hard_threshold')):g} (predicted 0) in "
            f"{result['learning']['steps']} steps, below sigmoid, tanh, relu by at least "
            f"{min(nets[n]['moved'][0] for n in ACTIVATIONS):.2f}; losses: "
            + ", ".join(f"{name} {net['end']:.2f}" for name, net in nets.items())
            + ". Only the output layer learns below a sign.",
            "learning.svg",
        ),
        "A17": Evidence(
            f"Error of the float32 gradient from {calm['errors']['float32'][0]:.0e} after 1 layer to "
            f"{calm['errors']['float32'][-1]:.0e} after 48 in a calm net, in all dtypes below 48 epsilon; in a chaotic "
            f"one it grows {chaotic['decades_per_layer']:.3f} decades per layer "
            f"(predicted {chaotic['predicted_decades_per_layer']:.3f}) until nothing is right.",
            "rounding.svg",
        ),
        "B5": Evidence(
            "Derivatives against central differences, largest difference: "
            + ", ".join(f"{name} {d:.0e}" for name, d in result["rules"]["differences"].items())
            + f" (bound {result['rules']['bound']:.0e}).",
            "learning.svg",
        ),
        "B10": Evidence(
            f"U[−b, b]: largest weight {glorot['largest']:.4f} of b = {glorot['bound']:.4f}, variance "
            f"{glorot['variance']:.6f} (predicted 2/(H_k + H_(k−1)) = {glorot['predicted_variance']:.6f}). "
            f"Cotangents of tanh after {layers} layers: {gradient('tanh', 'glorot_uniform')} of the last, with "
            f"smaller weights {gradient('tanh', DRAWN[0])}, with larger {gradient('tanh', DRAWN[3])}.",
            "sizes.svg",
        ),
        "B17": Evidence(
            f"Share of relu units that are exactly 0: {zeros['mean']:.4f} ± {zeros['error']:.4f} (predicted 0.5), "
            f"along a training on digits {np.min(result['learning']['zeros']):.2f} to "
            f"{np.max(result['learning']['zeros']):.2f}, of "
            f"tanh and sigmoid {max(sizes[n]['glorot_uniform']['zeros']['mean'] for n in ('tanh', 'sigmoid')):g} "
            f"(predicted 0). At −2, −1, 0 and 1 relu is {', '.join(f'{v:g}' for v in result['rules']['relu_at'])} (the "
            "slide says strictly increasing and always positive).",
            "zeros.svg",
        ),
    }


def show(saved: dict[str, Any], console: Console) -> None:
    """Print sizes at the ends of the nets beside their predictions."""
    result = saved["result"]
    table = Table(title=f"After {result['depth']} layers of {result['width']} units, root mean squares")
    for heading in ("activation", "initializer", "outputs", "predicted", "first z_bar", "predicted"):
        table.add_column(heading, justify="left" if heading in ("activation", "initializer") else "right")
    for name in ACTIVATIONS:
        for words, row in result["sizes"][name].items():
            ends = (row["activation"][-1], row["predicted_activation"][-1], row["gradient"][0])
            table.add_row(name, words, *(f"{end:.2e}" for end in (*ends, row["predicted_gradient"][0])))
    console.print(table)


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    result = saved["result"]
    return {
        "sizes.svg": _sizes_figure(result),
        "rounding.svg": _rounding_figure(result),
        "learning.svg": _learned(result),
        "zeros.svg": _zeros_figure(result["learning"]),
    }


def _sizes_figure(result: dict[str, Any]) -> Any:
    from experiments import figures

    figure, axes = figures.blank(13, 7.6, 2, 3)
    layers = np.arange(1, result["depth"] + 1)
    names = ("small, $0.3/\\sqrt{H}$", "U[−b, b] (Glorot)", "He", "large, $3/\\sqrt{H}$")
    words = dict(zip(DRAWN, names, strict=True))
    marks = zip(DRAWN, (figures.BLUE, figures.GREEN, figures.ORANGE, figures.RED), "osD^", strict=True)
    for initializer, color, marker in marks:
        for column, name in enumerate(ACTIVATIONS):
            each = result["sizes"][name][initializer]
            for row, what in enumerate(("activation", "gradient")):
                axis = axes[row, column]
                axis.plot(layers, each[what], marker, color=color, ms=4.5, label=words[initializer])
                axis.plot(layers, each[f"predicted_{what}"], color=color, lw=1.2)
    for column, name in enumerate(ACTIVATIONS):
        axes[0, column].set(yscale="log", title=f"{name}: activations", xlabel="layer")
        axes[1, column].set(yscale="log", title=f"{name}: gradients at the sums", xlabel="layer")
    # sigmoid's activations stay within a factor of two
    axes[0, 0].set(yscale="linear", ylim=(0, 1), ylabel="root mean square")
    axes[1, 0].set_ylabel("root mean square")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", ncols=4, title="points: measured, lines: variance propagation"
    )
    return figure


def _zeros_figure(learning: dict[str, Any]) -> Any:
    from experiments import figures

    figure, ((axes,),) = figures.blank(8, 4.2)
    shares = np.array(learning["zeros"])
    steps = learning["every"] * np.arange(len(shares))
    for k, (colour, style) in enumerate(
        zip((figures.BLUE, figures.GREEN, figures.ORANGE), ("-", "--", "-."), strict=True)
    ):
        axes.plot(steps, 100 * shares[:, k], style, color=colour, lw=2, label=f"hidden layer {k + 1}")
    axes.axhline(50, color="black", lw=1, ls=":", label="at random: half")
    axes.set(xlabel="step", ylabel="units that are exactly 0 (%)", title="A relu net on digits", ylim=(0, 100))
    axes.legend()
    return figure


def _rounding_figure(result: dict[str, Any]) -> Any:
    from experiments import figures

    rounding = result["rounding"]
    figure, (axes,) = figures.blank(11, 4.4, columns=2)
    for axis, (name, net) in zip(axes, rounding["nets"].items(), strict=True):
        for dtype, color, marker in zip(DTYPES, (figures.BLUE, figures.ORANGE, figures.GREEN), "osD", strict=True):
            axis.plot(rounding["depths"], net["errors"][dtype], marker + "-", color=color, label=dtype)
        if name == "chaotic":
            depths = np.array([4, 24])
            start = net["errors"]["float32"][rounding["depths"].index(4)]
            axis.plot(
                depths, start * 10 ** (net["predicted_decades_per_layer"] * (depths - 4)), "--", color="black", lw=2,
                label="predicted slope",
            )  # fmt: skip
        axis.set(
            yscale="log", xlabel="layers", ylabel="relative error of the gradient", ylim=(1e-8, 1e3),
            title=f"{name}: tanh, weights of deviation {net['spread']:g}$/\\sqrt{{H}}$",
        )  # fmt: skip
        axis.legend(fontsize=9, loc="upper left", ncols=2)
    return figure


def _learned(result: dict[str, Any]) -> Any:
    from experiments import figures

    figure, ((curves, shares, rules),) = figures.blank(15, 4.4, columns=3)
    colors = (figures.RED, figures.PINK, figures.BLUE, figures.GREEN, figures.ORANGE)
    learning = result["learning"]
    for (name, net), color, style in zip(
        learning["nets"].items(), colors, ("-", "--", "-", "-.", (0, (4, 1))), strict=True
    ):
        steps = learning["every"] * np.arange(len(net["curve"]))
        moved = "still" if net["moved"][1] == 0 else "learns"
        curves.plot(steps, net["curve"], ls=style, color=color, lw=2, label=f"{name.replace('_', ' ')}: {moved}")
    curves.set(title="Digits, 12 hidden units", xlabel="step", ylabel="loss (nats per image)", ylim=(0, None))
    curves.legend(title="hidden weights", fontsize=9)
    names = list(ACTIVATIONS)
    inits = ("glorot_uniform", "glorot_uniform", "he_normal")
    values = [100 * result["sizes"][name][init]["zeros"]["mean"] for name, init in zip(names, inits, strict=True)]
    shares.bar(names, values, color=[figures.BLUE, figures.GREEN, figures.ORANGE], width=0.6)
    shares.axhline(50, color="black", lw=1.5, ls="--", label="predicted for relu")
    for k, value in enumerate(values):
        # inside the bar: above it is the predicted line
        shares.text(k, max(value - 4, 1), f"{value:.1f} %", ha="center")
    shares.set(title="Units that are exactly 0", ylabel="share (%)", ylim=(0, 62))
    shares.grid(axis="x", visible=False)
    shares.legend(loc="upper left")
    z = np.linspace(-3, 3, 301)
    for (name, (value, slope)), color in zip(
        FUNCTIONS.items(), (figures.BLUE, figures.GREEN, figures.ORANGE), strict=True
    ):
        rules.plot(z, value(z), color=color, lw=2, label=name)
        rules.plot(z, slope(z), "--", color=color, lw=1.5)
    rules.plot(z, np.where(z < 0, -1.0, 1.0), color=figures.RED, lw=2, label="sign (derivative 0)")
    rules.set(title="Values, and dashed derivatives", xlabel="z", ylim=(-1.2, 2.2))
    rules.legend(fontsize=9, loc="upper left")
    return figure
