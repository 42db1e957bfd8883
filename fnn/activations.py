"""Activation functions, each beside its hand-written derivative.

Promises: every activation is a value (equal by value, hashable, printed by its name) with
    forward(z) -> (a, residuals)              what backward needs, and nothing more
    backward(residuals, a_bar) -> z_bar       z_bar = σ'(z) ⊙ a_bar
    curvature(residuals, a_bar, z_dot)        σ''(z) ⊙ a_bar ⊙ z_dot, the second derivative beside the first
for any shape of z. NaN in gives NaN out (in the whole row of a softmax); ±∞ gives the limits of value and derivative
(softmax alone has none at +∞); a product that tends to 0 is 0 where a factor overflows. The value of the derivative at
a kink is stated and tested.
Refuses: integer inputs. Letters: z pre-activation, a activation, both (…); K classes on the last axis of softmax.

Each derivative, first and second, is written once in the package, here. Sources: claims A6, A14, B5, B7, B17, C10.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from fnn.checks import as_floating, require_name, require_pair, require_shape
from fnn.types import Array, Record, Residuals, reset_stale

#: The records, and the classes that take a number; the class of any other record is `type(record)`.
__all__ = [
    "Activation",
    "Elu",
    "LeakyRelu",
    "elu",
    "gelu",
    "gelu_tanh",
    "get",
    "hard_threshold",
    "identity",
    "leaky_relu",
    "relu",
    "sigmoid",
    "sign",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]


@dataclass(frozen=True, repr=False)
class Activation(Record):
    """The record of an activation function: `forward`, `backward`, and a call, which returns the value alone.

    To write your own, subclass it and define both methods; parameters are fields of a frozen dataclass:

    >>> import jax.numpy as jnp
    >>> from fnn.activations import Activation
    >>> class Square(Activation):
    ...     def forward(self, z):
    ...         return z * z, z
    ...     def backward(self, z, a_bar):
    ...         return 2 * z * a_bar
    >>> float(Square()(jnp.array(3.0))), float(Square().derivative(jnp.array(3.0)))
    (9.0, 6.0)
    """

    expected: ClassVar[str] = ""
    """Why `backward` is deliberately not the derivative of `forward` ("straight-through"); `check` then says so."""

    piecewise_linear: ClassVar[bool] = False
    """True where σ'' is 0 wherever it exists: relu and its kin."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        reset_stale(cls, Activation, "tangent", "forward", "backward")
        reset_stale(cls, Activation, "curvature", "forward", "backward")
        reset_stale(cls, Activation, "piecewise_linear", "forward", "backward")

    def __call__(self, z: Array) -> Array:
        """σ(z), the same shape as z. Raises `TypeError` for integers."""
        return self.checked_forward(as_floating(self.name, "z", z))[0]

    def forward(self, z: Array) -> tuple[Array, Residuals]:
        """Return (σ(z), what backward needs)."""
        raise TypeError(f"{type(self).__name__} must define forward(z) -> (a, residuals).")

    def checked_forward(self, z: Array) -> tuple[Array, Residuals]:
        """What `forward` returns; raises unless it is a pair, of which the activation has the shape of z."""
        where = f"{self.name}.forward"
        a, residuals = require_pair(where, self.forward(z), "(a, residuals)")
        require_shape(where, "a", jnp.shape(a), jnp.shape(z), "An activation keeps the shape of z.")
        return a, residuals

    def backward(self, residuals: Residuals, a_bar: Array) -> Array:
        """Return z_bar, of the shape of z, from the cotangent of the activation."""
        raise TypeError(f"{type(self).__name__} must define backward(residuals, a_bar) -> z_bar.")

    def tangent(self, residuals: Residuals, z_dot: Array) -> Array:
        """Return a_dot, the change of the activation along z_dot.

        Elementwise functions and softmax have symmetric Jacobians, so this is `backward`; an activation whose Jacobian
        is not symmetric defines its own.
        """
        return self.backward(residuals, z_dot)

    def curvature(self, residuals: Residuals, a_bar: Array, z_dot: Array) -> Array:
        """Return the change of z_bar along z_dot at a fixed a_bar: σ''(z) ⊙ a_bar ⊙ z_dot, entry by entry."""
        raise TypeError(
            f"{type(self).__name__} must define curvature(residuals, a_bar, z_dot) for second derivatives, got a class "
            "without it beside its backward. An elementwise activation returns σ''(z) * a_bar * z_dot."
        )

    def derivative(self, z: Array) -> Array:
        """σ'(z), entry by entry, read off the backward rule. For elementwise activations only."""
        z = as_floating(self.name, "z", z)
        return self.backward(self.forward(z)[1], jnp.ones_like(z))


