"""Other checkers in use today, at their defaults, on the same wrong rules at the same points.

Promises: each checker gets what it is made for: the loss as a function of the parameters, with the wrong rule inside;
PyTorch through an `autograd.Function` around the very same numbers, in float64 as its manual demands.
"""

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.test_util import check_grads

import fnn
from experiments.detection import bank
from experiments.detection.bank import Mutant
from experiments.progress import Watch

#: name -> (dtype, what it raises nothing of if the gradient is right)
Peer = Callable[[fnn.gradients.Backprop, tuple], bool]


def peers() -> dict[str, tuple[str, Peer]]:
    """Every peer that is installed: name -> (dtype, function that says True where it rejects)."""
    found: dict[str, tuple[str, Peer]] = {
        "check_grads, float32": ("float32", _check_grads),
        "check_grads, float64": ("float64", _check_grads),
        "check_grads, bfloat16": ("bfloat16", _check_grads),
        "chex.assert_numerical_grads, float32": ("float32", _chex),
    }
    if importlib.util.find_spec("torch") is not None:
        found["torch gradcheck, slow"] = ("float64", lambda by_hand, data: _torch(by_hand, data, fast=False))
        found["torch gradcheck, fast"] = ("float64", lambda by_hand, data: _torch(by_hand, data, fast=True))
    return found


def measured(mutants: list[Mutant], watch: Watch, *, seed: int = 0) -> dict[str, Any]:
    """{peer: {point: how many mutants it rejects}}, and the same for the rules that are right, which it should not."""
    found = {name: dict.fromkeys(bank.POINTS, 0) for name in peers()}
    alarms = {name: dict.fromkeys(bank.POINTS, 0) for name in peers()}
    rights: dict[Any, fnn.gradients.Backprop] = {}
    for number, mutant in enumerate(mutants):
        host = bank.host(mutant, 0, "first")
        first = host[2:] not in rights
        rights[host[2:]] = host.right
        for name, (dtype, rejects) in peers().items():
            for point in bank.POINTS:
                with jax.enable_x64(dtype == "float64"):
                    data = bank.data(host, point, 0, jnp.dtype(dtype), seed)
                    found[name][point] += rejects(host.by_hand, data)
                    alarms[name][point] += rejects(host.right, data) if first else 0
        watch("the peers", number + 1, len(mutants), f"{len(rights)} right nets")
    return {"mutants": len(mutants), "rejected": found, "right_nets": len(rights), "false_alarms": alarms}


def _loss(by_hand: fnn.gradients.Backprop, data: tuple) -> tuple[Callable[[Any], jax.Array], Any]:
    params, x, y, options = data
    lent = fnn.custom_vjp(by_hand)
    return lambda params: lent(params, x, y, **options), params


def _check_grads(by_hand: fnn.gradients.Backprop, data: tuple) -> bool:
    f, params = _loss(by_hand, data)
    return _rejects(lambda: check_grads(f, (params,), order=1, modes=["rev"]))


def _chex(by_hand: fnn.gradients.Backprop, data: tuple) -> bool:
    import chex

    f, params = _loss(by_hand, data)
    # it reads the size of its first argument, which must be one array
    flat, unravel = ravel_pytree(params)
    return _rejects(lambda: chex.assert_numerical_grads(lambda u: f(unravel(u)), (flat,), order=1, modes=["rev"]))


def _torch(by_hand: fnn.gradients.Backprop, data: tuple, *, fast: bool) -> bool:
    import torch  # pyright: ignore[reportMissingImports]

    params, x, y, options = data
    flat, unravel = ravel_pytree(params)
    value = jax.jit(lambda u: by_hand.objective(unravel(u), x, y, **options))
    gradient = jax.jit(lambda u: ravel_pytree(by_hand(unravel(u), x, y, **options)[1])[0])

    class Rule(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, u: Any) -> Any:
            ctx.save_for_backward(u)
            return torch.tensor(float(value(u.detach().numpy())), dtype=torch.float64)

        @staticmethod
        def backward(ctx: Any, bar: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
            (u,) = ctx.saved_tensors
            return bar * torch.from_numpy(np.array(gradient(u.detach().numpy())))

    u = torch.tensor(np.array(flat), requires_grad=True)
    return _rejects(lambda: torch.autograd.gradcheck(Rule.apply, (u,), fast_mode=fast))


def _rejects(check: Callable[[], Any]) -> bool:
    """True where the checker raises: it says wrong, or it cannot stand what the rule gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            check()
        except Exception:
            # each peer has exceptions of its own; whatever it raises, the user is told that something is wrong
            return True
    return False
