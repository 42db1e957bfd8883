"""How long does `fnn.check` of a user's function take, in a new process with nothing compiled: can it become a habit?

    python -m experiments.detection.habit --against OTHER_CHECKOUT --rounds 5 --out FILE

Measured: the first call of a function of three layers with four rules, a second one with closures made anew, and the
first of 64 unrolled layers, in seconds and in programs; where PyTorch is installed, its gradcheck, slow and fast, of
the same functions. With another checkout its `fnn` takes turns with this one. Each number is of a process of its own,
with the flags of the user and no disk cache.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: What is asked of them: seconds, and programs.
WANTED = {"three layers": (2.0, 25), "three layers, made anew": (0.5, 0), "64 layers": (8.0, None)}
#: Layers of the deep function.
DEEP = 64


def _layers() -> tuple[Callable[..., Any], ...]:
    """Four rules as a user writes them: dense, relu, tanh and a loss."""
    import jax
    import jax.numpy as jnp

    def rule(forward: Callable[..., Any], backward: Callable[..., tuple]) -> Callable[..., Any]:
        function = jax.custom_vjp(lambda *args: forward(*args))
        function.defvjp(lambda *args: (forward(*args), args), lambda args, bar: backward(bar, *args))
        return function

    return (
        rule(lambda x, W, b: x @ W + b, lambda bar, x, W, b: (bar @ W.T, x.T @ bar, bar.sum(0))),
        rule(lambda z: jnp.maximum(z, 0), lambda bar, z: (bar * (z > 0),)),
        rule(jnp.tanh, lambda bar, z: (bar * (1 - jnp.tanh(z) ** 2),)),
        rule(lambda p, t: jnp.mean((p - t) ** 2), lambda bar, p, t: (bar * 2 * (p - t) / p.size, None)),
    )


def _three() -> Callable[..., Any]:
    dense, relu, tanh, mse = _layers()

    def loss(params: Any, x: Any, y: Any) -> Any:
        (W1, b1), (W2, b2), (W3, b3) = params
        return mse(dense(tanh(dense(relu(dense(x, W1, b1)), W2, b2)), W3, b3), y)

    return loss


def _deep() -> Callable[..., Any]:
    dense, _, tanh, mse = _layers()

    def loss(params: Any, x: Any, y: Any) -> Any:
        for W, b in params:
            x = tanh(dense(x, W, b))
        return mse(x, y)

    return loss


def ours() -> dict[str, Any]:
    """(seconds, programs) of the calls of `fnn.check`, one after the other."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import fnn

    random, lowered = np.random.default_rng(0), []

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if "jaxpr_to_mlir" in event:
            lowered.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)

    def normal(*shape: int) -> Any:
        return jnp.asarray(random.normal(size=shape), jnp.float32)

    def taken(function: Callable[..., Any], *args: Any) -> tuple[float, int]:
        before, began = len(lowered), time.perf_counter()
        report = fnn.check(function, *args)
        seconds = time.perf_counter() - began
        if not report.ok:
            raise AssertionError(str(report))
        return seconds, len(lowered) - before

    shapes = ((5, 8), (8, 6), (6, 3))
    three = [(normal(*each), normal(each[1])) for each in shapes], normal(7, 5), normal(7, 3)
    deep = [(normal(8, 8) / 3, normal(8)) for _ in range(DEEP)], normal(7, 8), normal(7, 8)
    jax.block_until_ready((three, deep))
    return {
        "three layers": taken(_three(), *three),
        "three layers, made anew": taken(_three(), *three),
        "64 layers": taken(_deep(), *deep),
        "from": str(Path(fnn.__file__).parents[1]),
    }