class Identity(Activation):
    """a = z, a' = 1 (claim B5: the linear activation).

    >>> z = jnp.array([-2.0, 0.0, 1.0])
    >>> fnn.identity(z).tolist(), fnn.identity.derivative(z).tolist()
    ([-2.0, 0.0, 1.0], [1.0, 1.0, 1.0])
    """

    def forward(self, z: Array) -> tuple[Array, Residuals]:
        return z, ()

    def backward(self, residuals: Residuals, a_bar: Array) -> Array:
        return a_bar

    def curvature(self, residuals: Residuals, a_bar: Array, z_dot: Array) -> Array:
        return jnp.zeros_like(z_dot)

    piecewise_linear = True


class Sigmoid(Activation):
    """a = 1 / (1 + e^(−z)), a' = a (1 − a). Keeps the output. `jax.nn.sigmoid` does not overflow (claim C10).

    >>> [round(float(a), 4) for a in fnn.sigmoid(jnp.array([-2.0, 0.0, 1.0]))]
    [0.1192, 0.5, 0.7311]
    >>> [round(float(slope), 4) for slope in fnn.sigmoid.derivative(jnp.array([-2.0, 0.0, 1.0]))]
    [0.105, 0.25, 0.1966]
    """

    def forward(self, z: Array) -> tuple[Array, Residuals]:
        a = jax.nn.sigmoid(z)
        return a, a

    def backward(self, residuals: Residuals, a_bar: Array) -> Array:
        # a = σ(z)
        a = residuals
        return a_bar * (a * (1 - a))

    def curvature(self, residuals: Residuals, a_bar: Array, z_dot: Array) -> Array:
        # a' = a (1 − a), so a'' = a' (1 − 2a)
        a = residuals
        return a_bar * z_dot * (a * (1 - a) * (1 - 2 * a))


class Tanh(Activation):
    """a = tanh z, a' = 1 − a². Keeps the output.

    >>> [round(float(a), 4) for a in fnn.tanh(jnp.array([-2.0, 0.0, 1.0]))]
    [-0.964, 0.0, 0.7616]
    >>> [round(float(slope), 4) for slope in fnn.tanh.derivative(jnp.array([-2.0, 0.0, 1.0]))]
    [0.0707, 1.0, 0.42]
    """

    def forward(self, z: Array) -> tuple[Array, Residuals]:
        a = jnp.tanh(z)
        return a, a

    def backward(self, residuals: Residuals, a_bar: Array) -> Array:
        # a = tanh(z); (1 − a)(1 + a) keeps the digits that 1 − a² loses where |a| is near 1
        a = residuals
        return a_bar * ((1 - a) * (1 + a))

    def curvature(self, residuals: Residuals, a_bar: Array, z_dot: Array) -> Array:
        # a' = 1 − a², so a'' = −2 a a'
        a = residuals
        return a_bar * z_dot * (-2 * a * ((1 - a) * (1 + a)))


class Relu(Activation):
    """a = max(z, 0), a' = 1[z > 0], a'' = 0; at the kink z = 0 both derivatives are 0. Keeps the output.

    >>> z = jnp.array([-2.0, 0.0, 1.0])
    >>> fnn.relu(z).tolist(), fnn.relu.derivative(z).tolist()
    ([0.0, 0.0, 1.0], [0.0, 0.0, 1.0])
    """

    def forward(self, z: Array) -> tuple[Array, Residuals]:
        # z <= 0 is false for NaN, so NaN stays NaN; max(z, 0) would have derivative ½ at 0 under autodiff
        a = jnp.where(z <= 0, jnp.zeros_like(z), z)
        return a, a

    def backward(self, residuals: Residuals, a_bar: Array) -> Array:
        # a = z where z > 0, else 0; so a > 0 exactly where z > 0
        a = residuals
        return jnp.where(a <= 0, jnp.zeros_like(a_bar), a_bar)

    def curvature(self, residuals: Residuals, a_bar: Array, z_dot: Array) -> Array:
        # a' is constant on either side of the kink
        return jnp.zeros_like(z_dot)

    piecewise_linear = True


