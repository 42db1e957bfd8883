"""Rules of matrices, windows, transforms, complex numbers and special functions: each beside two witnesses.

In float64, entry by entry: autodiff, and central differences, which know no derivative at all. The code that is written
is run beside the rules. A rule that is scaled, dropped or turned must be seen.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import fnn
from fnn.glassbox import gradient_by_rules
from fnn.glassbox.table import TABLE
from fnn.glassbox.trace import traced
from tests import tolerances
from tests.cases import random

draw = random("values")
V, W = draw.uniform(0.2, 0.8, 4), draw.uniform(0.2, 0.8, 4)
A = draw.normal(size=(3, 3)) + 3 * np.eye(3)
S = A @ A.T + np.diag([1.0, 3.0, 6.0])
TALL, B = draw.normal(size=(4, 3)), draw.normal(size=(3, 2))
IMAGE, KERNEL = draw.normal(size=(2, 5, 6, 2)), draw.normal(size=(3, 2, 2, 4))
AXES = ("NHWC", "HWIO", "NHWC")
AT = np.array([1, 1, 2, 9])
GROUPS = np.array([1, 2])  # the last of four rows belongs to none


def spd(x):
    """A symmetric matrix, so that what a step reads of one triangle counts in both."""
    return (x + x.T) / 2


def signless(*arrays):
    """Numbers that do not depend on the signs that a factorization leaves open."""
    return tuple(array * array for array in arrays)


def pool(operation, start):
    return lambda x: lax.reduce_window(x, start, operation, (1, 3, 2, 1), (1, 2, 1, 1), "SAME")


def placed(x):
    mesh = jax.make_mesh((1,), ("i",), axis_types=(AxisType.Auto,))
    return lax.with_sharding_constraint(x * x, NamedSharding(mesh, P()))


#: {group: {what: (the primitives whose rules it is about, the function, its arguments)}}
CASES = {
    "complex": {
        "parts": (
            "real imag complex",
            lambda x: jnp.imag(lax.complex(x, x * x) * (2 - 1j)) + jnp.real(jnp.exp(1j * x)), V,
        ),
        "conjugate": ("conj", lambda x: jnp.real(jnp.conj(jnp.exp(1j * x)) * (x + 2j * x * x)), V),
        "size": ("abs", lambda x: jnp.abs(jnp.sin(x + 1j * x * x)), V),
        "holomorphic": ("log", lambda x: jnp.real(jnp.log(x + 2j) * jnp.sqrt(x + 1j) + (x + 1j) ** 2.5 / (x + 3j)), V),
        "argument": ("dot_general", lambda z: jnp.abs(z @ z + jnp.conj(z)), A + 1j * S),
        "angle": ("atan2", lambda x: jnp.angle(x + 1j * x * x), V),
    },
    "transforms": {
        "fft": ("fft", lambda x: jnp.abs(jnp.fft.fft(x)) ** 2, V),
        "ifft": ("fft", lambda x: jnp.real(jnp.fft.ifft(x * (1 + 2j))), V),
        "rfft": ("fft", lambda x: jnp.imag(jnp.fft.rfft(x, 5) * (1 + 2j)), V),
        "irfft": ("fft", lambda x: jnp.fft.irfft(jnp.fft.rfft(x) * (1 + 1j)), V),
        "irfft of odd length": ("fft", lambda x: jnp.fft.irfft(jnp.fft.rfft(x) * (1 + 1j), 5), V),
        "two axes": ("fft", lambda x: jnp.fft.irfft2(jnp.fft.rfft2(x) * (1 + 1j), (3, 4)), A),
    },
    "systems": {
        "solve": ("custom_linear_solve", jnp.linalg.solve, A, B),
        "conjugate gradients": (
            "custom_linear_solve",
            lambda a, b: jax.scipy.sparse.linalg.cg(lambda x: a @ x, b, tol=1e-12)[0], S, V[:3],
        ),
        "inverse": ("custom_linear_solve", jnp.linalg.inv, A),
        "determinant": ("lu", jnp.linalg.det, np.pad(S, (0, 1)) + np.eye(4)),
        "lower": ("triangular_solve", lambda a, b: lax.linalg.triangular_solve(a, b, left_side=True, lower=True), A, B),
        "upper from the right": (
            "triangular_solve", lambda a, b: lax.linalg.triangular_solve(a, b.T, transpose_a=True), A, B,
        ),
        "unit diagonal": (
            "triangular_solve",
            lambda a, b: lax.linalg.triangular_solve(a, b.T, lower=True, unit_diagonal=True), A, B,
        ),
        "complex triangle": (
            "triangular_solve",
            lambda a, b: jnp.imag(
                lax.linalg.triangular_solve(a + 1j * a * a, b + 0j, left_side=True, transpose_a=True, conjugate_a=True)
            ), A, B,
        ),
        "three diagonals": (
            "tridiagonal_solve",
            lambda a, b, c, d: lax.linalg.tridiagonal_solve(a * np.array([0, 1, 1]), b, c * np.array([1, 1, 0]), d),
            V[:3], V[:3] + 3, W[:3], B,
        ),
    },
    "factors": {
        "cholesky": ("cholesky", jnp.linalg.cholesky, S),
        "complex cholesky": ("cholesky", lambda a: jnp.abs(jnp.linalg.cholesky(a + 1j * (a @ A - (a @ A).T) / 9)), S),
        "lu": ("lu", lambda a: lax.linalg.lu(a)[0], A),
        "tall lu": ("lu", lambda a: lax.linalg.lu(a)[0], TALL),
        "wide lu": ("lu", lambda a: lax.linalg.lu(a.T)[0], TALL),
        "qr": ("qr", lambda a: signless(*jnp.linalg.qr(a)), TALL),
        "r alone": ("qr", lambda a: signless(jnp.linalg.qr(a, mode="r")), A),
        "eigh": ("eigh", lambda a: signless(*jnp.linalg.eigh(spd(a))), S),
        "complex eigh": ("eigh", lambda a: jnp.linalg.eigvalsh(a + 1j * (a @ A - (a @ A).T)), S),
        "singular values": ("svd", lambda a: jnp.linalg.svd(a, compute_uv=False), TALL),
        "svd": ("svd", lambda a: signless(*jnp.linalg.svd(a, full_matrices=False)), TALL),
        "square svd": ("svd", lambda a: signless(*jnp.linalg.svd(a)), S),
        "eigenvalues": ("eig", lambda a: jnp.real(jnp.linalg.eigvals(a) ** 2), S),
        "eigenvectors": (
            "eig",
            lambda a: jnp.abs(lax.linalg.eig(a, compute_left_eigenvectors=False, enable_eigvec_derivs=True)[1]), S,
        ),
    },
    "windows": {
        "convolution": (
            "conv_general_dilated",
            lambda x, k: lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=AXES), IMAGE, KERNEL,
        ),
        "strides and gaps": (
            "conv_general_dilated",
            lambda x, k: lax.conv_general_dilated(
                x, k, (2, 3), ((1, 2), (0, 1)), lhs_dilation=(2, 1), rhs_dilation=(1, 2), dimension_numbers=AXES
            ), IMAGE, KERNEL,
        ),
        "cut": (
            "conv_general_dilated",
            lambda x, k: lax.conv_general_dilated(x, k, (2, 2), ((-1, 0), (0, -1)), dimension_numbers=AXES),
            IMAGE, KERNEL,
        ),
        "groups of features": (
            "conv_general_dilated",
            lambda x, k: lax.conv_general_dilated(
                x, k, (1, 2), "VALID", dimension_numbers=AXES, feature_group_count=2
            ), IMAGE, KERNEL[:, :, :1],
        ),
        "groups of examples": (
            "conv_general_dilated",
            lambda x, k: lax.conv_general_dilated(x, k, (1, 2), "VALID", dimension_numbers=AXES, batch_group_count=2),
            IMAGE, KERNEL,
        ),
        "transposed": ("conv_general_dilated", lambda x, k: lax.conv_transpose(x, k, (2, 2), "SAME"), IMAGE, KERNEL),
        "one axis": ("conv_general_dilated", jnp.convolve, V, W),
        "sums": ("reduce_window_sum", pool(lax.add, 0.0), IMAGE),
        "sums with gaps": (
            "reduce_window_sum",
            lambda x: lax.reduce_window(
                x, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 1, 1), "VALID", (1, 2, 1, 1), (1, 1, 2, 1)
            ), IMAGE,
        ),
        "maxima": ("reduce_window_max", pool(lax.max, -jnp.inf), IMAGE),
        "minima": ("reduce_window_min", pool(lax.min, jnp.inf), IMAGE),
        "slope of maxima": (
            "select_and_scatter_add",
            lambda x: jax.grad(lambda x: jnp.sum(pool(lax.max, -jnp.inf)(x) ** 3))(x), IMAGE[:1],
        ),
        "maxima of a slope": (
            "select_and_gather_add",
            lambda x: jax.jvp(pool(lax.max, -jnp.inf), (lax.stop_gradient(x),), (x * x,))[1], IMAGE[:1],
        ),
    },
    "special": {
        "bessel": ("bessel_i0e bessel_i1e", lambda x: (lax.bessel_i0e(x - 0.5), lax.bessel_i1e(x - 0.5)), V),
        "gamma integral": ("igamma", lax.igamma, V + 1, W),
        "its rest": ("igammac", lax.igammac, V + 1, W),
        "beta integral": ("regularized_incomplete_beta", lambda x: lax.betainc(W + 1, V + 1, x), V),
        "largest of those there": ("scatter-max", lambda x, u: x.at[AT].max(u), V, W),
        "smallest of those there": ("scatter-min", lambda x, u: x.at[AT].min(u), V, W),
        "about the largest": ("approx_top_k", lambda x: lax.approx_max_k(x, 2)[0], V),
        "along an axis": ("top_k", lambda x: lax.top_k(x, 2, axis=0)[0], A),
        "held": ("optimization_barrier", lambda x, y: lax.optimization_barrier((x * x, y)), V, W),
        "rows by groups": ("ragged_dot_general", lambda x, w: lax.ragged_dot(x, w, GROUPS), TALL, np.stack([A, A + S])),
        "put": ("device_put", lambda x: jax.device_put(x) * x, V),
        "placed": ("sharding_constraint", placed, V),
        "root": ("cbrt", jnp.cbrt, V),
    },
}  # fmt: skip
#: What a planted mistake multiplies all that a rule hands back with.
MISTAKES = {"sign": -1.0, "twice": 2.0, "dropped": 0.0}
#: Outputs and cotangents of these are set apart by more than rounding.
STEP = 1e-5


pytestmark = pytest.mark.usefixtures("small_functions")


def weighted(f):
    """Σ weights · f, another weight for each entry, as one real number."""

    def total(*args):
        leaves = jax.tree.leaves(f(*args))
        return sum(jnp.sum(jnp.cos(1.0 + k + jnp.arange(y.size)).reshape(y.shape) * y) for k, y in enumerate(leaves))

    return total


def differences(f, args):
    """The gradient of f by central differences, entry by entry; of a complex entry in JAX's convention, a − ib."""

    def along(k, direction):
        def at(entry, sign):
            moved = args[k].reshape(-1).at[entry].add(sign * STEP * direction).reshape(args[k].shape)
            return f(*args[:k], moved, *args[k + 1 :])

        slopes = lax.map(lambda entry: (at(entry, 1) - at(entry, -1)) / (2 * STEP), jnp.arange(args[k].size))
        return slopes.reshape(args[k].shape)

    return [along(k, 1.0) - 1j * along(k, 1j) if jnp.iscomplexobj(a) else along(k, 1.0) for k, a in enumerate(args)]


