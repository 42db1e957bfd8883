"""Curvature by BackPACK, curvlinops and Opacus: their values beside ours in float64, and functions to be timed.

Promises: each peer is called as its own documentation says, on the same net (tanh, cross-entropy) with the same
parameters, copied; nothing here is imported unless PyTorch is installed. Letters: PyTorch's W is (O, I).
"""

import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn

LOSS = "softmax_cross_entropy"
LIMIT = 0.5
PACKAGES = ("torch", "backpack-for-pytorch", "curvlinops-for-pytorch", "opacus")


def versions() -> dict[str, str]:
    """{package: version} of the peers, empty unless all are installed."""
    try:
        return {name: version(name) for name in PACKAGES}
    except PackageNotFoundError:
        return {}


def _peer(name: str) -> Any:
    """A package that is not installed with the others."""
    return import_module(name)


class Problem:
    """One net in both worlds, with a batch."""

    def __init__(self, sizes: tuple[int, ...], rows: int, dtype: str) -> None:
        torch = _peer("torch")

        random = np.random.default_rng(0)
        self.net = fnn.mlp(*sizes)
        self.params = self.net.init(jax.random.key(0), dtype)
        self.x = random.normal(size=(rows, sizes[0])).astype(dtype)
        self.y = random.integers(0, sizes[-1], rows).astype(np.int32)
        self.vectors = jax.tree.map(lambda p: jnp.asarray(random.normal(size=p.shape), dtype), self.params)
        self.kind = torch.float64 if dtype == "float64" else torch.float32
        self.X, self.Y = torch.tensor(self.x), torch.tensor(self.y, dtype=torch.int64)

    def model(self) -> Any:
        """The net in PyTorch, with the same parameters."""
        torch = _peer("torch")

        layers: list[Any] = []
        for params in self.params:
            linear = torch.nn.Linear(*params["W"].shape, dtype=self.kind)
            with torch.no_grad():
                linear.weight.copy_(torch.tensor(np.asarray(params["W"]).T.copy()))
                linear.bias.copy_(torch.tensor(np.asarray(params["b"])))
            layers += [linear, torch.nn.Tanh()]
        return torch.nn.Sequential(*layers[:-1])

    def torch_vectors(self) -> list[Any]:
        """The vectors as PyTorch orders parameters."""
        torch = _peer("torch")

        leaves = []
        for layer in self.vectors:
            leaves += [torch.tensor(np.asarray(layer["W"]).T.copy()), torch.tensor(np.asarray(layer["b"]))]
        return leaves

    def ours(self, tree: Any) -> list[np.ndarray]:
        """A pytree like params in the order and shapes of PyTorch."""
        return [each for layer in tree for each in (np.asarray(layer["W"]).T, np.asarray(layer["b"]))]


def operator(problem: Problem, kind: str) -> Any:
    """A linear operator of curvlinops: "Hessian", "GGN" or "KFAC"."""
    curvlinops, torch = _peer("curvlinops"), _peer("torch")

    model = problem.model()
    options: dict[str, Any] = {"check_deterministic": False}
    if kind == "KFAC":
        options |= {"fisher_type": "type-2", "separate_weight_and_bias": False}
    made = getattr(curvlinops, f"{kind}LinearOperator")
    return made(model, torch.nn.CrossEntropyLoss(), list(model.parameters()), [(problem.X, problem.Y)], **options)


def backpack(problem: Problem, extension: str, reduction: str = "mean") -> Any:
    """The model after one pass back with an extension of BackPACK, which leaves its result on the parameters."""
    package, torch = _peer("backpack"), _peer("torch")

    model = package.extend(problem.model())
    loss = package.extend(torch.nn.CrossEntropyLoss(reduction=reduction))
    with package.backpack(getattr(package.extensions, extension)()):
        loss(model(problem.X), problem.Y).backward()
    return model


def opacus(problem: Problem) -> Any:
    """The model with `summed_grad` on its parameters: clipped as in a private step, without the noise."""
    torch, package = _peer("torch"), _peer("opacus")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = package.GradSampleModule(problem.model(), loss_reduction="sum")
        optimizer = package.optimizers.DPOptimizer(
            torch.optim.SGD(model.parameters(), lr=1.0), noise_multiplier=0.0, max_grad_norm=LIMIT,
            expected_batch_size=1,
        )  # fmt: skip
        torch.nn.CrossEntropyLoss(reduction="sum")(model(problem.X), problem.Y).backward()
        optimizer.clip_and_accumulate()
    return model


