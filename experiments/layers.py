"""Question: do the lectures' formulas for layers hold, number for number, and where do different readings of them
disagree?

Prediction: every formula equals a second computation of the same to rounding: the fully connected layer with its bias
as an input (A15), sparse, convolutional and pooling layers as masked matrices (A18), gradients before and after each
activation (B8), nodes called in reverse order (B13), transposed Jacobians (C8), one gradient per parameter and input
(C9), the Jacobian row by row (D4), the batch (D6), the bias trick (D8), δ of the output (E6). Taylor's remainder falls
with slope 2 (D2). Two of the readings fail, as predicted: the constant row of the bias trick has its own gradient and
must be frozen, and sigmoid and tanh spoil the constant (D8); the slide's a·δ with δ = p − y is wrong for squared error
behind a sigmoid, and right for cross-entropy (E6).
Refuted by: a difference above the rounding bound; a reading that should fail and does not.

Witnesses: loops and matrices of NumPy written from the slides (columns, y = Wx), and autodiff for Jacobians. The bound
for a difference is 64 roundings of the largest number that enters it.
"""

from dataclasses import dataclass
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Run every formula of the lectures about layers with numbers, against a second computation of the same.

    Masks, Jacobians, batches, the bias trick, Taylor's remainder, and the two readings of delta.
    """

    repeats: int = frame.at_least(1, 100)
    """With how many random numbers each formula is run."""


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "A15": ("A15 *",),
        "A18": ("A18 *",),
        "B8": ("B8 *",),
        "B13": ("B13 *",),
        "C8": ("C8 *",),
        "C9": ("C9 *",),
        "D2": ("D2 *",),
        "D4": ("D4 *",),
        "D6": ("D6 *",),
        "D8": ("D8 *",),
        "E6": ("E6 *",),
    },
    x64=True,
    quick={"repeats": 10},
    seeds=5,
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

EPS = float(np.finfo(np.float64).eps)
#: About the number of roundings on the longest path here: two layers there and back, ten products a sum.
ROUNDINGS = 64
INPUTS, HIDDEN, OUTPUTS, EXAMPLES = 4, 5, 3, 6


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Run every formula with many random numbers and return the largest differences beside their bounds."""
    random = np.random.default_rng(options.seed)
    parts = (_one_layer, _masks, _net, _two_inputs, _bias_trick, _taylor)
    result: dict[str, Any] = {"repeats": options.repeats, "identities": {}, "contrasts": {}}
    for k, part in enumerate(parts, start=1):
        identities, contrasts, rest = part(random, options.repeats)
        result["identities"] |= identities
        result["contrasts"] |= contrasts
        result |= rest
        watch("formulas", k, len(parts), part.__name__.strip("_").replace("_", " "))
    return result | {"pictures": _graphs()}


def _graphs() -> dict[str, str]:
    """A net, a flow of nodes and a layer of two inputs as the glass box draws them, with their gradients."""
    W1, b1 = jnp.array([[1.0, -1.0], [0.5, 2.0]]), jnp.array([0.0, -0.5])
    W2, b2, x = jnp.array([[1.0], [-2.0]]), jnp.array([0.5]), jnp.array([1.0, 2.0])

    def net(W1, b1, W2, b2, x):
        z1 = x @ W1 + b1
        a1 = jax.lax.logistic(z1)
        z2 = a1 @ W2 + b2
        return jnp.sum((z2 - 1) ** 2) / 2

    def flow(x, w, b):
        z = w * x + b
        a = jnp.tanh(z)
        return (a - 1) ** 2

    def gate(s, u, v):
        product = u * v
        return s * product

    return {
        "algorithm.svg": fnn.graph(net, W1, b1, W2, b2, x).svg(),
        "flow.svg": fnn.graph(flow, 2.0, 0.5, -0.5).svg(),
        "two_inputs.svg": fnn.graph(gate, 2.0, 3.0, -1.0).svg(),
    }


def apart(got: Any, wanted: Any) -> dict[str, float]:
    """Largest difference of two trees of arrays, and the bound: so many roundings of the largest number.

    >>> apart({"a": np.ones(2)}, {"a": np.ones(2)})["apart"]
    0.0
    """
    difference, largest = 0.0, 1.0
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        # NaN, and another shape, are as far apart as can be
        here = np.abs(a - b).max() if a.shape == b.shape else np.inf
        difference, largest = float(np.maximum(difference, here)), max(largest, float(np.abs(b).max()))
    return {"apart": difference, "bound": ROUNDINGS * EPS * largest}


