"""Unusual ways to write a rule and to call one: other decorators, methods, callbacks, outputs and callers."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from experiments.detection.forms.drawing import Case, Draw, case, form, static

# ---- other ways to write it ------------------------------------------------------------------------------------------


@form("jaxopt")
def value_and_its_gradient_in_one(draw: Draw) -> Case:
    def with_pullback(x):
        root = jnp.sqrt(x**2 + 0.1)
        return root, lambda bar: bar * x / root

    soft_abs: Any = jax.custom_gradient(with_pullback)
    return case(lambda x: jnp.sum(soft_abs(x) ** 3), draw.normal(draw.rows))


@form("flax")
def rule_of_a_partial(draw: Draw) -> Case:
    def power(x, *, n):
        return x**n

    cube = jax.custom_vjp(functools.partial(power, n=3))
    cube.defvjp(lambda x: (x**3, x), lambda x, bar: (3 * bar * x**2,))
    return case(lambda x: jnp.sum(jnp.sin(cube(x))), draw.normal(draw.rows))


@form("flax")
def rule_called_by_keywords(draw: Draw) -> Case:
    @jax.custom_vjp
    def affine(x, scale, shift):
        return x * scale + shift

    affine.defvjp(
        lambda x, scale, shift: (affine(x, scale, shift), (x, scale)),
        lambda kept, bar: (bar * kept[1], jnp.sum(bar * kept[0]), jnp.sum(bar)),
    )
    return case(lambda x, a: jnp.sum(affine(shift=a, x=x, scale=2 * a) ** 2), draw.normal(draw.rows), draw.positive())


@form("equinox")
def rule_of_a_method(draw: Draw) -> Case:
    class Penalty:
        def __init__(self, rate: float, power: int) -> None:
            self.rate, self.power = rate, power

        @static(0)
        def cost(self, w):
            return self.rate * jnp.sum(w**self.power)

        def forward(self, w):
            return Penalty.cost(self, w), w

        def backward(self, w, bar):
            return (bar * self.rate * self.power * w ** (self.power - 1),)

        cost.defvjp(forward, backward)

    first, second = Penalty(0.1, 2), Penalty(0.3, 4)
    return case(lambda w: Penalty.cost(first, w) + Penalty.cost(second, w), draw.normal(draw.rows))


@form("equinox")
def tangents_of_a_dict(draw: Draw) -> Case:
    @jax.custom_jvp
    def moments(x):
        return {"mean": x.mean(), "square": jnp.mean(x**2), "size": x.size}

    @moments.defjvp
    def rule(primals, tangents):
        (x,), (t,) = primals, tangents
        none = np.zeros((), jax.dtypes.float0)
        return moments(x), {"mean": t.mean(), "square": 2 * jnp.mean(x * t), "size": none}

    def variance(x):
        m = moments(x)
        return m["size"] * (m["square"] - m["mean"] ** 2)

    return case(variance, draw.normal(draw.rows))


@form("flax")
def largest_and_where_it_is(draw: Draw) -> Case:
    @jax.custom_vjp
    def largest(x):
        return x.max(-1), x.argmax(-1)

    def backward(kept, bars):
        index, width = kept
        return (jax.nn.one_hot(index, len(width), dtype=bars[0].dtype) * bars[0][:, None],)

    largest.defvjp(lambda x: (largest(x), (x.argmax(-1), jnp.zeros(x.shape[-1]))), backward)

    def f(x):
        value, index = largest(x)
        return jnp.sum(value**2 * (1 + index))

    return case(f, draw.normal(draw.rows, draw.width))


@form("jaxopt")
def solver_on_the_host(draw: Draw) -> Case:
    """The forward pass calls back to NumPy, the rule is written with the solution."""

    def on_host(a, b):
        shape = jax.ShapeDtypeStruct(b.shape, b.dtype)
        return jax.pure_callback(lambda a, b: np.linalg.solve(a, b).astype(b.dtype), shape, a, b)

    @jax.custom_vjp
    def solve(a, b):
        return on_host(a, b)

    def forward(a, b):
        x = on_host(a, b)
        return x, (a, x)

    def backward(kept, bar):
        a, x = kept
        b_bar = on_host(a.T, bar)
        return -jnp.outer(b_bar, x), b_bar

    solve.defvjp(forward, backward)
    return case(lambda a, b: jnp.sum(solve(a, b) ** 2), draw.definite(3), draw.normal(3))


# ---- other ways to call it -------------------------------------------------------------------------------------------


def _tanh():
    @jax.custom_vjp
    def tanh(x):
        return jnp.tanh(x)

    tanh.defvjp(lambda x: (jnp.tanh(x), jnp.tanh(x)), lambda y, bar: (bar * (1 - y * y),))
    return tanh


@form("jaxopt")
def function_that_is_a_tree(draw: Draw) -> Case:
    """A function with its arrays, as one argument that is differentiated."""

    @jax.custom_vjp
    def applied(f, x):
        return f(x)

    applied.defvjp(lambda f, x: (f(x), (f, x)), lambda kept, bar: jax.vjp(lambda f, x: f(x), *kept)[1](bar))

    def layer(w, x):
        return jnp.tanh(x @ w)

    return case(
        lambda w, x: jnp.sum(applied(jax.tree_util.Partial(layer, w), x) ** 2),
        draw.normal(draw.width, 2), draw.normal(draw.rows, draw.width),
    )  # fmt: skip


@form("optax")
def one_step_of_training_inside(draw: Draw) -> Case:
    """The loss after a step of descent, through the gradient of a rule."""
    tanh = _tanh()
    x, y = draw.normal(draw.rows, draw.width), draw.normal(draw.rows)

    def loss(w):
        return jnp.mean((tanh(x @ w) - y) ** 2)

    return case(lambda w: loss(w - 0.1 * jax.grad(loss)(w)), draw.normal(draw.width))


@form("flax")
def rule_in_a_map(draw: Draw) -> Case:
    tanh = _tanh()
    return case(lambda x: jnp.sum(jax.lax.map(lambda row: tanh(row) * row, x)), draw.normal(draw.rows, 2))


@form("flax")
def rule_in_an_associative_scan(draw: Draw) -> Case:
    tanh = _tanh()
    return case(lambda x: jnp.sum(jax.lax.associative_scan(lambda a, b: tanh(a + b), x)), draw.normal(draw.rows))


@form("flax")
def rule_that_is_vectorized(draw: Draw) -> Case:
    @jax.custom_vjp
    def distance(a, b):
        return jnp.sqrt(jnp.sum((a - b) ** 2) + 1e-3)

    distance.defvjp(
        lambda a, b: (distance(a, b), (a - b, distance(a, b))),
        lambda kept, bar: (bar * kept[0] / kept[1], -bar * kept[0] / kept[1]),
    )
    every = jnp.vectorize(distance, signature="(n),(n)->()")
    return case(lambda a, b: jnp.sum(every(a[:, None], b)), draw.normal(draw.rows, 3), draw.normal(2, 3))


@form("flax")
def statistics_over_devices(draw: Draw) -> Case:
    """A rule that sums over the devices of a mesh, forward and backward."""

    @jax.custom_vjp
    def centred(x):
        return x - jax.lax.pmean(x.mean(0), "batch")

    centred.defvjp(lambda x: (centred(x), None), lambda _, bar: (bar - jax.lax.pmean(bar.mean(0), "batch"),))
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    mapped = jax.shard_map(centred, mesh=mesh, in_specs=P("batch"), out_specs=P("batch"))
    return case(lambda x: jnp.sum(mapped(x) ** 3), draw.normal(draw.rows, 2))


@form("course")
def layers_that_keep_their_inputs(draw: Draw) -> Case:
    """Objects with forward and backward, which keep between the two what they need."""

    class Dense:
        def __init__(self, p: dict[str, Any]) -> None:
            self.p = p

        def forward(self, x):
            self.x = x
            return x @ self.p["W"] + self.p["b"]

        def backward(self, bar):
            self.grads = {"W": self.x.T @ bar, "b": bar.sum(0)}
            return bar @ self.p["W"].T

    class Relu:
        def forward(self, x):
            self.on = x > 0
            return x * self.on

        def backward(self, bar):
            return bar * self.on

    x, y = np.asarray(draw.normal(draw.rows, draw.width)), np.asarray(draw.normal(draw.rows, 2))

    def run(params, back):
        layers = [Dense(params[0]), Relu(), Dense(params[1])]
        h = x
        for layer in layers:
            h = layer.forward(h)
        bar = (h - y) / len(y)
        for layer in reversed(layers) if back else ():
            bar = layer.backward(bar)
        return 0.5 * np.sum((h - y) ** 2) / len(y), [layers[0], layers[2]]

    params = [
        {"W": np.asarray(draw.normal(a, b)), "b": np.asarray(draw.normal(b))} for a, b in ((draw.width, 3), (3, 2))
    ]
    return case(
        lambda params: run(params, False)[0], params,
        gradient=lambda params: [each.grads for each in run(params, True)[1]],
    )  # fmt: skip


@form("course")
def flat_vector_for_a_minimizer(draw: Draw) -> Case:
    """All parameters in one vector, as minimizers take them, with the gradient beside the cost in one function."""
    x, y = np.asarray(draw.normal(draw.rows, 3)), np.asarray(draw.normal(draw.rows))

    def cost_and_gradient(theta):
        W, v = theta[:6].reshape(3, 2), theta[6:]
        h = np.tanh(x @ W)
        error = h @ v - y
        d = np.outer(error, v) * (1 - h**2)
        return 0.5 * np.sum(error**2), np.concatenate([(x.T @ d).ravel(), h.T @ error])

    return case(
        lambda theta: cost_and_gradient(theta)[0], np.asarray(draw.normal(8)),
        gradient=lambda theta: cost_and_gradient(theta)[1],
    )  # fmt: skip


@form("course")
def numbers_of_python(draw: Draw) -> Case:
    a = float(draw.normal())
    return case(lambda x: a * x**3 + 2.0 * x, 1.5, gradient=lambda x: 3 * a * x**2 + 2.0)
