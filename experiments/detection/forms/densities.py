"""Densities, samplers and filters, as users of NumPyro and BlackJAX write their rules."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, gammaln, log_ndtr

from experiments.detection.forms.drawing import Case, Draw, case, form, static

# ---- log-densities ---------------------------------------------------------------------------------------------------


@form("numpyro")
def normal_log_density(draw: Draw) -> Case:
    @jax.custom_jvp
    def log_prob(x, loc, scale):
        return -0.5 * ((x - loc) / scale) ** 2 - jnp.log(scale) - 0.5 * jnp.log(2 * jnp.pi)

    log_prob.defjvps(
        lambda t, y, x, loc, scale: -t * (x - loc) / scale**2,
        lambda t, y, x, loc, scale: t * (x - loc) / scale**2,
        lambda t, y, x, loc, scale: t * (((x - loc) / scale) ** 2 - 1) / scale,
    )
    return case(
        lambda loc, scale, x: jnp.sum(log_prob(x, loc, scale)),
        draw.normal(), draw.positive(), draw.normal(draw.rows),
    )  # fmt: skip


@form("numpyro")
def student_log_density(draw: Draw) -> Case:
    @jax.custom_vjp
    def log_prob(x, df):
        return (
            gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * jnp.log(df * jnp.pi) - (df + 1) / 2 * jnp.log1p(x**2 / df)
        )

    def backward(kept, bar):
        x, df = kept
        r = x**2 / df
        slope = 0.5 * (digamma((df + 1) / 2) - digamma(df / 2) - 1 / df - jnp.log1p(r) + (df + 1) / df * r / (1 + r))
        return bar * -(df + 1) * x / (df + x**2), jnp.sum(bar * slope)

    log_prob.defvjp(lambda x, df: (log_prob(x, df), (x, df)), backward)
    return case(lambda x, df: jnp.sum(log_prob(x, df)), draw.normal(draw.rows), draw.positive() + 2)


@form("numpyro")
def counts_of_a_negative_binomial(draw: Draw) -> Case:
    @jax.custom_vjp
    def log_prob(counts, mean, shape):
        return (
            gammaln(counts + shape) - gammaln(shape) - gammaln(counts + 1.0)
            + shape * jnp.log(shape / (shape + mean)) + counts * jnp.log(mean / (shape + mean))
        )  # fmt: skip

    def backward(kept, bar):
        n, m, r = kept
        shape_bar = digamma(n + r) - digamma(r) + jnp.log(r / (r + m)) + 1 - (r + n) / (r + m)
        return np.zeros(n.shape, jax.dtypes.float0), bar * (n / m - (r + n) / (r + m)), jnp.sum(bar * shape_bar)

    log_prob.defvjp(lambda *a: (log_prob(*a), a), backward)
    counts = draw.labels()
    return case(lambda m, r: jnp.sum(log_prob(counts, m, r)), draw.positive(draw.rows), draw.positive())


@form("numpyro")
def categorical_log_probability(draw: Draw) -> Case:
    @jax.custom_jvp
    def log_prob(logits, value):
        return jax.nn.log_softmax(logits)[jnp.arange(len(value)), value]

    @log_prob.defjvp
    def rule(primals, tangents):
        (logits, value), (t, _) = primals, tangents
        p = jax.nn.softmax(logits)
        return log_prob(logits, value), t[jnp.arange(len(value)), value] - jnp.sum(p * t, -1)

    value = draw.labels()
    return case(lambda logits: jnp.sum(log_prob(logits, value)), draw.normal(draw.rows, draw.classes))


@form("numpyro")
def dirichlet_log_density(draw: Draw) -> Case:
    @jax.custom_vjp
    def log_prob(concentration, value):
        return (
            gammaln(concentration.sum(-1))
            - gammaln(concentration).sum(-1)
            + jnp.sum((concentration - 1) * jnp.log(value), -1)
        )

    def backward(kept, bar):
        a, v = kept
        a_bar = digamma(a.sum(-1, keepdims=True)) - digamma(a) + jnp.log(v)
        return bar[..., None] * a_bar, bar[..., None] * (a - 1) / v

    log_prob.defvjp(lambda a, v: (log_prob(a, v), (a, v)), backward)
    values = jax.nn.softmax(draw.normal(draw.rows, 3))
    return case(lambda a: jnp.sum(log_prob(jnp.broadcast_to(a, values.shape), values)), draw.positive(3))


@form("numpyro")
def multivariate_normal_by_its_factor(draw: Draw) -> Case:
    @jax.custom_vjp
    def log_prob(x, factor):
        z = jax.scipy.linalg.solve_triangular(factor, x, lower=True)
        return -0.5 * jnp.sum(z**2) - jnp.sum(jnp.log(jnp.diagonal(factor)))

    def forward(x, factor):
        z = jax.scipy.linalg.solve_triangular(factor, x, lower=True)
        return log_prob(x, factor), (z, factor)

    def backward(kept, bar):
        z, factor = kept
        a = jax.scipy.linalg.solve_triangular(factor.T, z, lower=False)
        return -bar * a, bar * (jnp.tril(jnp.outer(a, z)) - jnp.diag(1 / jnp.diagonal(factor)))

    log_prob.defvjp(forward, backward)
    return case(lambda x, a: log_prob(x, jnp.linalg.cholesky(a)), draw.normal(3), draw.definite(3))


@form("numpyro")
def mixture_by_responsibilities(draw: Draw) -> Case:
    def parts(x, logits, means):
        return jax.nn.log_softmax(logits) - 0.5 * (x[:, None] - means) ** 2

    @jax.custom_vjp
    def log_likelihood(x, logits, means):
        return jnp.sum(jax.nn.logsumexp(parts(x, logits, means), -1))

    def backward(kept, bar):
        x, logits, means = kept
        r = bar * jax.nn.softmax(parts(x, logits, means))
        pull = r * (x[:, None] - means)
        return -pull.sum(1), r.sum(0) - r.sum() * jax.nn.softmax(logits), pull.sum(0)

    log_likelihood.defvjp(lambda *a: (log_likelihood(*a), a), backward)
    return case(log_likelihood, draw.normal(draw.rows), draw.normal(3), draw.normal(3))


@form("numpyro")
def hidden_chain_by_forward_and_backward(draw: Draw) -> Case:
    """The log-likelihood of a hidden chain; its gradient by the probabilities that both passes give."""

    def filtered(initial, transition, emission):
        def step(a, e):
            b = e + jax.nn.logsumexp(a[:, None] + transition, 0)
            return b, b

        first = initial + emission[0]
        last, rest = jax.lax.scan(step, first, emission[1:])
        return jax.nn.logsumexp(last), jnp.concatenate([first[None], rest])

    @jax.custom_vjp
    def log_likelihood(initial, transition, emission):
        return filtered(initial, transition, emission)[0]

    def forward(initial, transition, emission):
        value, alpha = filtered(initial, transition, emission)
        return value, (value, alpha, transition, emission)

    def backward(kept, bar):
        value, alpha, transition, emission = kept

        def step(b, e):
            b = jax.nn.logsumexp(transition + e + b, 1)
            return b, b

        last = jnp.zeros_like(alpha[0])
        _, rest = jax.lax.scan(step, last, emission[1:], reverse=True)
        beta = jnp.concatenate([rest, last[None]])
        single = jnp.exp(alpha + beta - value)
        pairs = jnp.exp(alpha[:-1, :, None] + transition + (emission[1:] + beta[1:])[:, None] - value)
        return bar * single[0], bar * pairs.sum(0), bar * single

    log_likelihood.defvjp(forward, backward)
    return case(
        lambda a, b, e: log_likelihood(jax.nn.log_softmax(a), jax.nn.log_softmax(b), e),
        draw.normal(3), draw.normal(3, 3), draw.normal(draw.rows, 3),
    )  # fmt: skip


@form("blackjax")
def gaussian_process_by_traces(draw: Draw) -> Case:
    x, y = draw.normal(draw.rows), draw.normal(draw.rows)

    def kernel(p):
        distance = (x[:, None] - x) ** 2
        shape = jnp.exp(-0.5 * distance / p["length"] ** 2)
        return p["size"] ** 2 * shape + p["noise"] * jnp.eye(len(x), dtype=x.dtype), shape, distance

    def loss(p):
        k = kernel(p)[0]
        return 0.5 * y @ jnp.linalg.solve(k, y) + 0.5 * jnp.linalg.slogdet(k)[1]

    def gradient(p):
        k, shape, distance = kernel(p)
        inverse = jnp.linalg.inv(k)
        a = inverse @ y
        inner = 0.5 * (inverse - jnp.outer(a, a))
        slopes = {
            "size": 2 * p["size"] * shape,
            "length": p["size"] ** 2 * shape * distance / p["length"] ** 3,
            "noise": jnp.eye(len(x), dtype=x.dtype),
        }
        return {name: jnp.sum(inner * slope) for name, slope in slopes.items()}

    p = {name: draw.positive() for name in ("size", "length", "noise")}
    return case(loss, p, gradient=gradient)


# ---- transformations -------------------------------------------------------------------------------------------------


@form("numpyro")
def potential_of_unconstrained_parameters(draw: Draw) -> Case:
    data = draw.normal(draw.rows)

    def potential(u):
        scale = jnp.exp(u["log_scale"])
        log_density = jnp.sum(-0.5 * ((data - u["loc"]) / scale) ** 2 - u["log_scale"])
        return -(log_density - 0.5 * u["loc"] ** 2 - 0.5 * scale**2 + u["log_scale"])

    def gradient(u):
        scale = jnp.exp(u["log_scale"])
        z = (data - u["loc"]) / scale
        return {"loc": u["loc"] - jnp.sum(z) / scale, "log_scale": len(data) - jnp.sum(z**2) + scale**2 - 1}

    return case(potential, {"loc": draw.normal(), "log_scale": draw.normal()}, gradient=gradient)


@form("numpyro")
def interval_transform_with_its_jacobian(draw: Draw) -> Case:
    @static(1, 2)
    def transform(u, low, high):
        s = jax.nn.sigmoid(u)
        return low + (high - low) * s, jnp.sum(jnp.log(high - low) + jax.nn.log_sigmoid(u) + jax.nn.log_sigmoid(-u))

    def backward(low, high, s, bars):
        value_bar, density_bar = bars
        return (value_bar * (high - low) * s * (1 - s) + density_bar * (1 - 2 * s),)

    transform.defvjp(lambda u, low, high: (transform(u, low, high), jax.nn.sigmoid(u)), backward)

    def log_density(u):
        x, log_det = transform(u, -1.0, 3.0)
        return -jnp.sum(x**4) + log_det

    return case(log_density, draw.normal(draw.rows))


@form("numpyro")
def stick_breaking(draw: Draw) -> Case:
    @jax.custom_vjp
    def simplex(u):
        z = jax.nn.sigmoid(u)
        rest = jnp.concatenate([jnp.ones(1, u.dtype), jnp.cumprod(1 - z)])
        return jnp.concatenate([z, jnp.ones(1, u.dtype)]) * rest

    def forward(u):
        y = simplex(u)
        return y, (jax.nn.sigmoid(u), y)

    def backward(kept, bar):
        z, y = kept
        tail = jnp.cumsum((bar * y)[::-1])[::-1]
        return (bar[:-1] * y[:-1] * (1 - z) - z * tail[1:],)

    simplex.defvjp(forward, backward)
    return case(lambda u, w: jnp.sum(w * jnp.log(simplex(u))), draw.normal(3), draw.positive(4))


@form("numpyro")
def tail_of_a_truncated_normal(draw: Draw) -> Case:
    @jax.custom_jvp
    def log_survival(x):
        return log_ndtr(-x)

    log_survival.defjvps(lambda t, y, x: -t * jnp.exp(-0.5 * x**2 - 0.5 * jnp.log(2 * jnp.pi) - y))
    return case(lambda x: jnp.sum(log_survival(x)), draw.normal(draw.rows))


@form("numpyro")
def ordered_by_exponentials(draw: Draw) -> Case:
    @jax.custom_vjp
    def ordered(u):
        return jnp.cumsum(jnp.concatenate([u[:1], jnp.exp(u[1:])]))

    def backward(u, bar):
        tail = jnp.flip(jnp.cumsum(jnp.flip(bar)))
        return (tail * jnp.where(jnp.arange(len(u)) == 0, 1, jnp.exp(u)),)

    ordered.defvjp(lambda u: (ordered(u), u), backward)
    return case(lambda u: jnp.sum(jnp.sin(ordered(u))), draw.normal(draw.rows))


# ---- samples ---------------------------------------------------------------------------------------------------------


@form("numpyro")
def reparametrized_sample(draw: Draw) -> Case:
    @jax.custom_vjp
    def sample(loc, scale, key):
        return loc + scale * jax.random.normal(key, loc.shape, loc.dtype)

    def forward(loc, scale, key):
        return sample(loc, scale, key), key

    def backward(key, bar):
        return bar, bar * jax.random.normal(key, bar.shape, bar.dtype), None

    sample.defvjp(forward, backward)

    def elbo(q, key):
        scale = jax.nn.softplus(q["rho"])
        z = sample(q["mu"], scale, key)
        return jnp.sum(-0.5 * z**2 - jnp.log1p(z**2)) + jnp.sum(jnp.log(scale))

    return case(elbo, {"mu": draw.normal(3), "rho": draw.normal(3)}, draw.key())


@form("numpyro")
def divergence_in_closed_form(draw: Draw) -> Case:
    @jax.custom_vjp
    def divergence(mu, log_var):
        return -0.5 * jnp.sum(1 + log_var - mu**2 - jnp.exp(log_var))

    divergence.defvjp(
        lambda mu, log_var: (divergence(mu, log_var), (mu, log_var)),
        lambda kept, bar: (bar * kept[0], 0.5 * bar * (jnp.exp(kept[1]) - 1)),
    )

    def loss(q, x, key):
        z = q["mu"] + jnp.exp(q["log_var"] / 2) * jax.random.normal(key, (3,))
        return jnp.sum((x - jnp.outer(jnp.ones(len(x)), z)) ** 2) + divergence(q["mu"], q["log_var"])

    return case(loss, {"mu": draw.normal(3), "log_var": draw.normal(3)}, draw.normal(draw.rows, 3), draw.key())


@form("numpyro")
def relaxed_sample_of_classes(draw: Draw) -> Case:
    @static(2)
    def sample(logits, key, temperature):
        return jax.nn.softmax((logits + jax.random.gumbel(key, logits.shape, logits.dtype)) / temperature)

    sample.defvjp(
        lambda logits, key, t: (sample(logits, key, t),) * 2,
        lambda t, y, bar: (y * (bar - jnp.sum(y * bar, -1, keepdims=True)) / t, None),
    )
    return case(
        lambda z, key, w: jnp.sum(w * sample(z, key, 0.5) ** 2), draw.normal(draw.rows, 3), draw.key(), draw.normal(3)
    )


@form("numpyro")
def gamma_sample_of_jax(draw: Draw) -> Case:
    """JAX's own derivative of a sampler, and a rule by hand around it."""

    @jax.custom_vjp
    def scaled(g, rate):
        return g / rate

    scaled.defvjp(
        lambda g, rate: (g / rate, (g, rate)), lambda kept, bar: (bar / kept[1], -jnp.sum(bar * kept[0]) / kept[1] ** 2)
    )
    return case(
        lambda a, rate, key: jnp.sum(jnp.log1p(scaled(jax.random.gamma(key, a, (draw.rows,)), rate))),
        draw.positive() + 1, draw.positive(), draw.key(),
    )  # fmt: skip