def of_shape(got: Any, wanted: Any) -> Any:
    """The array where it has the shape of the other, else NaN at every place: a wrong shape is judged, not raised."""
    return got if got.shape == wanted.shape else wanted * jnp.nan


def typical(differences: np.ndarray) -> float:
    """The median over the repeats: one of many random nets may come near equality by chance."""
    return float(np.median(differences))


def _drawn(random: np.random.Generator, repeats: int, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    return [random.normal(size=(repeats, *shape)) for shape in shapes]


def columns(x: np.ndarray) -> np.ndarray:
    """Rows as the lectures' columns, (…, n, 1)."""
    return x[..., None]


def transposed(W: np.ndarray) -> np.ndarray:
    """Wᵀ, repeat by repeat."""
    return np.swapaxes(W, -1, -2)


# ---- one layer: A15, C8, D4, D6 -------------------------------------------------------------------------------------


def _one_layer(random: np.random.Generator, repeats: int) -> Any:
    W, b, x, y_bar = _drawn(random, repeats, (INPUTS, OUTPUTS), (OUTPUTS,), (EXAMPLES, INPUTS), (EXAMPLES, OUTPUTS))
    layer = fnn.dense(INPUTS, OUTPUTS, activation="sigmoid")

    @jax.jit
    @jax.vmap
    def computed(W: jax.Array, b: jax.Array, x: jax.Array, y_bar: jax.Array) -> Any:
        params = {"W": W, "b": b}
        residuals = layer.forward(params, x[0])[1]
        rows = jax.vmap(lambda row: layer.backward(params, residuals, row)[0])(jnp.eye(OUTPUTS))
        return {
            "affine": fnn.linear.affine(W, b, x),
            "batch": fnn.linear.affine_backward(W, x, y_bar),
            "single": fnn.linear.affine_backward(W, x[0], y_bar[0]),
            "backward": layer.backward(params, residuals, y_bar[0]),
            "rows": rows,
            "jacobian": jax.jacobian(layer.apply, argnums=(0, 1))(params, x[0]),
        }

    got = jax.tree.map(np.asarray, computed(W, b, x, y_bar))
    # A15: the lecture's W has the bias as its last column, and x a 1 as its last entry
    extended = np.concatenate([transposed(W), columns(b)], axis=2)
    one = np.concatenate([columns(x[:, 0]), np.ones((repeats, 1, 1))], axis=1)
    gradient, back = columns(y_bar[:, 0]) @ transposed(one), transposed(extended) @ columns(y_bar[:, 0])
    fully = (got["affine"][:, 0], *got["single"])
    wanted = ((extended @ one)[..., 0], transposed(gradient[..., :-1]), gradient[..., -1], back[:, :-1, 0])
    # D6: the batch as a sum of outer products
    each = [transposed(columns(y_bar[:, n]) @ transposed(columns(x[:, n]))) for n in range(EXAMPLES)]
    batch = (sum(each), sum(y_bar[:, n] for n in range(EXAMPLES)), np.stack(
        [(W @ columns(y_bar[:, n]))[..., 0] for n in range(EXAMPLES)], axis=1
    ))  # fmt: skip
    # D4: row i sees row i of A, which is our column i, and b_i
    z = (transposed(W) @ columns(x[:, 0]) + columns(b))[..., 0]
    slope = np.exp(-z) / (1 + np.exp(-z)) ** 2
    rows = {"W": np.zeros((repeats, OUTPUTS, INPUTS, OUTPUTS)), "b": np.zeros((repeats, OUTPUTS, OUTPUTS))}
    for i in range(OUTPUTS):
        rows["W"][:, i, :, i] = slope[:, i, None] * x[:, 0]
        rows["b"][:, i, i] = slope[:, i]
    local = jax.tree.map(
        lambda J: np.einsum("ro,ro...->r...", y_bar[:, 0], J), got["jacobian"]
    )  # fmt: skip
    return {
        "A15 fully connected layer": apart(fully, wanted),
        "C8 transposed Jacobian": apart(got["backward"], local),
        "D4 Jacobian row by row": apart(got["rows"], rows),
        "D4 Jacobian by autodiff": apart(got["jacobian"][0], rows),
        "D6 the batch": apart(got["batch"], batch),
    }, {}, {"boards": _shown(x[0], y_bar[0], jax.tree.map(lambda leaf: leaf[0], got))}  # fmt: skip


def _shown(x: np.ndarray, y_bar: np.ndarray, got: Any) -> dict[str, Any]:
    """The matrices of the first repeat, as the lectures lay them out: columns, the bias last, one row per output."""
    W_bar, b_bar, _ = got["single"]
    rows = np.concatenate([np.swapaxes(got["rows"]["W"], 1, 2).reshape(OUTPUTS, -1), got["rows"]["b"]], axis=1)
    shown = {
        "input": np.append(x[0], 1.0)[:, None],
        "output": y_bar[:1].T,
        "gradient": np.concatenate([W_bar.T, b_bar[:, None]], axis=1),
        "jacobian": got["jacobian"][1].T,
        "input gradient": got["backward"][1][:, None],
        "rows": rows,
        "inputs": x.T,
        "outputs": y_bar.T,
        "batch gradient": got["batch"][0].T,
    }
    return {name: each.round(4) for name, each in shown.items()}


# ---- any topology as a matrix with a mask: A18 ----------------------------------------------------------------------

SIDE = 6


def masks() -> dict[str, np.ndarray]:
    """Which of the 36 pixels each output sees: all, some at random, 3 × 3 neighbours, 2 × 2 blocks."""
    pixels = SIDE * SIDE
    sparse = np.random.default_rng(0).random((pixels, 16)) < 0.15
    convolution, pooling = np.zeros((pixels, 16), bool), np.zeros((pixels, 9), bool)
    for row in range(4):
        for column in range(4):
            for k in range(3):
                for j in range(3):
                    convolution[(row + k) * SIDE + column + j, row * 4 + column] = True
    for row in range(SIDE):
        for column in range(SIDE):
            pooling[row * SIDE + column, (row // 2) * 3 + column // 2] = True
    return {"full": np.ones((pixels, 16), bool), "sparse": sparse, "convolution": convolution, "pooling": pooling}


def _masks(random: np.random.Generator, repeats: int) -> Any:
    seen = masks()
    images, kernel, weights, bars = _drawn(random, repeats, (SIDE, SIDE), (3, 3), (SIDE * SIDE, 16), (16,))
    flat = images.reshape(repeats, -1)

    @jax.jit
    @jax.vmap
    def there_and_back(W: jax.Array, x: jax.Array, y_bar: jax.Array) -> Any:
        layer = fnn.dense(*W.shape)
        params = {"W": W, "b": jnp.zeros(W.shape[1])}
        y, residuals = layer.forward(params, x)
        return y, *layer.backward(params, residuals, y_bar)

    # convolution: one kernel, laid out where each output looks
    W = np.zeros((repeats, SIDE * SIDE, 16))
    for output in range(16):
        W[:, seen["convolution"][:, output], output] = kernel.reshape(repeats, 9)
    y, params_bar, x_bar = jax.tree.map(np.asarray, there_and_back(W, flat, bars))
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))
    straight = np.einsum("rabkj,rkj->rab", windows, kernel).reshape(repeats, 16)
    # a shared weight gets the sum over its places
    shared = np.zeros((repeats, 9))
    for output in range(16):
        shared += params_bar["W"][:, seen["convolution"][:, output], output]
    kernel_bar = np.einsum("rabkj,rab->rkj", windows, bars.reshape(repeats, 4, 4)).reshape(repeats, 9)
    image_bar = np.zeros_like(images)
    for row in range(4):
        for column in range(4):
            image_bar[:, row : row + 3, column : column + 3] += (
                bars.reshape(repeats, 4, 4)[:, row, column, None, None] * kernel
            )
    # sparse: a loop over the connections
    sparse = seen["sparse"]
    y_sparse, sparse_bar, x_sparse = jax.tree.map(np.asarray, there_and_back(weights * sparse, flat, bars))
    looped, looped_bar, looped_x = np.zeros((repeats, 16)), np.zeros((repeats, SIDE * SIDE, 16)), np.zeros_like(flat)
    for i, o in np.argwhere(sparse):
        looped[:, o] += flat[:, i] * weights[:, i, o]
        looped_bar[:, i, o] = flat[:, i] * bars[:, o]
        looped_x[:, i] += weights[:, i, o] * bars[:, o]
    # average pooling: a quarter of each of four pixels
    quarter = np.broadcast_to(seen["pooling"] / 4, (repeats, SIDE * SIDE, 9))
    y_pool, _, x_pool = jax.tree.map(np.asarray, there_and_back(quarter, flat, bars[:, :9]))
    means = images.reshape(repeats, 3, 2, 3, 2).mean(axis=(2, 4)).reshape(repeats, 9)
    back = np.repeat(np.repeat(bars[:, :9].reshape(repeats, 3, 3), 2, axis=1), 2, axis=2).reshape(repeats, -1) / 4
    return {
        "A18 convolution": apart((y, x_bar), (straight, image_bar.reshape(repeats, -1))),
        "A18 its shared gradient": apart(shared, kernel_bar),
        "A18 sparse": apart((y_sparse, sparse_bar["W"] * sparse, x_sparse), (looped, looped_bar, looped_x)),
        "A18 average pooling": apart((y_pool, x_pool), (means, back)),
    }, {
        # without its mask a gradient step would grow connections that are not there
        "A18 gradient outside the mask": typical(np.abs(sparse_bar["W"][:, ~sparse]).max(axis=1)),
    }, {
        "masks": {name: mask.astype(int) for name, mask in seen.items()},
        "matrices": {"convolution": W[0].round(3), "pooling": quarter[0], "sparse": (weights * sparse)[0].round(3),
                     "full": weights[0].round(3)},
    }  # fmt: skip


# ---- a whole net: B8, B13, E6 ---------------------------------------------------------------------------------------


def _net(random: np.random.Generator, repeats: int) -> Any:
    W1, b1, W2, b2 = _drawn(random, repeats, (INPUTS, HIDDEN), (HIDDEN,), (HIDDEN, OUTPUTS), (OUTPUTS,))
    (x,) = _drawn(random, repeats, (INPUTS,))
    labels = random.integers(0, OUTPUTS, repeats)
    target = np.eye(OUTPUTS)[labels]
    net = fnn.mlp(INPUTS, HIDDEN, OUTPUTS, activation="sigmoid")
    squashed = fnn.mlp(INPUTS, HIDDEN, OUTPUTS, activation="sigmoid", output="sigmoid")

    @jax.jit
    @jax.vmap
    def computed(params: Any, x: jax.Array, label: jax.Array, target: jax.Array) -> Any:
        softmax = fnn.backprop(net, fnn.softmax_cross_entropy)
        squared = fnn.backprop(squashed, fnn.half_squared_error)
        # nodes forward, then each backward in reverse order
        value, tape = x, []
        for node, p in zip(squashed.layers, params, strict=True):
            value, residuals = node.forward(p, value)
            tape.append((node, p, residuals))
        bar = fnn.half_squared_error.backward(fnn.half_squared_error.forward(value, target)[1])
        flow = []
        for node, p, residuals in reversed(tape):
            p_bar, bar = node.backward(p, residuals, bar)
            flow.insert(0, p_bar)
        inside = {name: bar for name, (_, bar) in softmax.intermediates(params, x, label).items()}
        objective = fnn.objective(squashed, fnn.half_squared_error)
        return {
            "softmax": (softmax(params, x, label)[1], inside),
            "squared": (squared(params, x, target)[1], squared.intermediates(params, x, target)),
            "entropy": fnn.backprop(net, fnn.sigmoid_cross_entropy)(params, x, target)[1],
            "flow": ((tuple(flow), bar), squared.with_inputs(params, x, target)[1]),
            "autodiff": jax.grad(objective, argnums=(0, 1))(params, x, target),
        }

    params = ({"W": W1, "b": b1}, {"W": W2, "b": b2})
    got = jax.tree.map(np.asarray, computed(params, x, labels, target))

    def sigma(z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-z))

    # the slides' columns: Θ is our W transposed
    Θ1, Θ2 = transposed(W1), transposed(W2)
    a = sigma(Θ1 @ columns(x) + columns(b1))
    z = Θ2 @ a + columns(b2)
    f = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    # B8: output, then parameters, the layer below, before its activation
    z2_bar = -(columns(target) - f)
    a_bar = transposed(Θ2) @ z2_bar
    z1_bar = a_bar * a * (1 - a)

    def rows(δ: np.ndarray, below: np.ndarray) -> dict[str, np.ndarray]:
        return {"W": transposed(δ @ transposed(below)), "b": δ[..., 0]}

    inside = {"1.z": z1_bar, "1.a": a_bar, "2.z": z2_bar, "2.a": z2_bar}
    complete = ((rows(z1_bar, columns(x)), rows(z2_bar, a)), {name: each[..., 0] for name, each in inside.items()})
    # E6
    p = sigma(z)
    δ_p = p - columns(target)
    δ_z = δ_p * p * (1 - p)
    δ_a = transposed(Θ2) @ δ_z
    gradients, named = got["squared"]
    right, wrong = transposed(δ_z @ transposed(a)), transposed(δ_p @ transposed(a))
    measured = of_shape(gradients[1]["W"], right)
    deltas = (measured, *(named[name][1] for name in ("2.a", "2.z", "1.a")))
    return {
        "B8 the complete algorithm": apart(got["softmax"], complete),
        # what the loop over the nodes gives, and what the library gives, are one thing
        "B13 bprop in reverse order": apart(got["flow"], (got["autodiff"], got["autodiff"])),
        "E6 squared error, δ of z": apart(deltas, (right, δ_p[..., 0], δ_z[..., 0], δ_a[..., 0])),
        "E6 cross-entropy, δ = p − y": apart(got["entropy"][1]["W"], wrong),
    }, {
        "E6 squared error with δ = p − y": typical(np.abs(measured - wrong).max(axis=(1, 2))),
    }, {
        # how much too large the wrong reading is, against 1/σ′
        "readings": {
            "right": right[:60].reshape(-1)[:400].round(5), "wrong": wrong[:60].reshape(-1)[:400].round(5),
            "measured": measured[:60].reshape(-1)[:400].round(5),
        },
    }  # fmt: skip