def torchs() -> dict[str, Any]:
    """(seconds, None) of PyTorch's gradcheck on the same functions in float64, which it demands."""
    import torch  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)

    def rule(forward: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., Any]:
        def ahead(context: Any, *args: Any) -> Any:
            context.save_for_backward(*args)
            return forward(*args)

        def back(context: Any, bar: Any) -> Any:
            return backward(bar, *context.saved_tensors)

        methods = {"forward": staticmethod(ahead), "backward": staticmethod(back)}
        return type("Rule", (torch.autograd.Function,), methods).apply

    dense = rule(lambda x, W, b: x @ W + b, lambda bar, x, W, b: (bar @ W.T, x.T @ bar, bar.sum(0)))
    relu = rule(lambda z: z.clamp(min=0), lambda bar, z: bar * (z > 0))
    tanh = rule(torch.tanh, lambda bar, z: bar * (1 - torch.tanh(z) ** 2))
    mse = rule(lambda p, t: ((p - t) ** 2).mean(), lambda bar, p, t: (bar * 2 * (p - t) / p.numel(), None))

    def parameters(shapes: Any, scale: float = 1.0) -> list[Any]:
        made = [t for shape in shapes for t in (torch.randn(*shape) * scale, torch.randn(shape[1]))]
        return [each.requires_grad_() for each in made]

    x, y, wide, target = torch.randn(7, 5), torch.randn(7, 3), torch.randn(7, 8), torch.randn(7, 8)

    def three(W1: Any, b1: Any, W2: Any, b2: Any, W3: Any, b3: Any) -> Any:
        return mse(dense(tanh(dense(relu(dense(x, W1, b1)), W2, b2)), W3, b3), y)

    def deep(*params: Any) -> Any:
        h = wide
        for W, b in zip(params[::2], params[1::2], strict=True):
            h = tanh(dense(h, W, b))
        return mse(h, target)

    cases = {
        "three layers": (three, parameters(((5, 8), (8, 6), (6, 3)))),
        "64 layers": (deep, parameters([(8, 8)] * DEEP, 1 / 3)),
    }
    found: dict[str, Any] = {}
    for fast in (False, True):
        for name, (function, params) in cases.items():
            began = time.perf_counter()
            torch.autograd.gradcheck(function, params, fast_mode=fast)
            found[f"{name}, {'fast' if fast else 'slow'}"] = time.perf_counter() - began, None
    return found


def _process(what: str, root: Path) -> dict[str, Any]:
    """One worker in a new process, `fnn` from this checkout."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"} | {"PYTHONPATH": str(root)}
    command = [sys.executable, "-P", __file__, what]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=root)
    return json.loads(done.stdout.splitlines()[-1])


def measured(against: Path | None, rounds: int) -> dict[str, Any]:
    """{checkout: {call: [(seconds, programs) of every round]}}, one after the other in turn."""
    import importlib.util

    roots = {"this": Path(__file__).parents[2]} | ({"other": against.resolve()} if against else {})
    found: dict[str, Any] = {name: [] for name in roots}
    for _ in range(rounds):
        for name, root in roots.items():
            found[name].append(_process("ours", root))
    if importlib.util.find_spec("torch") is not None:
        found["torch"] = [_process("torch", roots["this"]) for _ in range(rounds)]
    return {
        name: {call: [each[call] for each in runs] for call in runs[0] if call != "from"}
        | ({"from": runs[0]["from"]} if "from" in runs[0] else {})
        for name, runs in found.items()
    }


def lines(found: dict[str, Any]) -> list[str]:
    """The medians as lines, beside what is asked."""
    said = []
    for name, calls in found.items():
        for call, runs in ((call, runs) for call, runs in calls.items() if call != "from"):
            seconds = sorted(each[0] for each in runs)
            text = f"{name:6} {call:26} {seconds[len(seconds) // 2]:6.2f} s ({seconds[0]:.2f} to {seconds[-1]:.2f})"
            programs = runs[0][1]
            text += "" if programs is None else f", {programs} programs"
            if name == "this" and call in WANTED:
                limit, most = WANTED[call]
                text += f"; asked: at most {limit} s" + ("" if most is None else f" and {most} programs")
            said.append(text)
    return said


def main(arguments: list[str]) -> int:
    """Measure, print, and write what was measured."""
    if arguments in (["ours"], ["torch"]):
        print(json.dumps(ours() if arguments == ["ours"] else torchs()))
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="another checkout, whose fnn takes turns with this one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="where the numbers are written as JSON")
    chosen = parser.parse_args(arguments)
    found = measured(chosen.against, chosen.rounds)
    print("\n".join(lines(found)))
    if chosen.out is not None:
        import jax

        machine = {"jax": jax.__version__, "python": platform.python_version(), "cores": os.cpu_count()}
        chosen.out.write_text(json.dumps({"machine": machine, "calls": found}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