@form("blackjax")
def leapfrog_that_runs_back(draw: Draw) -> Case:
    """The integrator keeps its end alone; backward integrates in reverse."""

    def force(q, w):
        return -w * jnp.sin(q)

    @static(3)
    def integrate(q, p, w, steps):
        def step(_, state):
            q, p = state
            p = p + 0.05 * force(q, w)
            q = q + 0.1 * p
            return q, p + 0.05 * force(q, w)

        return jax.lax.fori_loop(0, steps, step, (q, p))

    def forward(q, p, w, steps):
        end = integrate(q, p, w, steps)
        return end, (end, w)

    def backward(steps, kept, bars):
        (q, p), w = kept

        def step(_, state):
            q, p, q_bar, p_bar, w_bar = state
            p = p - 0.05 * force(q, w)
            w_bar = w_bar - 0.05 * p_bar * jnp.sin(q)
            q_bar = q_bar - 0.05 * p_bar * w * jnp.cos(q)
            p_bar = p_bar + 0.1 * q_bar
            q = q - 0.1 * p
            p = p - 0.05 * force(q, w)
            w_bar = w_bar - 0.05 * p_bar * jnp.sin(q)
            q_bar = q_bar - 0.05 * p_bar * w * jnp.cos(q)
            return q, p, q_bar, p_bar, w_bar

        state = q, p, *bars, jnp.zeros_like(q)
        _, _, q_bar, p_bar, w_bar = jax.lax.fori_loop(0, steps, step, state)
        return q_bar, p_bar, w_bar.sum()

    integrate.defvjp(forward, backward)

    def energy(q, p, w):
        q, p = integrate(q, p, w, 8)
        return jnp.sum(0.5 * p**2 + jnp.tanh(q))

    return case(energy, draw.normal(draw.rows), draw.normal(draw.rows), draw.positive())


