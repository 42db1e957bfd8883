"""Question: what do the penalties L1 and L2 do to weights, which of them makes weights exactly zero, and in what sense
are they priors?

Prediction: their gradients are 2W and sign(W), on weights and never on biases; the proximal step of L1 makes weights
exactly zero, in the end all of them, so that only the bias is left, the mean of the targets; plain gradient steps on L1
step over zero for ever and give no zeros, and neither does L2 (B9). The slide's "L1 will push certain weights to be
exactly 0" is true of the minimum, and of the proximal step. −log(likelihood × prior) is the objective times n/σ², plus
a constant: Gaussian prior of deviation τ with λ = σ²/(2nτ²), Laplacian of scale β with λ = σ²/(nβ) (B18).
Refuted by: exact zeros from plain steps or from L2, none from proximal steps; a path other than scikit-learn's Lasso
and the closed form of ridge regression; a bias that shrinks; objectives that differ by more than rounding.

Data: diabetes (442 patients, 10 features, from scikit-learn), standardized; a net reads digits. Witnesses: scikit-learn
for the path of L1, linear algebra for that of L2, the densities of SciPy for the priors.
"""

from dataclasses import dataclass
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Penalize weights by L1 and L2: paths, exact zeros, biases left alone, and the priors behind them.

    Plain gradient steps on L1 give no exact zeros; proximal steps do.
    """

    strengths: int = frame.at_least(1, 40)
    """How many strengths the paths are followed over."""
    steps: int = frame.at_least(1, 20_000)
    """Steps to the end of each point of a path."""
    net_steps: int = frame.at_least(1, 1500)
    """Steps of the net that reads digits."""
    draws: int = frame.at_least(1, 1000)
    """At how many random weights objective and posterior are compared."""


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "B9": (
            "gradients",
            "differences",
            "bias",
            "mean",
            "biases",
            "proximal",
            "all",
            "many",
            "plain",
            "l2",
            "witnesses",
            "near",
        ),
        "B18": ("priors", "constants", "without"),
    },
    quick={"strengths": 8, "net_steps": 400},
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

METHODS = ("proximal L1", "plain L1", "L2")


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Follow the paths, train the net, compare with the priors, and return the numbers."""
    with jax.enable_x64(True):
        x, y, names = _diabetes()
        result = {"paths": _paths(options, x, y, names)}
        watch("paths", 1, 1, f"{options.strengths} strengths")
        result["slopes"] = _slopes(options)
        result["priors"] = _priors(options, x, y)
        watch("priors", 1, 1, "Gaussian and Laplacian")
    result["net"] = _net(options)
    watch("digits", 1, 1, f"{result['net']['methods']['proximal L1']['zeros']:.0%} of the weights are 0")
    return result


def _diabetes() -> tuple[np.ndarray, np.ndarray, list[str]]:
    from sklearn.datasets import load_diabetes

    data: Any = load_diabetes()
    x, y = np.asarray(data["data"]), np.asarray(data["target"])
    # the target in units of its deviation; its mean stays, for the bias to find
    return (x - x.mean(axis=0)) / x.std(axis=0), (y / y.std())[:, None], list(data["feature_names"])


def shrink(W: jax.Array, amount: Any) -> jax.Array:
    """The proximal step of amount · |W|: towards zero, and no further.

    >>> shrink(jnp.array([3.0, -0.5]), 1.0)
    Array([2., 0.], dtype=float32)
    """
    # |W| − amount where that is positive, with the sign of W
    return jnp.where(jnp.abs(W) > amount, W - amount * jnp.sign(W), jnp.zeros_like(W))


