"""Factorizations: triangular systems, Cholesky, LU, QR, eigenvalues and singular values, and linear solvers.

Letters: ᵀ transposes the last two axes, without a conjugate; the axes in front are a batch. What a factorization leaves
open (signs of eigenvectors) or cannot distinguish (equal eigenvalues) has no derivative: the numbers there are
infinite.
Sources: claims A15, D6; M. Giles, Collected matrix derivative results, 2008.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from fnn.glassbox.backpass import backward, forward
from fnn.glassbox.spelling import python as py
from fnn.glassbox.table import NOTHING, Primitive, Symbol, enter
from fnn.glassbox.trace.program import flattened
from fnn.jaxprs import closed

# ---- triangular systems ---------------------------------------------------------------------------------------------


def triangular_solve(y_bar, y, a, b, *, left_side, lower, transpose_a, conjugate_a, unit_diagonal):
    # op(a) y = b, or y op(a) = b from the right: a change da moves y as b = −da y would
    b_bar = lax.linalg.triangular_solve(
        a, y_bar, left_side=left_side, lower=lower, transpose_a=not transpose_a, conjugate_a=conjugate_a,
        unit_diagonal=unit_diagonal,
    )  # fmt: skip
    of_op = -b_bar @ _t(y) if left_side else -_t(y) @ b_bar
    a_bar = _t(of_op) if transpose_a else of_op
    a_bar = jnp.conj(a_bar) if conjugate_a else a_bar
    # only the triangle is read, without its diagonal if that counts as 1
    own = int(unit_diagonal)
    return jnp.tril(a_bar, -own) if lower else jnp.triu(a_bar, own), b_bar


def tridiagonal_solve(y_bar, y, below, diagonal, above, b):
    # the matrix with three diagonals times y = b; in its transpose the outer two swap and move by one row
    zero = jnp.zeros_like(below[..., :1])
    b_bar = lax.linalg.tridiagonal_solve(
        jnp.concatenate([zero, above[..., :-1]], axis=-1), diagonal, jnp.concatenate([below[..., 1:], zero], axis=-1),
        y_bar,
    )  # fmt: skip
    row = jnp.zeros_like(y[..., :1, :])
    before, after = (
        jnp.concatenate([row, y[..., :-1, :]], axis=-2),
        jnp.concatenate([y[..., 1:, :], row], axis=-2),
    )
    return *(-jnp.sum(b_bar * moved, axis=-1) for moved in (before, y, after)), b_bar


def custom_linear_solve(y_bar, y, *inputs, const_lengths, jaxprs):
    # matvec(constants, y) = b, however it was solved: λ, which solves the transposed system for y_bar, flows into b,
    # and −λ into matvec(constants, y)
    lengths = [const_lengths.matvec, const_lengths.vecmat, const_lengths.solve, const_lengths.transpose_solve]
    ends = [sum(lengths[: k + 1]) for k in range(4)]
    if jaxprs.transpose_solve is None:
        raise NotImplementedError(
            "a linear solver without transpose_solve has no backward pass. Give transpose_solve=…."
        )
    transposed = flattened(closed(jaxprs.transpose_solve))
    values = forward(transposed, [*inputs[ends[2] : ends[3]], *y_bar])
    b_bar = [values[n] for n in transposed.outputs]
    matvec = flattened(closed(jaxprs.matvec))
    constants = matvec.inputs[: lengths[0]]
    seeds = [(n, -bar) for n, bar in zip(matvec.outputs, b_bar, strict=True)]
    bars, _ = backward(matvec, forward(matvec, [*inputs[: ends[0]], *y]), seeds, constants)
    return *(bars.get(n, NOTHING) for n in constants), *[NOTHING] * (ends[3] - ends[0]), *b_bar


# ---- factorizations -------------------------------------------------------------------------------------------------


def cholesky(y_bar, y, a):
    # y yᴴ = a with y lower triangular: dy = y Φ(y⁻¹ da y⁻ᴴ), Φ the lower triangle with half the diagonal
    y = jnp.tril(y)
    inner = _half_diagonal(_t(y) @ y_bar)
    left = lax.linalg.triangular_solve(y, inner, left_side=True, lower=True, transpose_a=True)
    a_bar = lax.linalg.triangular_solve(y, left, lower=True, conjugate_a=True)
    if not _ONE_TRIANGLE:
        return (a_bar,)
    # each entry below the diagonal represents its mirror image too
    mirrored = jnp.tril(a_bar) + jnp.tril(_t(jnp.conj(a_bar) if jnp.iscomplexobj(a) else a_bar), -1)
    return (mirrored,)


#: Newer releases of JAX read one triangle of the matrix, older ones take it as symmetric.
_ONE_TRIANGLE = jax.__version_info__ >= (0, 12)


def _half_diagonal(matrix):
    return jnp.tril(matrix) - jnp.eye(matrix.shape[-1], dtype=matrix.dtype) * matrix / 2


def lu(y_bar, y, a):
    # a[order] = l u, both in one array: dl = l strictly lower(c), du = upper(c) u with c = l⁻¹ da[order] u⁻¹
    both_bar, both, order = y_bar[0], y[0], y[2]
    rows, columns = both.shape[-2:]
    size = min(rows, columns)
    lower = _completed(jnp.tril(both[..., :, :size], -1), rows, jnp.eye(rows, dtype=both.dtype))
    rest = jnp.diag(jnp.where(jnp.arange(columns) < size, 0, 1).astype(both.dtype))
    upper = _completed(jnp.triu(both[..., :size, :]), columns, rest)
    inner = jnp.tril(_t(lower) @ both_bar, -1) + jnp.triu(both_bar @ _t(upper))
    left = lax.linalg.triangular_solve(lower, inner, left_side=True, lower=True, transpose_a=True, unit_diagonal=True)
    right = lax.linalg.triangular_solve(upper, left, transpose_a=True)
    # row k of l u is row order[k] of a
    back = jnp.argsort(order, axis=-1)
    return (jnp.take_along_axis(right, back[..., None], axis=-2),)


def _completed(part, size, identity):
    """The part made square by zeros, plus the given diagonal."""
    missing = [(0, 0)] * (part.ndim - 2) + [(0, size - part.shape[-2]), (0, size - part.shape[-1])]
    return (jnp.pad(part, missing) if any(end for _, end in missing) else part) + identity


def qr(y_bar, y, a, *, full_matrices, pivoting):
    # q r = a
    (q_bar, r_bar, *_), (q, r, *_) = y_bar, y
    if pivoting or r.shape[-2] < r.shape[-1] or (full_matrices and a.shape[-2] != a.shape[-1]):
        raise NotImplementedError("qr has a rule only without pivoting and for at least as many rows as columns.")
    _refuse_complex("qr", a)
    inner = r @ _t(r_bar) - _t(q_bar) @ q
    symmetric = jnp.tril(inner) + _t(jnp.tril(inner, -1))
    return (lax.linalg.triangular_solve(r, q_bar + q @ symmetric, transpose_a=True),)


def eigh(y_bar, y, a, *, subset_by_index=None):
    # a v = v diag(w): with c = vᴴ da v, dw is the diagonal of c and dv = v (f ∘ c), fᵢⱼ = 1/(wⱼ − wᵢ) off the diagonal
    (v_bar, w_bar), (v, w) = y_bar, y
    if subset_by_index is not None:
        raise NotImplementedError("eigh of a subset of the eigenvalues has no rule in the glass box.")
    size = jnp.eye(w.shape[-1], dtype=w.dtype)
    apart = (w[..., None, :] - w[..., :, None]) + size
    inner = (1 / apart - size).astype(v.dtype) * (_t(v) @ v_bar) + (size * w_bar[..., None, :]).astype(v.dtype)
    return (jnp.conj(v) @ inner @ _t(v),)


def svd(y_bar, y, a, *, full_matrices, compute_uv, subset_by_index=None):
    # a = u diag(s) vᵀ
    _refuse_complex("svd", a)
    if subset_by_index is not None:
        raise NotImplementedError("svd of a subset of the singular values has no rule in the glass box.")
    if not compute_uv:
        u, _, vt = lax.linalg.svd(a, full_matrices=False, compute_uv=True)
        return ((u * y_bar[0][..., None, :]) @ vt,)
    if full_matrices and a.shape[-2] != a.shape[-1]:
        raise NotImplementedError(
            "svd with full_matrices=True has a rule only for square matrices: the additional columns are not "
            "determined. Pass full_matrices=False."
        )
    (s_bar, u_bar, vt_bar), (s, u, vt) = y_bar, y
    size, v = jnp.eye(s.shape[-1], dtype=s.dtype), _t(vt)
    squares = s * s
    f = 1 / (squares[..., None, :] - squares[..., :, None] + size) - size
    of_u, of_v = f * (_t(u) @ u_bar), f * (vt @ _t(vt_bar))
    inner = (of_u + _t(of_u)) * s[..., None, :] + s[..., :, None] * (of_v + _t(of_v)) + size * s_bar[..., None, :]
    a_bar = u @ inner @ vt
    # the part of the cotangents orthogonal to the columns of u and v
    rest_u = (u_bar - u @ (_t(u) @ u_bar)) / s[..., None, :]
    rest_v = (_t(vt_bar) - v @ (vt @ _t(vt_bar))) / s[..., None, :]
    return (a_bar + rest_u @ vt + u @ _t(rest_v),)


def eig(y_bar, y, a, *, compute_left_eigenvectors, compute_right_eigenvectors):
    # a v = v diag(w), the columns of v of length 1: with c = v⁻¹ da v, dw is the diagonal of c
    if compute_left_eigenvectors:
        raise NotImplementedError("eig with left eigenvectors has no rule in the glass box.")
    w_bar, w = y_bar[0], y[0]
    v = y[1] if compute_right_eigenvectors else jnp.linalg.eig(a)[1]
    size = jnp.eye(w.shape[-1], dtype=w.dtype)
    inner = size * w_bar[..., None, :]
    if compute_right_eigenvectors:
        # dv = v (f ∘ c), reduced to the part that keeps each column at length 1
        v_bar = y_bar[1]
        along = jnp.sum(v_bar * v, axis=-2, keepdims=True)
        v_bar = v_bar - jnp.conj(v) * jnp.real(along).astype(v.dtype)
        f = 1 / (w[..., None, :] - w[..., :, None] + size) - size
        inner = inner + f * (_t(v) @ v_bar)
    a_bar = jnp.linalg.solve(_t(v), inner) @ _t(v)
    return (a_bar if jnp.iscomplexobj(a) else jnp.real(a_bar),)


def _t(matrix):
    return jnp.swapaxes(matrix, -1, -2)


def _refuse_complex(name, matrix):
    if jnp.iscomplexobj(matrix):
        raise NotImplementedError(f"{name} of complex matrices has no rule in the glass box.")


# ---- the table -------------------------------------------------------------------------------------------------------


def _triangular(g, p, y):
    operands = f"{py.typed(g[0], g[0].dtype)}, {py.typed(g[1], g[1].dtype)}"
    words = "".join(f", {name}=True" for name in _FLAGS if p[name])
    return f"lax.linalg.triangular_solve({operands}{words})"


_FLAGS = ("left_side", "lower", "transpose_a", "conjugate_a", "unit_diagonal")


def _decomposed(name, *flags, more=""):
    def text(g, p, y):
        words = "".join(f", {flag}={p[flag]!r}" for flag in flags)
        return f"lax.linalg.{name}({g[0].text}{words}{more})"

    return py.call(text)


def _singular(g, p, y):
    words = f"{g[0].text}, full_matrices={p['full_matrices']}"
    if not p["compute_uv"]:
        return f"lax.linalg.svd({words}, compute_uv=False)"
    return f"(lambda u, s, vt: (s, u, vt))(*lax.linalg.svd({words}))"


def _general(g, p, y):
    sides = [f"compute_{side}_eigenvectors" for side in ("left", "right")]
    words = ", ".join(f"{side}={p[side]}" for side in sides)
    return f"lax.linalg.eig({g[0].text}, {words}){'' if any(p[side] for side in sides) else '[0]'}"


def _cubic(params, inputs, outputs):
    # of the order of n³ for a matrix with n rows; the factor depends on the method
    return inputs[0].shape[-1] * math.prod(inputs[0].shape)


def _solved(params, inputs, outputs):
    # a multiplication and an addition for each entry of the triangle and each right-hand side
    return inputs[0].shape[-1] * math.prod(outputs[0].shape)


enter(
    Primitive(
        "triangular_solve", triangular_solve, py.call(_triangular), word="solution", symbol=Symbol(label="solve △"),
        cost=_solved,
    ),
    Primitive(
        "tridiagonal_solve", tridiagonal_solve, py.exactly("lax.linalg.tridiagonal_solve"), word="solution",
        symbol=Symbol(label="solve"),
    ),
    Primitive(
        "custom_linear_solve", custom_linear_solve, py.unwritten, word="solution", symbol=Symbol(label="solve"),
        foldable=False,
    ),
    Primitive(
        "cholesky", cholesky, _decomposed("cholesky", more=", symmetrize_input=False"), word="factor", cost=_cubic
    ),
    Primitive("lu", lu, _decomposed("lu"), cost=_cubic),
    Primitive("qr", qr, _decomposed("qr", "full_matrices"), cost=_cubic),
    Primitive(
        "eigh", eigh, _decomposed("eigh", "lower", "sort_eigenvalues", more=", symmetrize_input=False"), cost=_cubic
    ),
    Primitive("svd", svd, py.call(_singular), cost=_cubic),
    Primitive("eig", eig, py.call(_general), cost=_cubic),
    Primitive(
        "lu_pivots_to_permutation", None,
        py.call(lambda g, p, y: f"lax.linalg.lu_pivots_to_permutation({g[0].text}, {y.shape[-1]})"), flat=True,
    ),
    Primitive(
        "householder_product", None, py.exactly("lax.linalg.householder_product"),
        refused="JAX has no derivative of it either",
    ),
)  # fmt: skip