# ---- two inputs: C9 -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gate(fnn.Layer):
    """y = s ⊙ u ⊙ v of two inputs u and v, as the slide's class has it: parameters, forward, backward."""

    size: int

    def init(self, key: Any, dtype: Any = jnp.float32) -> Any:
        return {"s": jnp.ones(self.size, dtype)}

    def forward(self, params: Any, x: Any) -> Any:
        u, v = x
        return params["s"] * u * v, (u, v)

    def backward(self, params: Any, residuals: Any, y_bar: Any) -> Any:
        # y = s u v
        u, v = residuals
        return {"s": y_bar * u * v}, (params["s"] * v * y_bar, params["s"] * u * y_bar)


def _two_inputs(random: np.random.Generator, repeats: int) -> Any:
    s, u, v, y = _drawn(random, repeats, (INPUTS,), (INPUTS,), (INPUTS,), (INPUTS,))
    by_hand = fnn.backprop(Gate(INPUTS), fnn.half_squared_error)
    _, got = jax.jit(jax.vmap(by_hand.with_inputs))({"s": s}, (u, v), y)
    e = s * u * v - y
    return {"C9 two inputs": apart(got, ({"s": e * u * v}, (e * s * v, e * s * u)))}, {}, {}


# ---- the bias trick: D8 ---------------------------------------------------------------------------------------------