def values(sizes: tuple[int, ...], rows: int) -> dict[str, float]:
    """The largest difference between a peer's values and ours, relative to the largest entry, in float64."""
    with jax.enable_x64(True):
        problem = Problem(sizes, rows, "float64")
        net, params, x, y, v = problem.net, problem.params, problem.x, problem.y, problem.vectors
        curvature = fnn.curvature
        hessian = curvature.hessian_vector_product(net, LOSS)
        newton = curvature.gauss_newton_vector_product(net, LOSS)
        by_hand = fnn.backprop(net, LOSS)

        @jax.jit
        def ours() -> Any:
            factors = curvature.kronecker_factors(newton, params, x, y)
            return (
                hessian(params, x, y, v), newton(params, x, y, v), curvature.diagonal(newton, params, x, y),
                curvature.diagonal(hessian, params, x, y), factors, curvature.example_gradients(by_hand, params, x, y),
                curvature.clipped_sum(by_hand, params, x, y, limit=LIMIT)[0],
            )  # fmt: skip

        product, gauss, squares, diagonal, factors, each, clipped = jax.device_get(ours())
        # (A ⊗ G) V, layer by layer
        hats = [np.concatenate([np.asarray(l["W"]), np.asarray(l["b"])[None]]) for l in v]
        through = [f.A @ hat @ f.G for f, hat in zip(factors, hats, strict=True)]
        through = [part for out in through for part in (out[:-1].T, out[-1])]
    vectors = problem.torch_vectors()
    parameters = {name: list(backpack(problem, name).parameters()) for name in ("DiagGGNExact", "DiagHessian", "KFLR")}
    summed = list(backpack(problem, "BatchGrad", "sum").parameters())
    kron = [np.kron(f.A[:-1, :-1], f.G) for f in factors]
    theirs = [np.kron(*(np.asarray(factor) for factor in reversed(p.kflr))) for p in parameters["KFLR"] if p.ndim == 2]
    pairs = {
        "Hessian product, curvlinops": (problem.ours(product), operator(problem, "Hessian") @ vectors),
        "Gauss-Newton product, curvlinops": (problem.ours(gauss), operator(problem, "GGN") @ vectors),
        "KFAC times a vector, curvlinops": (through, operator(problem, "KFAC") @ vectors),
        "KFAC factors without bias, BackPACK": (kron, theirs),
        "Gauss-Newton diagonal, BackPACK": (
            problem.ours(squares), [p.diag_ggn_exact for p in parameters["DiagGGNExact"]],
        ),
        "Hessian diagonal, BackPACK": (problem.ours(diagonal), [p.diag_h for p in parameters["DiagHessian"]]),
        "example gradients, BackPACK": (
            [np.moveaxis(g, 1, 2) if g.ndim == 3 else g for l in each for g in (l["W"], l["b"])],
            [p.grad_batch for p in summed],
        ),
        "clipped sum, Opacus": (problem.ours(clipped), [p.summed_grad for p in opacus(problem).parameters()]),
    }  # fmt: skip
    return {name: _apart(*pair) for name, pair in pairs.items()}


def _apart(ours: list[Any], theirs: list[Any]) -> float:
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        b = np.asarray(b.detach() if hasattr(b, "detach") else b)
        assert a.shape == b.shape, (a.shape, b.shape)
        worst = max(worst, float(np.abs(a - b).max() / np.abs(b).max()))
    return worst


def timed(sizes: tuple[int, ...], batch: int, rows: int) -> dict[str, Callable[[], Any]]:
    """{what: a call that does it once}, in float32; clipped sums on `rows`, all else on `batch`."""
    torch = _peer("torch")

    small, large = Problem(sizes, batch, "float32"), Problem(sizes, rows, "float32")
    vectors = small.torch_vectors()
    hessian, newton = operator(small, "Hessian"), operator(small, "GGN")
    model = small.model()

    def gradient() -> None:
        model.zero_grad()
        torch.nn.CrossEntropyLoss()(model(small.X), small.Y).backward()

    return {
        "gradient, PyTorch": gradient,
        "Hessian product, curvlinops": lambda: hessian @ vectors,
        "Gauss-Newton product, curvlinops": lambda: newton @ vectors,
        "Gauss-Newton diagonal, BackPACK": lambda: backpack(small, "DiagGGNExact"),
        "clipped sum, Opacus": lambda: opacus(large),
        "example gradients, BackPACK": lambda: backpack(large, "BatchGrad", "sum"),
    }