def scaled(primitive, factor):
    """The primitive with all that its rule hands back multiplied by a number."""

    def function(*args, **params):
        return tuple(
            bar * factor.astype(bar.dtype) if hasattr(bar, "astype") else bar for bar in primitive.pull(*args, **params)
        )

    return replace(primitive, rule=function)


def apart(got, want):
    assert np.isfinite(got).all() and np.isfinite(want).all()
    return np.abs(np.asarray(got) - np.asarray(want)).max() / np.abs(want).max()


@pytest.mark.parametrize("group", CASES)
def test_rules_and_code_equal_autodiff_and_differences(group, monkeypatch):
    cases = {
        name: (primitives.split(), weighted(f), [jnp.asarray(a) for a in args])
        for name, (primitives, f, *args) in CASES[group].items()
    }
    sources = {name: fnn.show_backward(f, *args, tried=False) for name, (_, f, args) in cases.items()}
    about = sorted({primitive for primitives, *_ in cases.values() for primitive in primitives})

    @jax.jit
    def hand(factors):
        with monkeypatch.context() as planted:
            for k, primitive in enumerate(about):
                planted.setitem(TABLE, primitive, scaled(TABLE[primitive], factors[k]))
            return {name: gradient_by_rules(f)(*args) for name, (_, f, args) in cases.items()}

    @jax.jit
    def witnesses():
        result = {}
        for name, (_, f, args) in cases.items():
            scope = {}
            exec(sources[name].python, scope)
            written = scope["gradient"](*args, **sources[name].constants)
            result[name] = written, jax.grad(f, argnums=tuple(range(len(args))))(*args), differences(f, args)
        return result

    right = np.ones(len(about))
    by_rules, beside = hand(right), witnesses()
    for name, (primitives, f, args) in cases.items():
        held = {step.primitive.name for step in traced(f, args)[0].steps}
        assert held.issuperset(primitives), name
        written, automatic, by_differences = beside[name]
        for got, code, want, slope in zip(by_rules[name], written, automatic, by_differences, strict=True):
            assert apart(got, want) <= tolerances.FACTORED, name
            assert apart(code, want) <= tolerances.FACTORED, name
            assert apart(got, slope) <= tolerances.DIFFERENCES, name
    for k, primitive in enumerate(about):
        for mistake, factor in MISTAKES.items():
            wrong = hand(right + (factor - 1) * (np.arange(len(about)) == k))
            # one function may hide a mistake: a sign that is turned twice
            seen = [
                apart(g, w)
                for name, (primitives, _, _) in cases.items() if primitive in primitives
                for g, w in zip(wrong[name], beside[name][1], strict=True)
            ]  # fmt: skip
            assert max(seen) > tolerances.FAR, (primitive, mistake)