def _bias_trick(random: np.random.Generator, repeats: int) -> Any:
    W1, b1, W2, b2 = _drawn(random, repeats, (INPUTS, HIDDEN), (HIDDEN,), (HIDDEN, OUTPUTS), (OUTPUTS,))
    x, y = _drawn(random, repeats, (EXAMPLES, INPUTS), (EXAMPLES, OUTPUTS))
    net = fnn.mlp(INPUTS, HIDDEN, OUTPUTS)

    def tricked(hats: Any, x: jax.Array, activation: Any, spare: bool) -> jax.Array:
        z = fnn.linear.homogeneous_input(x) @ hats[0]
        a = jnp.concatenate([z[:, :1], activation(z[:, 1:])], axis=1) if spare else activation(z)
        return a @ hats[1]

    @jax.jit
    @jax.vmap
    def both(params: Any, x: jax.Array, y: jax.Array) -> Any:
        hats = [fnn.linear.homogeneous_matrix(p["W"], p["b"]) for p in params]

        def loss(hats: Any) -> Any:
            output = tricked(hats, x, fnn.tanh, True)
            return fnn.half_squared_error(output[:, 1:], y), output

        gradients, output = jax.grad(loss, has_aux=True)(hats)
        plain = fnn.backprop(net, fnn.half_squared_error)(params, x, y)[1]
        step = jax.tree.map(lambda p, g: p - 0.1 * of_shape(g, p), params, plain)
        free = [hat - 0.1 * g for hat, g in zip(hats, gradients, strict=True)]
        frozen = [hat.at[:, 1:].set(moved[:, 1:]) for hat, moved in zip(hats, free, strict=True)]
        spoiled = {
            name: (
                tricked(hats, x, fnn.activations.get(name), False)[:, 1:],
                fnn.mlp(INPUTS, HIDDEN, OUTPUTS, activation=name).apply(params, x),
            )
            for name in ("sigmoid", "tanh", "relu")
        }
        return {
            "outputs": ((output[:, 0], output[:, 1:]), (jnp.ones(EXAMPLES), net.apply(params, x))),
            "gradients": ([{"W": g[1:, 1:], "b": g[0, 1:]} for g in gradients], list(plain)),
            "step": (tricked(frozen, x, fnn.tanh, True)[:, 1:], net.apply(step, x)),
            "constant": gradients[0][:, 0],
            "free": tricked(free, x, fnn.tanh, True)[:, 1:] - net.apply(step, x),
            "spoiled": spoiled,
        }

    got = jax.tree.map(np.asarray, both(({"W": W1, "b": b1}, {"W": W2, "b": b2}), x, y))
    spoiled = {
        name: typical(np.abs(output - plain).max(axis=(1, 2))) for name, (output, plain) in got["spoiled"].items()
    }
    return {
        "D8 equal outputs": apart(*got["outputs"]),
        "D8 equal gradients on the blocks": apart(*got["gradients"]),
        "D8 equal after a step, constant frozen": apart(*got["step"]),
        "D8 relu leaves the 1 alone": apart(*got["spoiled"]["relu"]),
    }, {
        "D8 gradient of the constant": typical(np.abs(got["constant"]).max(axis=1)),
        "D8 after a step, constant free": typical(np.abs(got["free"]).max(axis=(1, 2))),
        "D8 sigmoid spoils the 1": spoiled["sigmoid"],
        "D8 tanh spoils the 1": spoiled["tanh"],
    }, {}  # fmt: skip