@form("blackjax")
def acceptance_with_a_static_state(draw: Draw) -> Case:
    """A log-density that is handed over as a function, with its gradient beside it."""

    def log_density(x, precision):
        return -0.5 * x @ precision @ x - jnp.sum(jnp.log1p(x**2))

    def grad_log_density(x, precision):
        return -0.5 * (precision + precision.T) @ x - 2 * x / (1 + x**2)

    return case(log_density, draw.normal(3), draw.normal(3, 3), gradient=grad_log_density)


@form("blackjax")
def summary_of_a_walk(draw: Draw) -> Case:
    @jax.custom_vjp
    def drift(x, step):
        return x - step * jnp.tanh(x)

    drift.defvjp(
        lambda x, step: (drift(x, step), (x, step)),
        lambda kept, bar: (bar * (1 - kept[1] * (1 - jnp.tanh(kept[0]) ** 2)), jnp.sum(-bar * jnp.tanh(kept[0]))),
    )

    def f(x, step, key):
        def move(x, key):
            x = drift(x, step) + jnp.sqrt(2 * step) * jax.random.normal(key, x.shape, x.dtype)
            return x, x

        return jnp.mean(jax.lax.scan(move, x, jax.random.split(key, 3))[1] ** 2)

    return case(f, draw.normal(2), jnp.asarray(0.1, draw.dtype), draw.key())