def _paths(options: Options, x: np.ndarray, y: np.ndarray, names: list[str]) -> dict[str, Any]:
    """Weights of a linear unit against the strength of the penalty, by three methods, beside their witnesses."""
    from sklearn.linear_model import Lasso

    net = fnn.dense(x.shape[1], 1)
    loss = fnn.half_squared_error
    count = len(x)
    covariance, correlation = x.T @ x / count, x.T @ (y - y.mean()) / count
    # from here on all weights of L1 are zero
    most = float(np.abs(correlation).max())
    strengths = np.geomspace(most * 1e-3, most * 1.2, options.strengths)
    # the bias has curvature 1, and L2 adds 2λ: below this limit every run converges
    rate = 1 / (np.linalg.eigvalsh(covariance)[-1] + 2 * strengths[-1])

    @jax.jit
    def followed(x: jax.Array, y: jax.Array, strengths: jax.Array) -> Any:
        start = {"W": jnp.full((x.shape[1], 1), 0.1), "b": jnp.zeros(1)}

        def descend(gradient: Any, after: Any) -> Any:
            def step(_: int, p: Any) -> Any:
                p = jax.tree.map(lambda w, g: w - rate * g, p, gradient(p))
                return p | {"W": after(p["W"])}

            return jax.lax.fori_loop(0, options.steps, step, start)

        def one(strength: jax.Array) -> Any:
            def penalized(penalty: fnn.Regularizer) -> Any:
                return lambda p: fnn.backprop(net, loss, penalty)(p, x, y, strength=strength)[1]

            bare = fnn.backprop(net, loss)
            return (
                descend(lambda p: bare(p, x, y)[1], lambda W: shrink(W, rate * strength)),
                descend(penalized(fnn.l1), lambda W: W),
                descend(penalized(fnn.l2), lambda W: W),
            )

        return jax.vmap(one)(strengths)

    results = followed(jnp.asarray(x), jnp.asarray(y), jnp.asarray(strengths))
    lasso = np.array(
        [Lasso(alpha=strength, tol=1e-12, max_iter=100_000).fit(x, y[:, 0]).coef_ for strength in strengths]
    )
    # ½ mean e² + λ Σ w²: (C + 2λ) w = c
    ridge = np.array([np.linalg.solve(covariance + 2 * s * np.eye(len(names)), correlation[:, 0]) for s in strengths])
    paths = {name: np.asarray(each["W"])[..., 0] for name, each in zip(METHODS, results, strict=True)}
    return {
        "features": names,
        "strengths": strengths,
        "steps": options.steps,
        "step_of_plain": float(rate * strengths[-1]),
        "weights": {name: np.round(path, 6) for name, path in paths.items()},
        "zeros": {name: (path == 0).sum(axis=1) for name, path in paths.items()},
        "lasso_zeros": (lasso == 0).sum(axis=1),
        "apart": {
            "proximal L1": float(np.abs(paths["proximal L1"] - lasso).max()),
            "plain L1": float(np.abs(paths["plain L1"] - lasso).max()),
            "L2": float(np.abs(paths["L2"] - ridge).max()),
        },
        "mean": float(y.mean()),
        "bias": {name: np.asarray(each["b"])[:, 0] for name, each in zip(METHODS, results, strict=True)},
    }


def _slopes(options: Options) -> dict[str, float]:
    """The gradients of both penalties against central differences, and what they give a bias."""
    random = np.random.default_rng(options.seed)
    # no weight within a step of the kink of |W|
    W = np.sign(random.normal(size=(4, 3))) * random.uniform(0.1, 2, (4, 3))
    params = {"W": jnp.asarray(W), "b": jnp.asarray(random.normal(size=3))}
    results = {}
    for name, penalty, formula in (("L2", fnn.l2, 2 * W), ("L1", fnn.l1, np.sign(W))):
        gradient = jax.jit(lambda p, penalty=penalty: penalty.gradient(p, 1.0))(params)
        differences = jax.jit(fnn.central_differences(lambda p, penalty=penalty: penalty(p, 1.0)))(params)
        results[f"{name} formula"] = float(np.abs(np.asarray(gradient["W"]) - formula).max())
        results[f"{name} differences"] = float(np.abs(np.asarray(differences["W"]) - formula).max())
        results[f"{name} bias"] = float(
            max(np.abs(np.asarray(gradient["b"])).max(), np.abs(np.asarray(differences["b"])).max())
        )
    return results


