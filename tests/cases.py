"""The one table of cases: sizes 0 and 1, negative, huge, exactly zero, asymmetric values.

Few shapes on purpose: each new shape compiles every operation again. All numbers come from one fixed seed.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from fnn.activations import ACTIVATIONS
from fnn.losses import LOSSES

SEED = 20180930

#: Pre-activations: zero of both signs, tiny, ordinary, saturating, huge; more negative than positive, so that nothing
#: is hidden by symmetry. Shape (5, 7), so that softmax has rows: its first row mixes −1e4 and 1e4.
Z = np.array(
    [
        [0.0, -1e4, 1e4, -3.0, 0.25, 5.0, -0.0],
        [1e-30, -1e-30, 1e-3, -1e-3, 0.5, -0.75, 1.0],
        [-2.0, 3.0, -4.0, 6.5, -8.0, 12.0, -15.0],
        [-20.0, 30.0, -40.0, 60.0, -87.0, 89.0, -104.0],
        [7.0, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0],
    ]
)


def random(*parts) -> np.random.Generator:
    """A generator for this case alone, so that adding a case changes no other."""
    return np.random.default_rng([SEED, *[sum(map(ord, str(part))) for part in parts]])


def rounded(values, dtype) -> jax.Array:
    """NumPy numbers on the device in this dtype, by way of float32; labels stay whole. Nothing is compiled."""
    values = np.asarray(values)
    return jnp.asarray(values if values.dtype.kind == "i" else values.astype(np.float32).astype(jnp.dtype(dtype)))


def drawn(layer: fnn.Layer, rng: np.random.Generator, dtype=jnp.float32, scale: float = 1.0):
    """Parameters of a layer: weights of the scale of `init`, and a little of everything on top.

    NumPy draws them: `init` itself would compile every operation again for every new shape.
    """

    def leaf(path, like):
        # Glorot's bound for weights; biases start at zero
        bound = np.sqrt(6 / sum(like.shape[-2:])) if getattr(path[-1], "key", None) == "W" else 0.0
        return rounded(scale * rng.uniform(-bound, bound, like.shape) + rng.normal(0, 0.1, like.shape), dtype)

    shapes = jax.eval_shape(lambda: layer.init(jax.random.key(SEED)))
    return jax.tree_util.tree_map_with_path(leaf, shapes)


def targets(loss: fnn.Loss, shape: tuple[int, ...], *, labels: bool, seed: str = "targets") -> np.ndarray:
    """Targets that the loss can mean, for predictions of this shape."""
    rng = random(loss.name, *shape, seed)
    if loss.name in ("softmax_cross_entropy", "negative_log_likelihood"):
        if labels:
            return rng.integers(0, shape[-1], shape[:-1]).astype(np.int32)
        rows = rng.random(shape) + 0.05
        return rows / rows.sum(-1, keepdims=True)
    if loss.name in ("binary_cross_entropy", "sigmoid_cross_entropy"):
        return rng.integers(0, 2, shape).astype(float) if labels else rng.random(shape)
    if loss.name in ("hinge", "perceptron_loss"):
        return rng.choice([-1.0, 1.0], shape)
    return rng.normal(0.3, 1.0, shape)


def predictions(loss: fnn.Loss, shape: tuple[int, ...]) -> np.ndarray:
    """Predictions in the range of the loss: probabilities in (0, 1), or scores of ordinary size."""
    rng = random(loss.name, *shape, "predictions")
    if loss.name in ("negative_log_likelihood", "binary_cross_entropy"):
        return rng.uniform(0.02, 0.98, shape)
    return rng.normal(-0.4, 2.0, shape)


@dataclass(frozen=True)
class Swap(fnn.Layer):
    """A layer as a user would write it, with two inputs: (u, v) -> u·s − v, s a parameter; not called W."""

    size: int

    @property
    def outputs(self):
        return self.size

    def init(self, key, dtype=jnp.float32):
        return {"s": jax.random.normal(key, (self.size,), dtype)}

    def forward(self, params, x):
        u, v = x
        s = jnp.broadcast_to(params["s"], u.shape)
        return u * s - v, u

    def backward(self, params, u, y_bar):
        # y = u ⊙ s − v
        s_bar = jnp.sum(y_bar * u, axis=tuple(range(u.ndim - 1)))
        return {"s": s_bar}, (y_bar * jnp.broadcast_to(params["s"], u.shape), -y_bar)


@dataclass(frozen=True)
class Dropout(fnn.Layer):
    """A random layer: the key is one of its inputs, (x, key) -> x ⊙ mask / keep; its cotangent is None."""

    keep: float = 0.7

    def forward(self, params, x):
        x, key = x
        mask = jax.random.bernoulli(key, self.keep, x.shape).astype(x.dtype) / jnp.asarray(self.keep, x.dtype)
        return x * mask, mask

    def backward(self, params, mask, y_bar):
        # y = x ⊙ mask
        return (), (y_bar * mask, None)


@dataclass(frozen=True)
class NetCase:
    """A net, its loss, and how many examples it sees; `lead` are the leading axes of x."""

    name: str
    net: fnn.Layer
    loss: fnn.Loss
    lead: tuple[int, ...] = (6,)
    labels: bool = True
    regularizer: fnn.Regularizer | None = None
    scale: float = 1.0

    def data(self, dtype):
        """(params, x, y), the biases and inputs away from zero, everything float32-representable."""
        rng = random(self.name)
        params = drawn(self.net, rng, dtype, self.scale)
        x = rng.normal(-0.2, 1.0, (*self.lead, self.net.inputs))
        y = targets(self.loss, (*self.lead, self.net.outputs), labels=self.labels)
        return params, rounded(x, dtype), rounded(y, dtype)

    @property
    def options(self):
        """The strength, if there is a regularizer."""
        if self.regularizer is None:
            return {}
        return {"strength": (0.01, 0.02) if self.regularizer == fnn.elastic_net else 0.03}


def _nets() -> list[NetCase]:
    cross_entropy, squared, affine = fnn.softmax_cross_entropy, fnn.squared_error, fnn.dense(4, 3)
    cases = [
        NetCase(f"hidden {name}", fnn.mlp(4, 5, 3, activation=a, output="identity"), cross_entropy)
        for name, a in ACTIVATIONS.items()
    ]
    for name, loss in LOSSES.items():
        probabilities = {"negative_log_likelihood": "softmax", "binary_cross_entropy": "sigmoid"}
        net = fnn.mlp(4, 5, 3, output=probabilities.get(name, "identity"))
        cases.append(NetCase(f"loss {name}", net, loss))
    cases += [
        NetCase("probability targets", fnn.mlp(4, 5, 3), cross_entropy, labels=False),
        NetCase("soft likelihood", fnn.mlp(4, 5, 3, output="softmax"), fnn.negative_log_likelihood, labels=False),
        NetCase("sum over examples", fnn.mlp(4, 5, 3), cross_entropy.sum),
        NetCase("one affine layer", fnn.mlp(4, 3), squared),
        NetCase("one unit each", fnn.mlp(1, 1, 1), squared, lead=(1,)),
        NetCase("one example", fnn.mlp(4, 5, 3), cross_entropy, lead=(1,)),
        NetCase("no leading axis", fnn.mlp(4, 5, 3), cross_entropy, lead=()),
        NetCase("two leading axes", fnn.mlp(4, 5, 3), cross_entropy, lead=(2, 3)),
        NetCase("one class", fnn.mlp(4, 5, 1), cross_entropy),
        NetCase("sum over no examples", fnn.mlp(4, 5, 3), cross_entropy.sum, lead=(0,)),
        NetCase("four layers", fnn.mlp(4, 6, 5, 6, 3, activation="sigmoid"), cross_entropy),
        NetCase("large weights", fnn.mlp(4, 5, 3), cross_entropy, scale=30.0),
        NetCase("small weights", fnn.mlp(4, 5, 3), cross_entropy, scale=1e-3),
        NetCase("skip", fnn.sequential(fnn.skip(fnn.dense(4, 4, activation="tanh")), fnn.dense(4, 3)), cross_entropy),
        NetCase("skip over two", fnn.skip(fnn.mlp(4, 7, 4, activation="silu")), squared),
        NetCase("repeated", fnn.sequential(fnn.repeated(fnn.dense(4, 4, activation="tanh"), 3), affine), cross_entropy),
        NetCase("repeated skip", fnn.repeated(fnn.skip(fnn.mlp(4, 5, 4, activation="elu")), 2), squared),
        NetCase("l2", fnn.mlp(4, 5, 3), cross_entropy, regularizer=fnn.l2),
        NetCase("l1", fnn.mlp(4, 5, 3), cross_entropy, regularizer=fnn.l1),
        NetCase("elastic net", fnn.mlp(4, 5, 3), cross_entropy, regularizer=fnn.elastic_net),
    ]  # fmt: skip
    return cases


NETS = _nets()