@dataclass(frozen=True, repr=False)
class LeakyRelu(Activation):
    """a = z where z > 0, else slope·z; the derivative at 0 is `slope`. Keeps the output, whose sign is that of z.

    Raises `ValueError` for a slope outside [0, ∞): with a negative one the output would not show the sign of z.

    >>> half = fnn.activations.LeakyRelu(slope=0.5)
    >>> half(jnp.array([-2.0, 3.0])).tolist(), half.derivative(jnp.array([-2.0, 3.0])).tolist()
    ([-1.0, 3.0], [0.5, 1.0])
    """

    slope: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.slope < math.inf:
            raise ValueError(f"leaky_relu: slope must be finite and at least 0, got {self.slope}. Try 0.01.")

    def forward(self, z: Array) -> tuple[Array, Residuals]:
        # a slope of 0 turns −∞ into 0 too
        below = z if self.slope else _at_least(z, -1.0)
        a = jnp.where(z <= 0, self.slope * below, z)
        return a, a

    def backward(self, residuals: Residuals, a_bar: Array) -> Array:
        # a = z where z > 0, else slope·z
        a = residuals
        return jnp.where(a <= 0, self.slope * a_bar, a_bar)

    def curvature(self, residuals: Residuals, a_bar: Array, z_dot: Array) -> Array:
        # a' is constant on either side of the kink
        return jnp.zeros_like(z_dot)

    piecewise_linear = True


