"""The largest eigenvalue, with bounds, and the density of the spectrum, by Lanczos.

Promises, for the matrix H of a product at these parameters, up to the rounding of its products:
    lower                     λ_max ≥ θ, always: θ is a Rayleigh quotient
    residual r                some eigenvalue lies in [θ − r, θ + r]; nothing says that it is the largest
    upper                     λ_max ≤ upper with probability ≥ 1 − delta over the random start (derivation on the page)
    certain                   λ_max ≤ certain, always: the trace for Gauss-Newton, the Frobenius norm otherwise; wide
Every step is orthogonalized twice against all earlier ones. Refuses: no steps, a delta outside (0, 1).
Letters: P parameters, k steps, θ Ritz values, T the tridiagonal matrix.
Sources: Kuczyński & Woźniakowski 1992; Ghorbani, Krishnan & Xiao 2019 (the density).
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from fnn.checks import as_floating, require_key, require_size
from fnn.curvature.matrices import diagonal, matrix
from fnn.curvature.products import GaussNewtonProduct, Product, require_product
from fnn.regularizers import Strength
from fnn.types import Array, Key, Params, PyTree


@dataclass(frozen=True)
class LargestEigenvalue:
    """The algebraically largest eigenvalue λ_max of the matrix of a product. Made by `largest_eigenvalue`.

    >>> result = fnn.curvature.LargestEigenvalue(10.0, 0.1, 12.5, 0.01, float("inf"), 0.0, 41, ())
    >>> result.interval, result.largest_rate, result.rate_interval
    ((10.0, 12.5), 0.2, (0.16, 0.2))
    """

    value: float
    """θ, the best estimate: a Rayleigh quotient, so λ_max ≥ θ up to `rounding`."""
    residual: float
    """r = ‖H u − θ u‖ for its vector u of norm 1: some eigenvalue lies within r of θ."""
    upper: float
    """λ_max ≤ upper with probability at least 1 − delta; the certain bound if that is lower."""
    delta: float
    """The probability that `upper` fails; 0 if it is the certain bound."""
    certain: float
    """An upper bound that always holds; infinite if it was not asked for."""
    rounding: float
    """An estimate of what rounding may add on either side: eps of the dtype times √P + k times the largest |θ|."""
    products: int
    """How many products with the matrix were computed, without those of the certain bound."""
    vector: Params
    """u, in the structure of params."""

    @property
    def lower(self) -> float:
        """θ minus the rounding: λ_max is at least this."""
        return self.value - self.rounding

    @property
    def interval(self) -> tuple[float, float]:
        """[lower, upper] for λ_max."""
        return self.lower, self.upper

    @property
    def largest_rate(self) -> float:
        """2 / θ: gradient descent with a larger rate leaves the minimum of the quadratic model at this point (A11).

        It says no more than that: the net is not its quadratic model. Infinite if θ ≤ 0: no direction of positive
        curvature was found, so the model gives no limit.
        """
        return 2 / self.value if self.value > 0 else math.inf

    @property
    def rate_interval(self) -> tuple[float, float]:
        """[2 / upper, 2 / lower]; infinite if a bound is not positive."""
        low, high = (2 / bound if bound > 0 else math.inf for bound in (self.upper, self.lower))
        return low, high

    def __str__(self) -> str:
        chance = "certain" if not self.delta else f"probability {1 - self.delta:g}"
        certain = "" if math.isinf(self.certain) else f"; certain: at most {self.certain:.6g}"
        return (
            f"largest eigenvalue {self.value:.6g} in [{self.lower:.6g}, {self.upper:.6g}] ({chance}){certain}; "
            f"residual {self.residual:.3g} after {self.products} products; "
            f"largest rate {self.largest_rate:.6g} in [{self.rate_interval[0]:.6g}, {self.rate_interval[1]:.6g}]"
        )


@dataclass(frozen=True)
class Density:
    """The density of a spectrum: `density` (points,) at the eigenvalues `grid`; its integral is 1.

    Made by `spectrum_density`.

    >>> list(fnn.curvature.Density.__dataclass_fields__)
    ['grid', 'density', 'values', 'shares']
    """

    grid: np.ndarray
    density: np.ndarray
    values: np.ndarray
    """The Ritz values for every start, (starts, k)."""
    shares: np.ndarray
    """The share of the spectrum that each represents, (starts, k); each row sums to 1."""


def largest_eigenvalue(
    product: Product,
    params: Params,
    x: PyTree,
    y: Any,
    *,
    key: Key | None = None,
    start: Params | None = None,
    steps: int = 40,
    delta: float = 0.01,
    certain: bool | None = None,
    sample_weight: Array | None = None,
    strength: Strength | None = None,
) -> LargestEigenvalue:
    """Return the algebraically largest eigenvalue, its interval, and the largest learning rate of the quadratic model.

    Args:
        product: from `hessian_vector_product`, `gauss_newton_vector_product` or `fisher_vector_product`. params, x, y,
            sample_weight, strength: as the product takes them. key: of the random start. `start`: a vector of your own
            in its place, for which no probability holds: `upper` is then the certain bound.
        steps: Lanczos steps k, each a product; one more gives the residual. With few steps the interval is wide, but
            still valid.
        delta: the probability that `upper` may fail.
        certain: also compute a bound that always holds: it takes C + 1 gradients for Gauss-Newton (on by default), P
            products otherwise (off by default).

    Returns:
        a `LargestEigenvalue`; printing it shows all of the above.

    Raises:
        ValueError: steps below 1, delta outside (0, 1), a start of 0, values that are not finite.
        TypeError: neither key nor start, or both; integer parameters.

    >>> product = fnn.curvature.hessian_vector_product(fnn.mlp(2, 1), "half_squared_error")
    >>> params = ({"W": jnp.ones((2, 1)), "b": jnp.zeros(1)},)
    >>> x, y = jnp.array([[3.0, 4.0]]), jnp.zeros((1, 1))
    >>> found = fnn.curvature.largest_eigenvalue(product, params, x, y, key=jax.random.key(0))
    >>> round(found.value, 3), round(found.largest_rate, 4)  # 3² + 4² + 1, and 2 / 26
    (26.0, 0.0769)
    """
    require_product("largest_eigenvalue", product)
    steps = require_size("largest_eigenvalue", "steps", steps, "Each is one product: try 40.")
    if not 0 < delta < 1:
        raise ValueError(f"largest_eigenvalue: delta must lie between 0 and 1, got {delta}. Try 0.01.")
    flat, unravel = ravel_pytree(params)
    as_floating("largest_eigenvalue", "every leaf of params", flat)
    first = _start(flat, key, start)
    data, options = (params, x, y), {"sample_weight": sample_weight, "strength": strength}
    steps = min(steps, flat.size)
    top, residual, low, vector, exhausted = jax.device_get(_extremes(product, steps, first, data, options))
    theta, low = float(top), float(low)
    if not math.isfinite(theta):
        raise ValueError(
            f"largest_eigenvalue: the products must be finite, got {theta}. Check params and data with "
            "fnn.data.validate, and the gradient, first."
        )
    rounding = float(jnp.finfo(flat.dtype).eps) * (math.sqrt(flat.size) + steps) * max(abs(theta), abs(low))
    bound = math.inf
    if certain or (certain is None and type(product) is GaussNewtonProduct):
        bound = certain_bound(product, params, x, y, sample_weight=sample_weight, strength=strength)
    upper, chance = bound, 0.0
    if start is None:
        share = 0.0 if exhausted else missed_share(flat.size, steps, delta)
        # λ_max − θ ≤ share · (λ_max − λ_min), and the same at the lower end; see the page
        likely = theta + rounding + (share * (theta - low) / (1 - 2 * share) if share < 0.5 else math.inf)
        upper, chance = (likely, delta) if likely < bound else (bound, 0.0)
    return LargestEigenvalue(
        theta, float(residual), upper, chance, bound, rounding, steps + 1, unravel(jnp.asarray(vector, flat.dtype))
    )


def missed_share(size: int, steps: int, delta: float) -> float:
    """ε such that Lanczos misses an end of the spectrum by at most ε (λ_max − λ_min), with probability ≥ 1 − delta.

    It is tanh²(arcosh(1 / c) / (2 k − 1)), where both end components of a random unit vector in `size` dimensions
    exceed c in absolute value with probability ≥ 1 − delta; derived in docs/derivations/curvature.md.

    >>> round(fnn.curvature.missed_share(10_000, 40, 0.01), 4)
    0.017
    """
    if size == 1:
        return 0.0
    # P(|b| < c) ≤ c √(2 (n − 1) / π) for n ≥ 3; for n = 2 it is (2 / π) arcsin c; each end may fail with delta / 2
    c = delta / 2 * math.sqrt(math.pi / (2 * (size - 1))) if size > 2 else math.sin(math.pi * delta / 4)
    return math.tanh(math.acosh(1 / c) / (2 * steps - 1)) ** 2


def certain_bound(
    product: Product,
    params: Params,
    x: PyTree,
    y: Any,
    *,
    sample_weight: Array | None = None,
    strength: Strength | None = None,
) -> float:
    """A bound on λ_max that always holds: the trace of a Gauss-Newton matrix, the Frobenius norm of any other.

    The trace is the sum of the eigenvalues, which are not negative there, and takes C + 1 gradients. The Frobenius norm
    √Σ λ² takes P products, so it is for small nets.

    >>> product = fnn.curvature.gauss_newton_vector_product(fnn.mlp(2, 1), "half_squared_error")
    >>> params = ({"W": jnp.ones((2, 1)), "b": jnp.zeros(1)},)
    >>> round(fnn.curvature.certain_bound(product, params, jnp.array([[3.0, 4.0]]), jnp.zeros((1, 1))), 3)
    26.0
    """
    require_product("certain_bound", product)
    return float(_bound(product, (params, x, y), {"sample_weight": sample_weight, "strength": strength}))


def spectrum_density(
    product: Product,
    params: Params,
    x: PyTree,
    y: Any,
    *,
    key: Key,
    steps: int = 40,
    starts: int = 8,
    points: int = 400,
    width: float | None = None,
    sample_weight: Array | None = None,
    strength: Strength | None = None,
) -> Density:
    """Return the density of the eigenvalues, by stochastic Lanczos: a picture, without guarantees.

    From each random start Lanczos gives Ritz values and their shares; normal bumps around them, of standard deviation
    `width` (by default a hundredth of the spread), are averaged over the starts.

    Args:
        product, params, x, y, sample_weight, strength: as in `largest_eigenvalue`.
        key: of the random starts. steps, starts: products of each, and how many. points: of the grid.

    Raises:
        ValueError: steps or starts below 1, width not above 0.
        TypeError: key is not a random key; integer parameters.

    >>> product = fnn.curvature.hessian_vector_product(fnn.mlp(2, 1), "half_squared_error")
    >>> params = ({"W": jnp.ones((2, 1)), "b": jnp.zeros(1)},)
    >>> found = fnn.curvature.spectrum_density(
    ...     product, params, jnp.array([[3.0, 4.0]]), jnp.zeros((1, 1)), key=jax.random.key(0), starts=64)
    >>> mean = float((found.values * found.shares).sum(axis=1).mean())  # a third of the trace, 26 / 3, about
    >>> 7 < mean < 10.5
    True
    """
    require_product("spectrum_density", product)
    steps = require_size("spectrum_density", "steps", steps, "Each is one product: try 40.")
    starts = require_size("spectrum_density", "starts", starts, "Each is one run of Lanczos: try 8.")
    require_key("spectrum_density", key)
    flat, _ = ravel_pytree(params)
    as_floating("spectrum_density", "every leaf of params", flat)
    data, options = (params, x, y), {"sample_weight": sample_weight, "strength": strength}
    vectors = jax.random.normal(key, (starts, flat.size), flat.dtype)
    values, shares = map(np.asarray, _quadrature(product, min(steps, flat.size), vectors, data, options))
    spread = float(values.max() - values.min()) or max(1.0, abs(float(values.max())))
    width = spread / 100 if width is None else width
    if not width > 0:
        raise ValueError(f"spectrum_density: width must be above 0, got {width}. It is that of the bumps.")
    grid = np.linspace(values.min() - 4 * width, values.max() + 4 * width, points)
    bumps = np.exp(-0.5 * ((grid - values[..., None]) / width) ** 2) / (width * math.sqrt(2 * math.pi))
    return Density(grid, np.sum(shares[..., None] * bumps, axis=1).mean(axis=0), values, shares)


# ---- Lanczos --------------------------------------------------------------------------------------------------------


def _start(flat: Array, key: Key | None, start: Params | None) -> Array:
    if (key is None) == (start is None):
        raise TypeError(
            f"largest_eigenvalue: needs a key or a start, got {'neither' if key is None else 'both'}. "
            "Example: key=jax.random.key(0)."
        )
    if start is None:
        require_key("largest_eigenvalue", key)
        return jax.random.normal(jnp.asarray(key), flat.shape, flat.dtype)
    vector = ravel_pytree(start)[0]
    if vector.shape != flat.shape or not float(jnp.max(jnp.abs(vector))) > 0:
        got = "zeros or NaN" if vector.shape == flat.shape else f"{vector.size} numbers"
        raise ValueError(
            f"largest_eigenvalue: start must be a vector in the space of params, {flat.size} numbers that are not all "
            f"0, got {got}. Give key=jax.random.key(0) for a random one."
        )
    return vector.astype(flat.dtype)


def _on_flat(product: Product, data: tuple, options: dict[str, Any]) -> Callable[[Array], Array]:
    """The product as a function of one flat vector."""
    params, x, y = data
    unravel = ravel_pytree(params)[1]
    return lambda v: ravel_pytree(product(params, x, y, unravel(v), **options))[0]


class Krylov(NamedTuple):
    """The result of k Lanczos steps: T from `alphas` and `betas`, the basis (k, P), and where the space was
    exhausted."""

    alphas: Array
    betas: Array
    basis: Array
    empty: Array
    """True for the steps after the Krylov space was exhausted; their entries mean nothing."""
    exhausted: Array

    def tridiagonal(self, fill: Array) -> Array:
        """T, with `fill` on the empty part of the diagonal, decoupled from the rest."""
        alphas = jnp.where(self.empty, fill, self.alphas)
        return jnp.diag(alphas) + jnp.diag(self.betas[:-1], 1) + jnp.diag(self.betas[:-1], -1)

    def scale(self) -> Array:
        """More than any eigenvalue of T in absolute value (Gershgorin), and more than 0."""
        return 1 + 3 * jnp.maximum(jnp.max(jnp.abs(self.alphas)), jnp.max(self.betas))


def lanczos(apply: Callable[[Array], Array], first: Array, steps: int) -> Krylov:
    """`steps` steps from `first`, each orthogonalized twice against all earlier ones."""
    size, eps = first.size, jnp.finfo(first.dtype).eps
    first = first / jnp.linalg.norm(first)
    basis = jnp.zeros((steps, size), first.dtype).at[0].set(first)

    def step(carry: tuple, k: Array) -> tuple[tuple, tuple]:
        basis, scale, done = carry
        v = basis[k]
        w = apply(v)
        alpha = jnp.sum(v * w)
        for _ in range(2):
            w = w - basis.T @ (basis @ w)
        beta = jnp.linalg.norm(w)
        scale = jnp.maximum(scale, jnp.maximum(jnp.abs(alpha), beta))
        # what is left of w is rounding; nothing new follows
        over = done | (beta <= (math.sqrt(size) + steps) * eps * scale)
        beta = jnp.where(over, jnp.zeros_like(beta), beta)
        following = w / jnp.where(over, jnp.ones_like(beta), beta)
        following = jnp.where(over, jnp.zeros_like(w), following)
        basis = jax.lax.cond(k + 1 < steps, lambda b: b.at[k + 1].set(following), lambda b: b, basis)
        return (basis, scale, over), (alpha, beta, done)

    carry = (basis, jnp.zeros((), first.dtype), jnp.array(False))
    (basis, _, over), (alphas, betas, empty) = jax.lax.scan(step, carry, jnp.arange(steps))
    return Krylov(alphas, betas, basis, empty, over)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _extremes(
    product: Product, steps: int, first: Array, data: tuple, options: dict[str, Any]
) -> tuple[Array, Array, Array, Array, Array]:
    """(θ, ‖H u − θ u‖, the smallest Ritz value, u, whether the Krylov space was exhausted)."""
    apply = _on_flat(product, data, options)
    krylov = lanczos(apply, first, steps)
    # the empty part must be neither the largest nor the smallest
    vectors = jnp.linalg.eigh(krylov.tridiagonal(-krylov.scale()))[1]
    low = jnp.linalg.eigvalsh(krylov.tridiagonal(krylov.scale()))[0]
    u = krylov.basis.T @ vectors[:, -1]
    u = u / jnp.linalg.norm(u)
    image = apply(u)
    theta = jnp.sum(u * image)
    return theta, jnp.linalg.norm(image - theta * u), low, u, krylov.exhausted


@functools.partial(jax.jit, static_argnums=(0, 1))
def _quadrature(product: Product, steps: int, starts: Array, data: tuple, options: dict[str, Any]) -> tuple:
    apply = _on_flat(product, data, options)

    def one(start: Array) -> tuple[Array, Array]:
        krylov = lanczos(apply, start, steps)
        # the empty part has no share of the start, and must not widen the spread
        values, vectors = jnp.linalg.eigh(krylov.tridiagonal(krylov.alphas[0]))
        return values, vectors[0] ** 2

    return jax.lax.map(one, starts)


@functools.partial(jax.jit, static_argnums=0)
def _bound(product: Product, data: tuple, options: dict[str, Any]) -> Array:
    if type(product) is GaussNewtonProduct:
        return jnp.sum(ravel_pytree(diagonal(product, *data, **options))[0])
    return jnp.linalg.norm(matrix(product, *data, **options))