# ---- Taylor: D2 -----------------------------------------------------------------------------------------------------


def _taylor(random: np.random.Generator, repeats: int) -> Any:
    W1, b1, W2, b2 = _drawn(random, repeats, (INPUTS, HIDDEN), (HIDDEN,), (HIDDEN, OUTPUTS), (OUTPUTS,))
    x, direction = _drawn(random, repeats, (INPUTS,), (INPUTS,))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    steps = 10.0 ** -np.arange(1, 8.01, 0.5)
    net = fnn.mlp(INPUTS, HIDDEN, OUTPUTS)

    @jax.jit
    @jax.vmap
    def remainders(params: Any, x: jax.Array, d: jax.Array) -> Any:
        y, residuals = net.forward(params, x)
        # the Jacobian by the hand-written backward pass, a row per output
        Df = jax.vmap(lambda row: net.backward(params, residuals, row)[1])(jnp.eye(OUTPUTS))
        moved = jax.vmap(lambda h: net.apply(params, x + h * d))(jnp.asarray(steps))
        linear = y[None] + jnp.asarray(steps)[:, None] * (Df @ d)[None]
        wrong = y[None] + jnp.asarray(steps)[:, None] * (0.99 * Df @ d)[None]
        return [jnp.linalg.norm(moved - each, axis=1) for each in (linear, y[None], wrong)]

    params = ({"W": W1, "b": b1}, {"W": W2, "b": b2})
    remainder, change, wrong = (np.median(np.asarray(each), axis=0) for each in remainders(params, x, direction))
    # above the rounding of values near 1, and where higher terms no longer matter
    inside = (steps >= 1e-5) & (steps <= 1e-2)

    def slope(sizes: np.ndarray) -> float:
        return float(np.polyfit(np.log10(steps[inside]), np.log10(sizes[inside]), 1)[0])

    return {}, {}, {
        "taylor": {
            "steps": steps, "remainder": remainder, "change": change, "wrong": wrong, "slope": slope(remainder),
            "slope_of_change": slope(change), "slope_of_wrong": slope(wrong),
        },
    }  # fmt: skip


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    taylor = result["taylor"]
    made = {
        f"{name}, equal": Prediction(
            f"{name}: difference over its rounding bound", each["apart"] / each["bound"], "at most", 1.0
        )
        for name, each in result["identities"].items()
    }
    # a wrong reading is off by far more than rounding: by a thousandth of numbers near 1
    made |= {
        f"{name}, different": Prediction(f"{name}: difference of the wrong reading", value, "at least", 1e-3)
        for name, value in result["contrasts"].items()
    }
    return made | {
        "D2 slope": Prediction("D2 the remainder falls with slope 2", taylor["slope"], "within", (1.95, 2.05)),
        "D2 wrong slope": Prediction(
            "D2 a derivative off by 1 % leaves slope 1", taylor["slope_of_wrong"], "at most", 1.2
        ),
    }


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """The largest differences behind each claim."""
    figures = {"A18": "masks.svg", "D2": "remainder.svg", "E6": "remainder.svg", "D8": "remainder.svg"}
    figures |= {"B8": "algorithm.svg", "B13": "flow.svg", "C9": "two_inputs.svg"}
    figures |= {"A15": "fully_connected.svg", "C8": "transposed.svg", "D4": "rows.svg", "D6": "batch.svg"}
    return {claim: Evidence(_text(claim, result), figures.get(claim, "")) for claim in EXPERIMENT.claims}


