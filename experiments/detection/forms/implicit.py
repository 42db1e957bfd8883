"""Solutions of equations and of problems of optimization, as users of jaxopt and its like write their rules."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.detection.forms.drawing import Case, Draw, case, form, static

# ---- fixed points and roots ------------------------------------------------------------------------------------------


def _settled(step, start, tolerance=1e-12):
    """Iterates until nothing changes any more, as far as the dtype sees."""

    def goes_on(state):
        count, before, x = state
        return (jnp.max(jnp.abs(x - before)) > tolerance) & (count < 500)

    return jax.lax.while_loop(goes_on, lambda s: (s[0] + 1, s[2], step(s[2])), (0, start, step(start)))[2]


@form("jaxopt")
def fixed_point_of_a_map(draw: Draw) -> Case:
    @static(0)
    def fixed_point(f, theta, start):
        return _settled(lambda x: f(theta, x), start)

    def forward(f, theta, start):
        x = fixed_point(f, theta, start)
        return x, (theta, x)

    def backward(f, kept, bar):
        theta, x = kept
        _, pull = jax.vjp(f, theta, x)
        u = _settled(lambda u: bar + pull(u)[1], bar)
        return pull(u)[0], jnp.zeros_like(x)

    fixed_point.defvjp(forward, backward)

    def f(theta, x):
        return jnp.tanh(0.3 * theta["w"] @ x + theta["b"])

    theta = {"w": jnp.clip(draw.normal(3, 3), -1, 1), "b": draw.normal(3)}
    return case(lambda theta: jnp.sum(fixed_point(f, theta, jnp.zeros(3, draw.dtype)) ** 2), theta)


@form("jaxopt")
def layer_in_equilibrium(draw: Draw) -> Case:
    @jax.custom_vjp
    def equilibrium(w, x):
        return _settled(lambda z: jnp.tanh(0.2 * z @ w + x), jnp.zeros_like(x))

    def backward(kept, bar):
        w, _, z = kept
        d = 1 - z**2
        # (I − 0.2 W D)ᵀ, solved row by row
        rows = jax.vmap(lambda d, b: jnp.linalg.solve(jnp.eye(len(d), dtype=d.dtype) - 0.2 * w * d[None, :], b))(d, bar)
        return 0.2 * z.T @ (rows * d), rows * d

    def forward(w, x):
        z = equilibrium(w, x)
        return z, (w, x, z)

    equilibrium.defvjp(forward, backward)
    return case(
        lambda w, x: jnp.sum(jnp.sin(equilibrium(w, x))), jnp.clip(draw.normal(3, 3), -1, 1), draw.normal(draw.rows, 3)
    )


@form("jaxopt")
def root_by_newton(draw: Draw) -> Case:
    @jax.custom_jvp
    def cube_root_like(a):
        return _settled(lambda x: x - (x**3 + x - a) / (3 * x**2 + 1), jnp.zeros_like(a))

    @cube_root_like.defjvp
    def rule(primals, tangents):
        x = cube_root_like(*primals)
        return x, tangents[0] / (3 * x**2 + 1)

    return case(lambda a: jnp.sum(cube_root_like(a)), draw.normal(draw.rows))


@form("jaxopt")
def root_by_bisection(draw: Draw) -> Case:
    @jax.custom_vjp
    def root(a, b):
        def halve(_, interval):
            low, high = interval
            middle = 0.5 * (low + high)
            above = jnp.exp(middle) + a * middle > b
            return jnp.where(above, low, middle), jnp.where(above, middle, high)

        low, high = jax.lax.fori_loop(0, 60, halve, (jnp.full_like(a, -20.0), jnp.full_like(a, 20.0)))
        return 0.5 * (low + high)

    def backward(kept, bar):
        a, x = kept
        slope = bar / (jnp.exp(x) + a)
        return -slope * x, slope

    def forward(a, b):
        x = root(a, b)
        return x, (a, x)

    root.defvjp(forward, backward)
    return case(lambda a, b: jnp.sum(root(a, b) ** 2), draw.positive(3), draw.normal(3))


@form("jaxopt")
def custom_root_of_jax(draw: Draw) -> Case:
    def solve(f, start):
        return _settled(lambda x: x - f(x) / jax.grad(f)(x), start)

    def root(a):
        return jax.lax.custom_root(
            lambda x: x**3 + x - a, jnp.zeros_like(a), solve, lambda g, y: y / g(jnp.ones_like(y))
        )

    return case(lambda a: jnp.sin(root(a)), draw.normal())


# ---- linear systems --------------------------------------------------------------------------------------------------


@form("jaxopt")
def linear_solve_with_transposes(draw: Draw) -> Case:
    @jax.custom_vjp
    def solve(a, b):
        return jnp.linalg.solve(a, b)

    def forward(a, b):
        x = solve(a, b)
        return x, (a, x)

    def backward(kept, bar):
        a, x = kept
        b_bar = jnp.linalg.solve(a.T, bar)
        return -jnp.outer(b_bar, x), b_bar

    solve.defvjp(forward, backward)
    return case(lambda a, b: jnp.sum(solve(a, b) ** 2), draw.definite(3), draw.normal(3))


@form("jaxopt")
def custom_linear_solve_of_jax(draw: Draw) -> Case:
    @jax.custom_vjp
    def product(a, x):
        return a @ x

    product.defvjp(lambda a, x: (a @ x, (a, x)), lambda kept, bar: (jnp.outer(bar, kept[1]), kept[0].T @ bar))

    def solve(a, b):
        by_cg = lambda matvec, b: jax.scipy.sparse.linalg.cg(matvec, b, maxiter=50, tol=1e-14)[0]  # noqa: E731
        return jax.lax.custom_linear_solve(lambda x: a @ x, b, by_cg, symmetric=True)

    return case(lambda a, b: jnp.sum(product(a, solve(a @ a.T, b)) ** 2), draw.definite(3), draw.normal(3))


@form("jaxopt")
def conjugate_gradients_by_hand(draw: Draw) -> Case:
    """A solver in a while loop, whose rule calls the solver again."""

    def cg(a, b):
        def goes_on(s):
            return (s[3] < 12) & (jnp.vdot(s[1], s[1]) > 1e-26)

        def step(s):
            x, r, p, k = s
            ap = a @ p
            rate = jnp.vdot(r, r) / jnp.vdot(p, ap)
            new = r - rate * ap
            return x + rate * p, new, new + jnp.vdot(new, new) / jnp.vdot(r, r) * p, k + 1

        return jax.lax.while_loop(goes_on, step, (jnp.zeros_like(b), b, b, 0))[0]

    @jax.custom_vjp
    def solve(a, b):
        return cg(a, b)

    def backward(kept, bar):
        a, x = kept
        b_bar = cg(a, bar)
        return -jnp.outer(b_bar, x), b_bar

    def forward(a, b):
        x = cg(a, b)
        return x, (a, x)

    solve.defvjp(forward, backward)
    c = draw.definite(3)
    return case(lambda s, b: jnp.sum(solve(c * s, b) ** 2), draw.positive(), draw.normal(3))


@form("jaxopt")
def log_determinant_and_inverse(draw: Draw) -> Case:
    @jax.custom_vjp
    def log_det(a):
        return jnp.linalg.slogdet(a)[1]

    @jax.custom_vjp
    def inverse(a):
        return jnp.linalg.inv(a)

    log_det.defvjp(lambda a: (log_det(a), jnp.linalg.inv(a)), lambda inv, bar: (bar * inv.T,))
    inverse.defvjp(lambda a: (inverse(a),) * 2, lambda inv, bar: (-inv.T @ bar @ inv.T,))
    return case(lambda a, w: log_det(a) + jnp.sum(w * inverse(a)), draw.definite(3), draw.normal(3, 3))


@form("jaxopt")
def factor_of_cholesky(draw: Draw) -> Case:
    @jax.custom_vjp
    def cholesky(a):
        return jnp.linalg.cholesky(0.5 * (a + a.T))

    def backward(factor, bar):
        inner = jnp.tril(factor.T @ bar)
        inner = inner - 0.5 * jnp.diag(jnp.diagonal(inner))
        half = jax.scipy.linalg.solve_triangular(factor, inner, lower=True, trans=1)
        full = jax.scipy.linalg.solve_triangular(factor, half.T, lower=True, trans=1).T
        return (0.5 * (full + full.T),)

    cholesky.defvjp(lambda a: (cholesky(a),) * 2, backward)
    return case(lambda a, w: jnp.sum(w * cholesky(a)), draw.definite(3), draw.normal(3, 3))


@form("jaxopt")
def eigenvalues_of_a_symmetric_matrix(draw: Draw) -> Case:
    @jax.custom_jvp
    def eigenvalues(a):
        return jnp.linalg.eigh(0.5 * (a + a.T))[0]

    @eigenvalues.defjvp
    def rule(primals, tangents):
        values, vectors = jnp.linalg.eigh(0.5 * (primals[0] + primals[0].T))
        return values, jnp.einsum("ik,ij,jk->k", vectors, tangents[0], vectors)

    return case(lambda a: jnp.sum(eigenvalues(a) ** 3), draw.normal(3, 3))


@form("jaxopt")
def largest_eigenvalue_by_iteration(draw: Draw) -> Case:
    @jax.custom_vjp
    def largest(a):
        return forward(a)[0]

    def forward(a):
        a = 0.5 * (a + a.T)

        def step(_, v):
            v = a @ v
            return v / jnp.linalg.norm(v)

        v = jax.lax.fori_loop(0, 400, step, jnp.ones(len(a), a.dtype) / np.sqrt(len(a)))
        return v @ a @ v, v

    largest.defvjp(forward, lambda v, bar: (bar * jnp.outer(v, v),))
    a = jnp.diag(jnp.asarray([6.0, 2.0, 1.0], draw.dtype))

    def f(b):
        return largest(a + 0.1 * (b + b.T))

    return case(f, draw.normal(3, 3))


# ---- minima ----------------------------------------------------------------------------------------------------------


@form("jaxopt")
def ridge_by_its_normal_equations(draw: Draw) -> Case:
    @jax.custom_vjp
    def ridge(x, y, rate):
        return jnp.linalg.solve(x.T @ x + rate * jnp.eye(x.shape[1], dtype=x.dtype), x.T @ y)

    def forward(x, y, rate):
        w = ridge(x, y, rate)
        return w, (x, y, rate, w)

    def backward(kept, bar):
        x, y, rate, w = kept
        v = jnp.linalg.solve(x.T @ x + rate * jnp.eye(len(w), dtype=w.dtype), bar)
        residual = y - x @ w
        return jnp.outer(residual, v) - jnp.outer(x @ v, w), x @ v, -v @ w

    ridge.defvjp(forward, backward)

    def validation(rate, x, y):
        return jnp.mean((x[:2] @ ridge(x[2:], y[2:], rate) - y[:2]) ** 2)

    return case(validation, draw.positive(), draw.normal(draw.rows + 3, 3), draw.normal(draw.rows + 3))


@form("jaxopt")
def logistic_regression_at_its_minimum(draw: Draw) -> Case:
    x, y = draw.normal(draw.rows + 3, 2), draw.mask(draw.rows + 3)

    def objective(w, rate):
        return jnp.mean(jax.nn.softplus(x @ w) - y * (x @ w)) + 0.5 * rate * jnp.sum(w**2)

    @jax.custom_vjp
    def minimum(rate):
        def step(w):
            return w - jnp.linalg.solve(jax.hessian(objective)(w, rate), jax.grad(objective)(w, rate))

        return _settled(step, jnp.zeros(2, rate.dtype))

    def backward(kept, bar):
        w, rate = kept
        v = jnp.linalg.solve(jax.hessian(objective)(w, rate), bar)
        return (-v @ jax.jacfwd(jax.grad(objective), 1)(w, rate),)

    def forward(rate):
        w = minimum(rate)
        return w, (w, rate)

    minimum.defvjp(forward, backward)
    return case(lambda rate: jnp.sum(minimum(rate) ** 2), draw.positive())


@form("jaxopt")
def argmin_by_gradient_descent(draw: Draw) -> Case:
    @static(0)
    def argmin(objective, theta):
        return _settled(lambda x: x - 0.3 * jax.grad(objective)(x, theta), jnp.zeros_like(theta))

    def backward(objective, kept, bar):
        x, theta = kept
        v = jnp.linalg.solve(jax.hessian(objective)(x, theta), bar)
        return (-jax.vjp(lambda theta: jax.grad(objective)(x, theta), theta)[1](v)[0],)

    def forward(objective, theta):
        x = argmin(objective, theta)
        return x, (x, theta)

    argmin.defvjp(forward, backward)

    def objective(x, theta):
        return jnp.sum(0.5 * (x - theta) ** 2 + jnp.log(jnp.cosh(x)))

    return case(lambda theta: jnp.sum(argmin(objective, theta) ** 2), draw.normal(3))


@form("jaxopt")
def value_by_the_envelope_theorem(draw: Draw) -> Case:
    """The gradient of a minimum is that of the objective with its argument held."""

    @jax.custom_vjp
    def value(theta):
        return forward(theta)[0]

    def forward(theta):
        x = _settled(lambda x: x - 0.2 * (x - theta + jnp.tanh(x)), jnp.zeros_like(theta))
        return jnp.sum(0.5 * (x - theta) ** 2 + jnp.log(jnp.cosh(x))), (x, theta)

    value.defvjp(forward, lambda kept, bar: (bar * (kept[1] - kept[0]),))
    return case(lambda theta: value(theta) ** 2, draw.normal(3))


@form("jaxopt")
def projection_onto_the_simplex(draw: Draw) -> Case:
    def project(v):
        u = jnp.sort(v)[::-1]
        excess = jnp.cumsum(u) - 1
        count = jnp.sum(u - excess / jnp.arange(1, len(v) + 1) > 0)
        return jnp.maximum(v - excess[count - 1] / count, 0)

    @jax.custom_jvp
    def projection(v):
        return project(v)

    @projection.defjvp
    def rule(primals, tangents):
        p = project(primals[0])
        on = p > 0
        return p, jnp.where(on, tangents[0] - jnp.sum(jnp.where(on, tangents[0], 0)) / jnp.sum(on), 0)

    return case(lambda v, w: jnp.sum(w * projection(v) ** 2), draw.normal(5), draw.normal(5))


@form("jaxopt")
def projection_onto_a_ball(draw: Draw) -> Case:
    @static(1)
    def project(x, radius):
        return x * jnp.minimum(1, radius / jnp.linalg.norm(x))

    def backward(radius, x, bar):
        size = jnp.linalg.norm(x)
        outside = radius / size * (bar - x * jnp.vdot(x, bar) / size**2)
        return (jnp.where(size > radius, outside, bar),)

    project.defvjp(lambda x, radius: (project(x, radius), x), backward)
    return case(lambda x: jnp.sum(jnp.sin(project(x, 0.5)) + project(x, 50.0)), draw.normal(4))


@form("jaxopt")
def shrinkage_of_the_lasso(draw: Draw) -> Case:
    @jax.custom_jvp
    def shrink(x, rate):
        return jnp.sign(x) * jnp.maximum(jnp.abs(x) - rate, 0)

    shrink.defjvps(
        lambda t, y, x, rate: jnp.where(jnp.abs(x) > rate, t, 0),
        lambda t, y, x, rate: -jnp.where(jnp.abs(x) > rate, jnp.sign(x) * t, 0),
    )
    return case(
        lambda x, rate: jnp.sum(shrink(x, rate) ** 2 + shrink(x, rate)),
        2 * draw.normal(draw.rows),
        jnp.asarray(0.5, draw.dtype),
    )


@form("jaxopt")
def transport_by_its_plan(draw: Draw) -> Case:
    """The value of regularized transport; its gradient is the plan, by the theorem of Danskin."""

    a, b = jax.nn.softmax(draw.normal(3)), jax.nn.softmax(draw.normal(4))

    def potentials(cost):
        def step(fg):
            f = jnp.log(a) - jax.nn.logsumexp(fg[None, 3:] - cost, 1)
            return jnp.concatenate([f, jnp.log(b) - jax.nn.logsumexp(f[:, None] - cost, 0)])

        fg = _settled(step, jnp.zeros(7, cost.dtype))
        return fg[:3], fg[3:]

    @jax.custom_vjp
    def transport(cost):
        f, g = potentials(cost)
        return f @ a + g @ b

    transport.defvjp(
        lambda cost: (transport(cost), (cost, *potentials(cost))),
        lambda kept, bar: (bar * jnp.exp(kept[1][:, None] + kept[2] - kept[0]),),
    )
    return case(lambda x, y: transport((x[:, None] - y) ** 2), draw.normal(3), draw.normal(4))


# ---- differential equations ------------------------------------------------------------------------------------------


@form("jaxopt")
def adjoint_of_an_integrator(draw: Draw) -> Case:
    def field(theta, y):
        return jnp.tanh(theta @ y)

    @static(2, 3)
    def solve(theta, y, step, count):
        return jax.lax.fori_loop(0, count, lambda _, y: y + step * field(theta, y), y)

    def forward(theta, y, step, count):
        last, path = jax.lax.scan(lambda y, _: (y + step * field(theta, y), y), y, None, count)
        return last, (theta, path)

    def backward(step, count, kept, bar):
        theta, path = kept

        def back(state, y):
            theta_bar, y_bar = state
            more, y_more = jax.vjp(field, theta, y)[1](y_bar)
            return (theta_bar + step * more, y_bar + step * y_more), None

        (theta_bar, y_bar), _ = jax.lax.scan(back, (jnp.zeros_like(theta), bar), path, reverse=True)
        return theta_bar, y_bar

    solve.defvjp(forward, backward)
    return case(lambda theta, y: jnp.sum(solve(theta, y, 0.1, 10) ** 2), draw.normal(3, 3), draw.normal(3))


@form("jaxopt")
def soft_sort_of_time_series(draw: Draw) -> Case:
    """The soft minimum of three, by its own probabilities, in a scan over a table."""

    @static(1)
    def soft_min(v, gamma):
        return -gamma * jax.nn.logsumexp(-v / gamma, -1)

    soft_min.defvjp(
        lambda v, gamma: (soft_min(v, gamma), v), lambda gamma, v, bar: (bar[..., None] * jax.nn.softmax(-v / gamma),)
    )

    def distance(x, y):
        cost = (x[:, None] - y) ** 2
        far = jnp.asarray(1e3, x.dtype)

        def row(above, costs):
            def cell(left, item):
                up, corner, c = item
                new = c + soft_min(jnp.stack([left, up, corner]), 0.5)
                return new, new

            corner = jnp.concatenate([above[:1], above[1:-1]])
            _, new = jax.lax.scan(cell, far, (above[1:], corner, costs))
            return jnp.concatenate([far[None], new]), None

        first = jnp.concatenate([jnp.zeros(1, x.dtype), jnp.full(len(y), far)])
        return jax.lax.scan(row, first, cost)[0][-1]

    return case(distance, draw.normal(3), draw.normal(3))