@dataclass(frozen=True, repr=False)
class Elu(Activation):
    """a = z where z > 0, else alpha (e^z − 1); a' = 1 or alpha e^z = a + alpha; at 0 it is alpha. Keeps the output.

    Raises `ValueError` unless alpha > 0 and finite.

    >>> [round(float(a), 4) for a in fnn.elu(jnp.array([-2.0, 0.0, 1.0]))]
    [-0.8647, 0.0, 1.0]
    >>> [round(float(slope), 4) for slope in fnn.elu.derivative(jnp.array([-2.0, 0.0, 1.0]))]
    [0.1353, 1.0, 1.0]
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"elu: alpha must be finite and above 0, got {self.alpha}. Try 1.")

    def forward(self, z: Array) -> tuple[Array, Residuals]:
        # e^z only for z ≤ 0: the branch that is not chosen must not overflow
        a = jnp.where(z <= 0, self.alpha * jnp.expm1(jnp.where(z <= 0, z, jnp.zeros_like(z))), z)
        return a, a

    def backward(self, residuals: Residuals, a_bar: Array) -> Array:
        # a = alpha (e^z − 1) where z ≤ 0, so alpha e^z = a + alpha
        a = residuals
        return jnp.where(a <= 0, (a + self.alpha) * a_bar, a_bar)

    def curvature(self, residuals: Residuals, a_bar: Array, z_dot: Array) -> Array:
        # a' = alpha e^z where z ≤ 0, which is its own derivative; a' = 1 elsewhere
        a = residuals
        return a_bar * z_dot * jnp.where(a <= 0, a + self.alpha, jnp.zeros_like(a))


class Softplus(Activation):
    """a = ln(1 + e^z), a' = σ(z). Keeps z.

    >>> [round(float(a), 4) for a in fnn.softplus(jnp.array([-2.0, 0.0, 1.0]))]
    [0.1269, 0.6931, 1.3133]
    >>> [round(float(slope), 4) for slope in fnn.softplus.derivative(jnp.array([-2.0, 0.0, 1.0]))]
    [0.1192, 0.5, 0.7311]
    """

    def forward(self, z: Array) -> tuple[Array, Residuals]:
        return jnp.logaddexp(z, jnp.zeros_like(z)), z

    def backward(self, residuals: Residuals, a_bar: Array) -> Array:
        # a = ln(1 + e^z)
        z = residuals
        return a_bar * jax.nn.sigmoid(z)

    def curvature(self, residuals: Residuals, a_bar: Array, z_dot: Array) -> Array:
        # a' = σ(z), so a'' = σ(z) σ(−z)
        z = residuals
        return a_bar * z_dot * (jax.nn.sigmoid(z) * jax.nn.sigmoid(-z))


class Gelu(Activation):
    """a = z Φ(z) with the normal distribution function Φ; a' = Φ(z) + z φ(z). Keeps z. (Hendrycks & Gimpel 2016)

    >>> [round(float(a), 4) for a in fnn.gelu(jnp.array([-2.0, 0.0, 1.0]))]
    [-0.0455, 0.0, 0.8413]
    >>> [round(float(slope), 4) for slope in fnn.gelu.derivative(jnp.array([-2.0, 0.0, 1.0]))]
    [-0.0852, 0.5, 1.0833]
    """

    # φ(100) = e^−5000 and Φ(−100) are 0 in every dtype, so beyond that only z itself matters.
    saturated = 100.0

    def forward(self, z: Array) -> tuple[Array, Residuals]:
        return _at_least(z, -self.saturated) * _normal_cdf(z), z

    def backward(self, residuals: Residuals, a_bar: Array) -> Array:
        # a = z Φ(z), Φ' = φ, φ(z) = e^(−z²/2) / √(2π)
        z = residuals
        inside = _within(z, self.saturated)
        return a_bar * (_normal_cdf(z) + inside * _normal_density(z))

    def curvature(self, residuals: Residuals, a_bar: Array, z_dot: Array) -> Array:
        # a' = Φ + z φ and φ' = −z φ, so a'' = φ (2 − z²)
        z = residuals
        inside = _within(z, self.saturated)
        return a_bar * z_dot * (2 * _normal_density(z) - inside * (inside * _normal_density(z)))


class GeluTanh(Activation):
    """a = ½ z (1 + tanh u), u = √(2/π)(z + 0.044715 z³), the approximation of gelu in its paper. Keeps z and σ(2u).

    Computed as z σ(2u), the same function: ½ (1 + tanh u) = σ(2u), without the cancellation where tanh u is near −1.

    >>> [round(float(a), 4) for a in fnn.gelu_tanh(jnp.array([-2.0, 0.0, 1.0]))]
    [-0.0454, 0.0, 0.8412]
    >>> [round(float(slope), 4) for slope in fnn.gelu_tanh.derivative(jnp.array([-2.0, 0.0, 1.0]))]
    [-0.0861, 0.5, 1.083]
    """

    # √(2/π) makes the slope of ½ (1 + tanh u) at 0 that of Φ; 0.044715 is the cubic coefficient of the paper.
    scale = math.sqrt(2 / math.pi)
    cubic = 0.044715
    # 2u(100) = 7e4: s is 0 or 1 beyond, in every dtype, and 100² is finite in every dtype.
    saturated = 100.0

    def forward(self, z: Array) -> tuple[Array, Residuals]:
        s = jax.nn.sigmoid(2 * self.scale * (z + self.cubic * (z * z * z)))
        return _at_least(z, -self.saturated) * s, (z, s)

    def backward(self, residuals: Residuals, a_bar: Array) -> Array:
        # a = z s, s = σ(2u), 2u' = 2 scale (1 + 3 cubic z²)
        z, s = residuals
        # where s (1 − s) is 0 neither z nor z² may be infinite: float16 ends at 256²
        inside = _within(z, self.saturated)
        slope = 2 * self.scale * (1 + 3 * self.cubic * (inside * inside))
        return a_bar * (s + inside * (s * (1 - s)) * slope)

    def curvature(self, residuals: Residuals, a_bar: Array, z_dot: Array) -> Array:
        # a' = s + z s' with s' = s (1 − s) w', w = 2u; so a'' = 2 s' + z s'', s'' = s (1 − s) ((1 − 2s) w'² + w'')
        z, s = residuals
        inside = _within(z, self.saturated)
        slope = 2 * self.scale * (1 + 3 * self.cubic * (inside * inside))
        bend = 2 * self.scale * (6 * self.cubic) * inside
        # the products with s (1 − s) come first: far out it is 0, and z w'² alone would overflow
        first = (s * (1 - s)) * slope
        second = (1 - 2 * s) * (first * slope) + (s * (1 - s)) * bend
        return a_bar * z_dot * (2 * first + inside * second)


class Silu(Activation):
    """a = z σ(z), a' = s + a (1 − s) with s = σ(z). Keeps z and s. Also called swish.

    >>> [round(float(a), 4) for a in fnn.silu(jnp.array([-2.0, 0.0, 1.0]))]
    [-0.2384, 0.0, 0.7311]
    >>> [round(float(slope), 4) for slope in fnn.silu.derivative(jnp.array([-2.0, 0.0, 1.0]))]
    [-0.0908, 0.5, 0.9277]
    """

    # σ(−1000) = e^−1000 is 0 in every dtype, and σ(1000) is 1.
    saturated = 1000.0

    def forward(self, z: Array) -> tuple[Array, Residuals]:
        s = jax.nn.sigmoid(z)
        return _at_least(z, -self.saturated) * s, (z, s)

    def backward(self, residuals: Residuals, a_bar: Array) -> Array:
        # a = z s, s = σ(z), s' = s (1 − s)
        z, s = residuals
        return a_bar * (s + _within(z, self.saturated) * (s * (1 - s)))

    def curvature(self, residuals: Residuals, a_bar: Array, z_dot: Array) -> Array:
        # a' = s + z s' and s'' = s' (1 − 2s), so a'' = s' (2 + z (1 − 2s))
        z, s = residuals
        return a_bar * z_dot * ((s * (1 - s)) * (2 + _within(z, self.saturated) * (1 - 2 * s)))


class Sign(Activation):
    """a = +1 where z ≥ 0, −1 where z < 0 (claim A1: sign(0) = +1); the derivative is 0 everywhere.

    At the jump it is 0 by choice. No gradient passes through a sign, so the weights below it do not learn (claim A14);
    this is why the perceptron has its own learning rule.

    >>> fnn.sign(jnp.array([-2.0, 0.0, 1.0])).tolist()
    [-1.0, 1.0, 1.0]
    >>> fnn.sign.derivative(jnp.array([-2.0, 0.0, 1.0])).tolist()
    [0.0, 0.0, 0.0]
    """

    def forward(self, z: Array) -> tuple[Array, Residuals]:
        return _step(z, below=-1.0), ()

    def backward(self, residuals: Residuals, a_bar: Array) -> Array:
        return jnp.zeros_like(a_bar)

    def curvature(self, residuals: Residuals, a_bar: Array, z_dot: Array) -> Array:
        return jnp.zeros_like(z_dot)

    piecewise_linear = True


class HardThreshold(Activation):
    """a = 1 where z ≥ 0, else 0; the derivative is 0 everywhere, so nothing below it learns (claims A14, B5).

    >>> fnn.hard_threshold(jnp.array([-2.0, 0.0, 1.0])).tolist()
    [0.0, 1.0, 1.0]
    >>> fnn.hard_threshold.derivative(jnp.array([-2.0, 0.0, 1.0])).tolist()
    [0.0, 0.0, 0.0]
    """

    def forward(self, z: Array) -> tuple[Array, Residuals]:
        return _step(z, below=0.0), ()

    def backward(self, residuals: Residuals, a_bar: Array) -> Array:
        return jnp.zeros_like(a_bar)

    def curvature(self, residuals: Residuals, a_bar: Array, z_dot: Array) -> Array:
        return jnp.zeros_like(z_dot)

    piecewise_linear = True


class Softmax(Activation):
    """a_k = e^(z_k) / Σ_j e^(z_j) over the last axis: a vector-valued activation (claim A6). Keeps the output.

    The Jacobian is ∂a_k/∂z_j = a_k (1[k = j] − a_j), so z_bar = a ⊙ (a_bar − ⟨a, a_bar⟩). Adding a constant to all
    z_k changes nothing (claim B15), so the largest is subtracted first and e^z cannot overflow.

    >>> [round(float(p), 4) for p in fnn.softmax(jnp.array([-3.44, 1.16, -0.81, 3.91]))]
    [0.0006, 0.0596, 0.0083, 0.9315]
    """

    def forward(self, z: Array) -> tuple[Array, Residuals]:
        if not z.ndim:
            raise ValueError("softmax: z must hold K classes on its last axis, got a single number. Give z[None].")
        # the sum is at most K, which float16 holds up to 65504 classes
        wide = z.shape[-1] > float(jnp.finfo(z.dtype).max)
        a = jax.nn.softmax(z.astype(jnp.float32), axis=-1).astype(z.dtype) if wide else jax.nn.softmax(z, axis=-1)
        return a, a

    def backward(self, residuals: Residuals, a_bar: Array) -> Array:
        # a = softmax(z)
        a = residuals
        # a (a_bar − Σ a a_bar) multiplied out, so that where a is one-hot the two terms are the same number and
        # cancel exactly; in the factored form a compiler that fuses the product leaves an ulp of a_bar
        share = a * a_bar
        return share - a * jnp.sum(share, axis=-1, keepdims=True)

    def curvature(self, residuals: Residuals, a_bar: Array, z_dot: Array) -> Array:
        # z_bar = a ⊙ a_bar − a ⟨a, a_bar⟩, and a changes by a_dot along z_dot; the Jacobian is symmetric
        a = residuals
        a_dot = self.tangent(a, z_dot)
        mean = jnp.sum(a * a_bar, axis=-1, keepdims=True)
        return a_dot * (a_bar - mean) - a * jnp.sum(a_dot * a_bar, axis=-1, keepdims=True)

    def derivative(self, z: Array) -> Array:
        raise TypeError(
            "softmax has a Jacobian, not an elementwise derivative. Use softmax.backward(residuals, a_bar)."
        )


def _at_least(z: Array, low: float) -> Array:
    """z, but `low` where it is smaller: a factor beside one that is 0 there, so that −∞ does not give NaN."""
    return jnp.where(z < low, jnp.full_like(z, low), z)


def _within(z: Array, bound: float) -> Array:
    """z, but 0 where |z| is larger than the bound: a factor beside one that is 0 there."""
    return jnp.where(jnp.abs(z) > bound, jnp.zeros_like(z), z)


def _normal_cdf(z: Array) -> Array:
    """Φ(z) = ½ erfc(−z/√2), which is accurate in the left tail, where ½ (1 + erf) cancels."""
    return 0.5 * jax.lax.erfc(-z * math.sqrt(0.5))


def _normal_density(z: Array) -> Array:
    """φ(z) = e^(−z²/2) / √(2π)."""
    return jnp.exp(-0.5 * z * z) * (1 / math.sqrt(2 * math.pi))


def _step(z: Array, below: float) -> Array:
    """1 where z ≥ 0, `below` where z < 0, NaN where z is NaN."""
    return jnp.where(z < 0, jnp.full_like(z, below), jnp.where(z >= 0, jnp.ones_like(z), z))


identity = Identity()
sigmoid = Sigmoid()
tanh = Tanh()
relu = Relu()
leaky_relu = LeakyRelu()
elu = Elu()
softplus = Softplus()
gelu = Gelu()
gelu_tanh = GeluTanh()
silu = Silu()
sign = Sign()
hard_threshold = HardThreshold()
softmax = Softmax()

#: Every activation of the package by its name.
ACTIVATIONS: dict[str, Activation] = {
    a.name: a
    for a in (
        identity, sigmoid, tanh, relu, leaky_relu, elu, softplus,
        gelu, gelu_tanh, silu, sign, hard_threshold, softmax,
    )
}  # fmt: skip


def get(choice: str | Activation) -> Activation:
    """Return the activation with this name, or the record itself. An unknown name raises and suggests the nearest.

    >>> fnn.activations.get("relu")
    relu
    >>> fnn.activations.get("rleu")
    Traceback (most recent call last):
    ...
    ValueError: unknown activation 'rleu'; perhaps 'relu'? Known: elu, gelu, ...
    """
    return require_name(Activation, ACTIVATIONS, choice)