def _text(claim: str, result: dict[str, Any]) -> str:
    if claim == "D2":
        taylor = result["taylor"]
        return (
            f"Taylor's remainder of a net falls with slope {taylor['slope']:.3f} (predicted 2); with a derivative "
            f"that is 1 % off, with slope {taylor['slope_of_wrong']:.2f}."
        )
    start = f"{claim} "
    equal = ", ".join(
        f"{name.removeprefix(start)} {each['apart']:.0e} (bound {each['bound']:.0e})"
        for name, each in result["identities"].items()
        if name.startswith(start)
    )
    other = ", ".join(
        f"{name.removeprefix(start)} {value:.2g}"
        for name, value in result["contrasts"].items()
        if name.startswith(start)
    )
    text = f"{result['repeats']} times with random numbers, largest difference: {equal}."
    return f"{text} As predicted different, median: {other}." if other else text


def show(saved: dict[str, Any], console: Console) -> None:
    """Print every difference beside its bound, and which predictions did not hold."""
    result = saved["result"]
    table = Table(title=f"Largest differences over {result['repeats']} repeats")
    for heading in ("formula", "apart", "rounding bound"):
        table.add_column(heading, justify="left" if heading == "formula" else "right")
    for name, each in result["identities"].items():
        table.add_row(name, f"{each['apart']:.1e}", f"{each['bound']:.1e}")
    for name, value in result["contrasts"].items():
        table.add_row(f"{name} (must differ)", f"{value:.1e}", "")
    console.print(table)


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    result = saved["result"]
    return (
        {"masks.svg": _masks_figure(result), "remainder.svg": _remainder(result)}
        | _matrices(result["boards"])
        | (result["pictures"])
    )