def _priors(options: Options, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Objective times n/σ² plus constants against −log(likelihood × prior) by SciPy's densities."""
    from scipy import stats

    random = np.random.default_rng(options.seed)
    count, size = x.shape
    deviation, tau, beta = 0.7, 0.3, 0.2
    weights = random.normal(size=(options.draws, size, 1))
    bias = random.normal(size=(options.draws, 1))
    errors = y[None] - (x[None] @ weights + bias[:, None])
    likelihood = stats.norm.logpdf(errors, scale=deviation).sum(axis=(1, 2))
    results = {}
    for name, penalty, strength, prior, constant in (
        ("Gaussian", fnn.l2, deviation**2 / (2 * count * tau**2), stats.norm.logpdf(weights, scale=tau),
         size / 2 * np.log(2 * np.pi * tau**2)),
        ("Laplacian", fnn.l1, deviation**2 / (count * beta), stats.laplace.logpdf(weights, scale=beta),
         size * np.log(2 * beta)),
    ):  # fmt: skip
        objective = fnn.objective(fnn.dense(size, 1), fnn.half_squared_error, penalty)
        values = jax.jit(
            jax.vmap(
                lambda W, b, objective=objective, strength=strength: objective(
                    {"W": W, "b": b}, jnp.asarray(x), jnp.asarray(y), strength=strength
                )
            )
        )(jnp.asarray(weights), jnp.asarray(bias))
        posterior = -(likelihood + prior.sum(axis=(1, 2)))
        ours = count / deviation**2 * np.asarray(values) + count / 2 * np.log(2 * np.pi * deviation**2) + constant
        results[name] = {
            "strength": strength,
            "constant": float(constant),
            "apart": float(np.abs(ours / posterior - 1).max()),
            # without the constant of the prior the two differ, by just that
            "without_constant": float(np.abs((ours - constant) - posterior).mean() - abs(constant)),
        }
    return results | {"draws": options.draws, "terms": count + size}


def _net(options: Options) -> dict[str, Any]:
    """A net on digits, trained by each method: how many weights are exactly zero, how well it reads the rest."""
    images, labels = fnn.data.digits()
    train, rest = fnn.data.stratified_split(labels, [600, len(labels) - 600], seed=0)
    x, y = jnp.asarray(images[train]), jnp.asarray(labels[train])
    net, rate, strength = fnn.mlp(64, 16, 10), 0.5, 2e-3

    @jax.jit
    def trained(key: jax.Array) -> Any:
        start = net.init(key)

        def descend(gradient: Any, after: Any) -> Any:
            def step(_: int, p: Any) -> Any:
                p = jax.tree.map(lambda w, g: w - rate * g, p, gradient(p))
                return tuple({"W": after(each["W"]), "b": each["b"]} for each in p)

            return jax.lax.fori_loop(0, options.net_steps, step, start)

        def penalized(penalty: fnn.Regularizer) -> Any:
            by_hand = fnn.backprop(net, fnn.softmax_cross_entropy, penalty)
            return lambda p: by_hand(p, x, y, strength=strength)[1]

        bare = fnn.backprop(net, fnn.softmax_cross_entropy)
        ends = (
            descend(lambda p: bare(p, x, y)[1], lambda W: shrink(W, rate * strength)),
            descend(penalized(fnn.l1), lambda W: W),
            descend(penalized(fnn.l2), lambda W: W),
        )
        return [(p, fnn.accuracy(net.apply(p, images[rest]), labels[rest])) for p in ends]

    results = trained(jax.random.key(options.seed))
    bins = np.linspace(-1.5, 1.5, 62)
    methods = {}
    for name, (params, accuracy) in zip(METHODS, results, strict=True):
        W = np.concatenate([np.ravel(each["W"]) for each in params])
        methods[name] = {
            "zeros": float((W == 0).mean()),
            "accuracy": float(accuracy),
            "biases_zero": int(sum((np.asarray(each["b"]) == 0).sum() for each in params)),
            "histogram": np.histogram(np.clip(W, -1.5, 1.5), bins)[0],
        }
    return {"strength": strength, "steps": options.net_steps, "bins": bins, "methods": methods}


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    paths, slopes, net, priors = result["paths"], result["slopes"], result["net"]["methods"], result["priors"]
    # every term is rounded once
    rounding = priors["terms"] * float(np.finfo(np.float64).eps)
    both = [priors[name] for name in ("Gaussian", "Laplacian")]

    def part(word: str) -> list[float]:
        return [value for name, value in slopes.items() if word in name]

    return {
        "gradients": Prediction("the gradients are 2W and sign(W)", part("formula"), "at most", 0.0),
        # central differences of a penalty near 10 with a step of 1e-5 leave 1e-10
        "differences": Prediction("and those of differences", part("differences"), "at most", 1e-8),
        "bias": Prediction("the gradient of a penalty at a bias", part("bias"), "at most", 0.0),
        "mean": Prediction(
            "at the strongest L1 the bias is the mean of the targets: difference along the path",
            [abs(b - paths["mean"]) for b in paths["bias"]["proximal L1"]],
            "at most",
            1e-6,
        ),
        "biases": Prediction("biases of the net that are 0", [e["biases_zero"] for e in net.values()], "at most", 0),
        "proximal": Prediction(
            "proximal steps make weights exactly zero, as many as scikit-learn's",
            paths["zeros"]["proximal L1"] == paths["lasso_zeros"],
        ),
        "all": Prediction(
            "at the strongest L1 all weights are 0: weights that are left",
            len(paths["features"]) - paths["zeros"]["proximal L1"][-1],
            "is",
            0,
        ),
        "many": Prediction("share of exact zeros of a net by proximal L1", net["proximal L1"]["zeros"], "above", 0.1),
        "plain": Prediction(
            "exact zeros by plain steps on L1", [*paths["zeros"]["plain L1"], net["plain L1"]["zeros"]], "at most", 0
        ),
        "l2": Prediction("exact zeros with L2", [*paths["zeros"]["L2"], net["L2"]["zeros"]], "at most", 0),
        "witnesses": Prediction(
            "the paths are those of the witnesses",
            [paths["apart"]["proximal L1"], paths["apart"]["L2"]],
            "at most",
            1e-5,
        ),
        "near": Prediction(
            "plain steps stay near the minimum: distance in steps",
            paths["apart"]["plain L1"] / paths["step_of_plain"],
            "at most",
            10.0,
        ),
        "priors": Prediction(
            "penalties are priors, constants included", [e["apart"] for e in both], "at most", rounding
        ),
        "constants": Prediction("the constants are not 0", [abs(e["constant"]) for e in both], "above", 1e-3),
        "without": Prediction(
            "penalties and priors differ by constants alone",
            [abs(e["without_constant"]) for e in both],
            "at most",
            1e-6,
        ),
    }


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """What the numbers say of claims B9 and B18."""
    paths, net, prior = result["paths"], result["net"]["methods"], result["priors"]
    zeros = {name: f"{each['zeros']:.1%}" for name, each in net.items()}
    return {
        "B9": Evidence(
            f"Exact zeros in a net on digits: {zeros['proximal L1']} by proximal steps of L1, {zeros['plain L1']} by "
            f"plain steps on L1, {zeros['L2']} with L2 (predicted many, 0, 0). On diabetes the proximal path is that "
            f"of scikit-learn's Lasso to {paths['apart']['proximal L1']:.0e}, L2's that of ridge regression to "
            f"{paths['apart']['L2']:.0e}; at the strongest L1 all {len(paths['features'])} weights are 0 and the bias "
            f"is {paths['bias']['proximal L1'][-1]:.4f} (mean of the targets {paths['mean']:.4f}). That L1 makes exact "
            "zeros is true of its minimum; gradient steps alone step over it.",
            "paths.svg",
        ),
        "B18": Evidence(
            f"−log(likelihood × prior) against n/σ² times the objective plus constants, at {prior['draws']} random "
            f"weights: apart by {prior['Gaussian']['apart']:.0e} of its value (Gaussian, constant "
            f"{prior['Gaussian']['constant']:.3f}) and {prior['Laplacian']['apart']:.0e} (Laplacian, constant "
            f"{prior['Laplacian']['constant']:.3f}).",
            "priors.svg",
        ),
    }


def show(saved: dict[str, Any], console: Console) -> None:
    """Print zeros and accuracies of the net, the witnesses."""
    result = saved["result"]
    table = Table(title=f"A net on digits, strength {result['net']['strength']:g}")
    for heading in (
        "method",
        "weights exactly 0",
        "read correctly",
        "diabetes: zeros at the strongest",
        "from witness",
    ):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for name, each in result["net"]["methods"].items():
        zeros, apart = result["paths"]["zeros"][name][-1], result["paths"]["apart"][name]
        table.add_row(name, f"{each['zeros']:.1%}", f"{each['accuracy']:.1%}", str(zeros), f"{apart:.0e}")
    console.print(table)


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    result = saved["result"]
    return {"paths.svg": _paths_figure(result["paths"]), "priors.svg": _priors_figure(result["net"])}


def _paths_figure(paths: dict[str, Any]) -> Any:
    from experiments import figures

    figure, ((l1, l2, zeros),) = figures.blank(15, 4.6, columns=3)
    colors = (figures.BLUE, figures.ORANGE, figures.GREEN, figures.RED, figures.PINK)
    for axis, name in ((l1, "proximal L1"), (l2, "L2")):
        for k, feature in enumerate(paths["features"]):
            axis.plot(
                paths["strengths"], np.array(paths["weights"][name])[:, k], color=colors[k % 5], lw=2,
                ls="-" if k < 5 else "--", label=feature,
            )  # fmt: skip
        axis.set(xscale="log", xlabel="strength λ", ylabel="weight (standardized)", title=f"Diabetes: path of {name}")
    l2.legend(fontsize=8, ncols=2, title="feature")
    for name, color, style in zip(
        METHODS, (figures.BLUE, figures.RED, figures.GREEN), ("-", "--", (0, (1, 1.5))), strict=True
    ):
        zeros.plot(paths["strengths"], paths["zeros"][name], color=color, ls=style, lw=2.5, label=name)
    zeros.plot(paths["strengths"], paths["lasso_zeros"], "o", color="black", ms=3, label="scikit-learn's Lasso")
    zeros.set(
        xscale="log", xlabel="strength λ", ylabel=f"weights exactly 0, of {len(paths['features'])}", title="Exact zeros"
    )
    zeros.legend(fontsize=9)
    return figure


def _priors_figure(net: dict[str, Any]) -> Any:
    from experiments import figures

    figure, ((density, penalty, weights),) = figures.blank(15, 4.4, columns=3)
    w = np.linspace(-3, 3, 301)
    # both of deviation 1
    beta = 0.5**0.5
    density.plot(w, np.exp(-(w**2) / 2) / np.sqrt(2 * np.pi), color=figures.GREEN, lw=2, label="Gaussian")
    density.plot(w, np.exp(-np.abs(w) / beta) / (2 * beta), color=figures.BLUE, lw=2, ls="--", label="Laplacian")
    density.set(title="Two priors of deviation 1", xlabel="weight", ylabel="density", ylim=(0, None))
    density.legend()
    penalty.plot(w, w**2 / 2 + np.log(2 * np.pi) / 2, color=figures.GREEN, lw=2, label="L2 + constant")
    penalty.plot(w, np.abs(w) / beta + np.log(2 * beta), color=figures.BLUE, lw=2, ls="--", label="L1 + constant")
    penalty.set(title="−log of the priors: the penalties", xlabel="weight", ylabel="penalty (nats)")
    penalty.legend()
    middles = (np.array(net["bins"])[1:] + np.array(net["bins"])[:-1]) / 2
    for name, color, style in zip(
        METHODS, (figures.BLUE, figures.RED, figures.GREEN), ("-", "--", (0, (1, 1.5))), strict=True
    ):
        each = net["methods"][name]
        weights.step(
            middles, np.maximum(each["histogram"], 0.5), where="mid", color=color, ls=style, lw=2,
            label=f"{name}: {each['zeros']:.0%} exactly 0",
        )  # fmt: skip
    weights.set(
        yscale="log", ylim=(0.8, 6000), title="Digits: weights of a trained net", xlabel="weight", ylabel="weights"
    )
    weights.legend(fontsize=9, loc="upper left")
    return figure