def _matrices(shown: dict[str, Any]) -> dict[str, Any]:
    """Products of matrices as a lecturer would write them on a board: what is multiplied, and what comes of it."""
    each = {name: np.array(matrix) for name, matrix in shown.items()}
    wide = {"input": r"$\hat{x} = (x, 1)$", "output": r"$\delta = \partial L / \partial \hat{y}$"}
    return {
        "fully_connected.svg": _board(
            "The gradient of a fully connected layer is an outer product, the bias its last column",
            [(wide["output"], each["output"]), (r"$\hat{x}^T$", each["input"].T),
             (r"$\partial L / \partial \hat{W} = \delta\,\hat{x}^T$, by fnn", each["gradient"])], "·=",
        ),
        "transposed.svg": _board(
            "Backward, a node applies its transposed Jacobian",
            [(r"$J^T$", each["jacobian"]), (wide["output"], each["output"]),
             (r"$\partial L / \partial x = J^T \delta$, by fnn", each["input gradient"])], "·=",
        ),
        "rows.svg": _board(
            "The Jacobian of σ(Ax + b): row i sees row i of A and entry i of b",
            [("one row per output; columns: the rows of A one after the other, then b", each["rows"])], "",
        ),
        "batch.svg": _board(
            "A batch: the same formula, a column per example",
            [("$[\\delta_1 … \\delta_N]$", each["outputs"]), ("$[x_1 … x_N]^T$", each["inputs"].T),
             (r"$\Sigma_n \delta_n x_n^T$, by fnn", each["batch gradient"])], "·=",
        ),
    }  # fmt: skip


def _board(title: str, parts: list[tuple[str, np.ndarray]], signs: str) -> Any:
    from experiments import figures

    widths = [max(matrix.shape[1], 1.5) for _, matrix in parts]
    figure, (spots,) = figures.blank(max(9, 0.62 * sum(widths) + 4), 3.9, columns=len(parts), width_ratios=widths)
    limit = max(float(np.abs(matrix).max()) for _, matrix in parts)
    for axes, (name, matrix), sign in zip(spots, parts, [*signs, ""], strict=True):
        axes.imshow(matrix, cmap="PuOr", vmin=-limit, vmax=limit)
        for (row, column), value in np.ndenumerate(matrix):
            # no −0, and white where it is dark
            colour = "white" if abs(value) > 0.6 * limit else "black"
            axes.text(column, row, f"{round(value, 1) + 0:.1f}", ha="center", va="center", fontsize=8, color=colour)
        axes.set(xticks=[], yticks=[], xlabel=name)
        axes.grid(False)
        axes.text(1.06, 0.5, sign, transform=axes.transAxes, fontsize=20, va="center")
    figure.suptitle(title)
    return figure


def _masks_figure(result: dict[str, Any]) -> Any:
    from experiments import figures

    figure, (spots,) = figures.blank(13, 6.6, columns=4)
    titles_of = {
        "full": "Fully connected", "sparse": "Sparse", "convolution": "Convolution, 3 × 3\n(one kernel, 16 places)",
        "pooling": "Average pooling, 2 × 2\n(all weights ¼)",
    }  # fmt: skip
    pictures = []
    for spot, (name, title) in zip(spots, titles_of.items(), strict=True):
        matrix, mask = np.array(result["matrices"][name]), np.array(result["masks"][name])
        # no connection is grey, a weight of zero would be white
        shown = np.ma.masked_where(mask == 0, matrix)
        spot.set_facecolor("0.6")
        pictures.append(spot.imshow(shown, cmap="PuOr", vmin=-2, vmax=2, aspect="equal"))
        spot.grid(False)
        spot.set(title=title, xlabel=f"{matrix.shape[1]} outputs", ylabel=f"{matrix.shape[0]} inputs (6 × 6 pixels)")
        spot.set(xticks=[], yticks=[])
    figure.colorbar(pictures[0], ax=spots, label="weight (grey: no connection)", shrink=0.8)
    return figure


def _remainder(result: dict[str, Any]) -> Any:
    from experiments import figures

    figure, ((taylor, trick, readings),) = figures.blank(15, 4.8, columns=3)
    each = result["taylor"]
    taylor.plot(each["steps"], each["change"], "s-", color=figures.GREEN, label="f(x + h) − f(x): slope 1")
    taylor.plot(each["steps"], each["wrong"], "D--", color=figures.RED, label="derivative 1 % off")
    taylor.plot(
        each["steps"], each["remainder"], "o-", color=figures.BLUE, label=f"remainder: slope {each['slope']:.2f}"
    )
    taylor.set(xscale="log", yscale="log", title="Taylor's remainder of a net", xlabel="step h", ylabel="size, median")
    taylor.legend(fontsize=9)
    bars = {
        "outputs": result["identities"]["D8 equal outputs"]["apart"],
        "gradients": result["identities"]["D8 equal gradients on the blocks"]["apart"],
        "a step,\nconstant frozen": result["identities"]["D8 equal after a step, constant frozen"]["apart"],
        "a step,\nconstant free": result["contrasts"]["D8 after a step, constant free"],
        "sigmoid on\nthe constant": result["contrasts"]["D8 sigmoid spoils the 1"],
        "tanh on\nthe constant": result["contrasts"]["D8 tanh spoils the 1"],
    }
    colors = [figures.BLUE] * 3 + [figures.RED] * 3
    trick.barh(list(bars), np.maximum(list(bars.values()), 1e-17), color=colors, left=0)
    trick.invert_yaxis()
    trick.set(xscale="log", xlim=(1e-17, 10), title="Bias trick against the plain net", xlabel="difference")
    trick.grid(axis="y", visible=False)
    data = result["readings"]
    limit = 1.05 * max(map(abs, data["wrong"]))
    readings.plot([-limit, limit], [-limit, limit], color="0.5", lw=1)
    readings.plot(
        data["measured"],
        data["wrong"],
        "s",
        color=figures.RED,
        ms=4,
        alpha=0.6,
        label="a δ with δ = p − y",
        rasterized=True,
    )
    readings.plot(
        data["measured"],
        data["right"],
        "o",
        color=figures.BLUE,
        ms=4,
        label="a δ with δ = (p − y) σ′(z)",
        rasterized=True,
    )
    readings.set(
        title="Squared error behind a sigmoid", xlabel="gradient by back-propagation", ylabel="gradient by the formula"
    )
    readings.legend(fontsize=9, loc="lower right")
    return figure
