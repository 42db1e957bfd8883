"""The library broken on purpose: for every claim a change of one line of `fnn` under which its test and verdict fall.

    python -m tests.experiments.mutants [CLAIM …]     runs each claim's tests and the quick form of its experiments
                                                      under its mutant, says what fell and keeps it in `mutants.json`;
                                                      the status is 1 where a test or a verdict survived

As a plugin of pytest (`-p tests.experiments.mutants`), or run as a program, it breaks the library by the mutant that
FNN_MUTANT names, before anything is traced. A mutant is a text in the source of one function and what stands there
instead. A verdict falls where a prediction on which it rests holds in the quick form of the library as it is, and does
not hold, or cannot be measured, in that of the mutant.
"""

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple


class Mutant(NamedTuple):
    """One line of the library, changed."""

    target: str
    """The module and the function in it, "fnn.linear:affine_backward"."""
    old: str
    new: str


MUTANTS: dict[str, Mutant] = {
    "a branch is not added": Mutant(
        "fnn.glassbox.backpass:backward",
        "position, bar))\n            bars[number] = bars[number] + bar if number in bars else bar",
        "position, bar))\n            bars[number] = bar",
    ),
    "max hands on to the loser": Mutant("fnn.glassbox.rules.arithmetic:maximum", "_share(a > b", "_share(b > a"),
    "a product keeps one factor": Mutant("fnn.glassbox.rules.arithmetic:mul", "y_bar * b", "y_bar"),
    "nothing is shuffled": Mutant(
        "fnn.training.shuffle:part_of_permutation",
        "return rows.astype(jnp.int32)",
        "return (jnp.asarray(first, jnp.int32) + jnp.arange(count, dtype=jnp.int32))",
    ),
    "momentum is damped": Mutant(
        "fnn.optimizers:Momentum.update",
        "g + self.decay * m, gradients, state",
        "(1 - self.decay) * g + self.decay * m, gradients, state",
    ),
    "steps twice as long": Mutant(
        "fnn.optimizers:Sgd.update", "-self.learning_rate * g", "-2 * self.learning_rate * g"
    ),
    "W_bar with its sign turned": Mutant(
        "fnn.linear:affine_backward", "W_bar = jnp.tensordot", "W_bar = -jnp.tensordot"
    ),
    "x_bar by W, not its transpose": Mutant("fnn.linear:affine_backward", "z_bar @ W.T", "(z_bar @ W.T)[..., ::-1]"),
    "x_bar by a whole Jacobian": Mutant(
        "fnn.linear:affine_backward", "x_bar = z_bar @ W.T", "x_bar = z_bar @ ((W @ W.T) @ W * 0 + W).T"
    ),
    "x_bar keeps eight bits": Mutant(
        "fnn.linear:affine_backward", "x_bar = z_bar @ W.T", "x_bar = jnp.round(256 * (z_bar @ W.T)) / 256"
    ),
    "b_bar is a mean": Mutant("fnn.linear:affine_backward", "b_bar = jnp.sum", "b_bar = jnp.mean"),
    "the bias is left out": Mutant(
        "fnn.linear:affine", "return z + jnp.broadcast_to(b, z.shape)", "return z + 0 * jnp.sum(b)"
    ),
    "a unit knows its place": Mutant(
        "fnn.linear:affine",
        "return z + jnp.broadcast_to(b, z.shape)",
        "return z + jnp.broadcast_to(b + 0.01 * jnp.arange(len(b), dtype=b.dtype), z.shape)",
    ),
    "the sum is not transposed in order": Mutant(
        "fnn.linear:homogeneous_matrix", "[b.reshape(1, -1), W]", "[W, b.reshape(1, -1)]"
    ),
    "tanh's slope lacks a factor": Mutant("fnn.activations:Tanh.backward", "((1 - a) * (1 + a))", "(1 - a)"),
    "sigmoid's slope lacks a factor": Mutant("fnn.activations:Sigmoid.backward", "(a * (1 - a))", "a"),
    "sigmoid as it is written": Mutant(
        "fnn.activations:Sigmoid.forward", "jax.nn.sigmoid(z)", "jnp.exp(z) / (jnp.exp(z) + 1)"
    ),
    "relu leaks": Mutant("fnn.activations:Relu.forward", "return a, a", "return a + 0.01 * z, a"),
    "sign lets a gradient through": Mutant("fnn.activations:Sign.backward", "jnp.zeros_like(a_bar)", "a_bar"),
    "0 counts as below": Mutant("fnn.activations:_step", "z < 0, jnp.full_like", "z <= 0, jnp.full_like"),
    "softmax forgets one class": Mutant("fnn.activations:Softmax.forward", "return a, a", "return a * 1.01, a"),
    "softmax sees a shift": Mutant("fnn.activations:Softmax.forward", "return a, a", "return a + 0.001 * z, a"),
    "p − y without y": Mutant("fnn.losses:SoftmaxCrossEntropy.slope", "_add_at_label(p, target, -1)", "p"),
    "the loss is not that of the label": Mutant(
        "fnn.losses:SoftmaxCrossEntropy.values", "_at_label(shifted, target)", "0.5 * _at_label(shifted, target)"
    ),
    "−1/p is −p": Mutant("fnn.losses:NegativeLogLikelihood.slope", "-_log_slope(at_label)", "-at_label"),
    "brackets are left out": Mutant(
        "fnn.losses:BinaryCrossEntropy.values", "+ (1 - y) * jnp.log", "- (1 - y) * jnp.log"
    ),
    "the logistic loss is halved": Mutant(
        "fnn.losses:SigmoidCrossEntropy.values", "return jnp.sum(y", "return 0.5 * jnp.sum(y"
    ),
    "squared error with a ½": Mutant(
        "fnn.losses:SquaredError.values", "jnp.sum(e * e, axis=-1)", "0.5 * jnp.sum(e * e, axis=-1)"
    ),
    "e without its sign": Mutant("fnn.losses:HalfSquaredError.slope", "return residuals", "return -residuals"),
    "L2 is halved": Mutant("fnn.regularizers:L2.__call__", "jnp.sum(W * W)", "0.5 * jnp.sum(W * W)"),
    "biases are penalized": Mutant("fnn.regularizers:_is_weight", '== "W"', 'in ("W", "b")'),
    "hinge with margin ½": Mutant("fnn.losses:Hinge.values", "1 - margin", "0.5 - margin"),
    "the bound of the weights is wide": Mutant(
        "fnn.initializers:GlorotUniform.__call__", "math.sqrt(6 /", "math.sqrt(12 /"
    ),
    "the perceptron corrects nothing at 0": Mutant("fnn.lectures._perceptron:perceptron_pass", "<= 0", "< 0"),
    "thresholds are strict": Mutant("fnn.lectures.trees:Comparisons.forward", "_ordered(x) <=", "_ordered(x) <"),
    "differences divide by h/2": Mutant(
        "fnn.differences:_leaf_differences", "-h[i] / 2)) / h[i]", "-h[i] / 2)) / (h[i] / 2)"
    ),
    "one step for every dtype": Mutant(
        "fnn.differences:scaled_step", "jnp.finfo(x.dtype).eps", "jnp.asarray(1e-5, x.dtype)"
    ),
    "differences are taken three times": Mutant(
        "fnn.differences:_leaf_differences",
        "(moved(i, h[i] / 2) - moved(i, -h[i] / 2)) / h[i]",
        "(moved(i, h[i]) - moved(i, -h[i]) + moved(i, h[i] / 2) - moved(i, -h[i] / 2)) / h[i] / 3",
    ),
    "the sign of the error is its size": Mutant("fnn.losses:AbsoluteError.slope", "jnp.sign(residuals)", "residuals"),
    "units of tanh are squares": Mutant("fnn.activations:Tanh.forward", "return a, a", "return z * z, a"),
    "sigmoid is shifted": Mutant("fnn.activations:Sigmoid.forward", "return a, a", "return a + 0.01, a"),
    "the likelihood is not taken to its logarithm": Mutant(
        "fnn.losses:NegativeLogLikelihood.values", "return -jnp.log(_clip(p))[..., 0]", "return 1 - _clip(p)[..., 0]"
    ),
    "the input is always differentiated": Mutant(
        "fnn.gradients:Backprop.__call__",
        "self.objective.backward(params, residuals)[0]",
        "jax.tree.map(lambda g, s=self.objective.backward(params, residuals)[1]: g + 0 * jnp.sum(s),"
        " self.objective.backward(params, residuals)[0])",
    ),
    "the perceptron corrects by half": Mutant(
        "fnn.lectures._perceptron:perceptron_pass",
        "return (w + correction * x, b + correction)",
        "return (w - 0.9 * w + correction * x, b + correction)",
    ),
    "constants are −30 times what they are": Mutant(
        "fnn.initializers:Constant.__call__", "self.value", "-30 * self.value"
    ),
    "one-hot is read backwards": Mutant(
        "fnn.metrics:one_hot", "labels, classes, dtype=dtype)", "labels, classes, dtype=dtype)[..., ::-1]"
    ),
    "a power keeps its exponent": Mutant("fnn.glassbox.rules.arithmetic:integer_pow", "(n - 1)", "n"),
    "weights below 0 are drawn as those above": Mutant(
        "fnn.glassbox.picture.nets:_edges", '"positive" if w > 0', '"positive" if w != 0'
    ),
    "layers backward in forward order": Mutant(
        "fnn.network:Sequential.backward", "params_bar.append(p_bar)", "params_bar.insert(0, p_bar)"
    ),
}

#: For every claim the mutant under which a test with its number fails.
OF: dict[str, str] = {
    "A1": "0 counts as below", "A2": "W_bar with its sign turned", "A3": "the bias is left out",
    "A4": "thresholds are strict", "A5": "one-hot is read backwards", "A6": "softmax forgets one class",
    "A7": "the loss is not that of the label", "A8": "differences divide by h/2", "A9": "one step for every dtype",
    "A10": "a power keeps its exponent", "A11": "steps twice as long", "A12": "differences are taken three times",
    "A13": "sigmoid's slope lacks a factor", "A14": "sign lets a gradient through", "A15": "W_bar with its sign turned",
    "A16": "W_bar with its sign turned", "A17": "x_bar keeps eight bits", "A18": "W_bar with its sign turned",
    "A19": "momentum is damped", "A20": "tanh's slope lacks a factor", "A21": "the logistic loss is halved",
    "B1": "squared error with a ½", "B2": "squared error with a ½", "B3": "the logistic loss is halved",
    "B4": "the perceptron corrects nothing at 0", "B5": "sigmoid's slope lacks a factor", "B6": "nothing is shuffled",
    "B7": "p − y without y", "B8": "x_bar by W, not its transpose", "B9": "biases are penalized",
    "B10": "the bound of the weights is wide", "B11": "a unit knows its place", "B12": "tanh's slope lacks a factor",
    "B13": "layers backward in forward order", "B14": "p − y without y", "B15": "softmax sees a shift",
    "B16": "relu leaks", "B17": "relu leaks", "B18": "L2 is halved", "B19": "hinge with margin ½",
    "B20": "−1/p is −p", "B21": "the perceptron corrects nothing at 0", "B22": "the sign of the error is its size",
    "B23": "units of tanh are squares",
    "B24": "the bias is left out", "B25": "sigmoid is shifted", "B26": "the bias is left out",
    "B27": "the likelihood is not taken to its logarithm", "B28": "the input is always differentiated",
    "B29": "constants are −30 times what they are",
    "B30": "the perceptron corrects by half",
    "C1": "W_bar with its sign turned", "C2": "the bias is left out", "C3": "a unit knows its place",
    "C4": "the bias is left out", "C5": "a unit knows its place", "C6": "e without its sign",
    "C7": "a product keeps one factor", "C8": "x_bar by W, not its transpose", "C9": "e without its sign",
    "C10": "sigmoid as it is written", "C11": "W_bar with its sign turned",
    "C12": "weights below 0 are drawn as those above",
    "D1": "squared error with a ½", "D2": "x_bar by W, not its transpose", "D3": "a branch is not added",
    "D4": "sigmoid's slope lacks a factor", "D5": "x_bar by a whole Jacobian",
    "D6": "b_bar is a mean", "D7": "brackets are left out",
    "D8": "the sum is not transposed in order", "D9": "a product keeps one factor",
    "E1": "steps twice as long", "E2": "differences are taken three times", "E3": "a product keeps one factor",
    "E4": "a product keeps one factor", "E5": "max hands on to the loser", "E6": "sigmoid's slope lacks a factor",
    "E7": "W_bar with its sign turned", "E8": "W_bar with its sign turned", "E9": "W_bar with its sign turned",
}  # fmt: skip


@contextmanager
def broken(name: str) -> Iterator[None]:
    """The library with this mutant in it. What JAX traced before stays as it was; what is traced anew is broken."""
    undo = _apply(MUTANTS[name])
    try:
        yield
    finally:
        for owner, attribute, original in undo:
            _set(owner, attribute, original)


def _apply(mutant: Mutant) -> list[tuple[Any, str, Any]]:
    """Put it in every place where the function is known; return what stood there."""
    module_name, path = mutant.target.split(":")
    module = importlib.import_module(module_name)
    *outer, name = path.split(".")
    owner: Any = module
    for part in outer:
        owner = getattr(owner, part)
    original = owner.__dict__[name]
    source = textwrap.dedent(inspect.getsource(original))
    assert mutant.old in source, f"{mutant.target} has no {mutant.old!r} any more. Change the mutant with it."
    scope: dict[str, Any] = {}
    exec(compile(source.replace(mutant.old, mutant.new, 1), module.__file__ or "", "exec"), vars(module), scope)
    places: list[tuple[Any, str, Any]] = [(owner, name, original)]
    if not outer:
        # imported by name elsewhere in the package
        others = [each for key, each in sys.modules.items() if key.startswith("fnn") and each is not module]
        places += [(each, key, original) for each in others for key, value in vars(each).items() if value is original]
        import fnn.glassbox.rules  # noqa: F401  (fills the table)
        from fnn.glassbox.table import TABLE

        places += [(each, "rule", original) for each in TABLE.values() if each.rule is original]
    for where, attribute, _ in places:
        _set(where, attribute, scope[name])
    return places


def _set(owner: Any, attribute: str, value: Any) -> None:
    # the records of the glass box are frozen; classes and modules are not
    (object.__setattr__ if attribute == "rule" else setattr)(owner, attribute, value)


#: What fell under each claim's mutant, when it was last run; the site's page of mutants is made from it.
FILE = Path(__file__).with_suffix(".json")
ROOT = Path(__file__).parents[2]
#: What runs another process of Python.
PYTHON = [sys.executable]


def main(claims: list[str]) -> int:
    """Run what looks at these claims, or at all, under their mutants; say what fell, and keep it."""
    by_mutant: dict[str, list[str]] = defaultdict(list)
    for claim in claims or OF:
        by_mutant[OF[claim]].append(claim)
    survived = 0
    for name, of in by_mutant.items():
        failed = failing_tests(name, of)
        for claim in of:
            entry = {"mutant": name, "tests": failed[claim], "predictions": fallen_predictions(name, claim)}
            kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
            kept[claim] = entry
            text = json.dumps({each: kept[each] for each in OF if each in kept}, indent=1, ensure_ascii=False)
            FILE.write_text(text + "\n", encoding="utf-8")
            survived += not (entry["tests"] and entry["predictions"])
            fell = (", ".join(entry[key]) or "SURVIVED" for key in ("tests", "predictions"))
            print(f"{claim}: {name}: {'; '.join(fell)}", flush=True)
    return 1 if survived else 0


def failing_tests(name: str, claims: list[str]) -> dict[str, list[str]]:
    """{claim: those of its tests, "file::name", that fail under this mutant}, in one run of pytest."""
    from experiments.claims import witnesses

    tests = {claim: witnesses()[claim].tests for claim in claims}
    every = [f"tests/{test}" for test in dict.fromkeys(each for mine in tests.values() for each in mine)]
    run = _run(["-m", "pytest", "-q", "--no-header", "-p", "tests.experiments.mutants", *every], name)
    failed = set(re.findall(r"^(?:FAILED|ERROR) tests/(\S+?)(?:\[| -|$)", run.stdout, re.M))
    return {claim: [test for test in mine if test in failed] for claim, mine in tests.items()}


def fallen_predictions(name: str, claim: str) -> list[str]:
    """The predictions on which the claim rests that fall under this mutant, "experiment: key"."""
    from experiments.claims import witnesses

    fallen = []
    for experiment in witnesses()[claim].experiments:
        before, after = held(experiment, ""), held(experiment, name)
        if after is None:
            fallen.append(f"{experiment}: it ends with an error")
            continue
        assert before is not None, f"{experiment} fails without a mutant"
        fallen += [f"{experiment}: {key}" for key in before[claim] if key not in after[claim]]
    return fallen


@cache
def held(experiment: str, name: str) -> dict[str, list[str]] | None:
    """{claim: the predictions on which it rests that hold in the quick form under this mutant}; None: it failed."""
    from experiments import frame, results
    from experiments.registry import EXPERIMENTS

    with tempfile.TemporaryDirectory() as folder:
        _run(["-m", "tests.experiments.mutants", "--quick", experiment, folder], name)
        record = results.read(Path(folder, experiment, results.FILE)) or {}
    made = record.get("predictions")
    if not made or "failure" in record:
        return None
    claims = EXPERIMENTS[experiment].claims.items()
    return {claim: [key for key in frame.keys_of(keys, made, claim) if made[key][1] is True] for claim, keys in claims}


def _run(arguments: list[str], name: str) -> "subprocess.CompletedProcess[str]":
    """Python in a process of its own, with this mutant in its library."""
    env = {key: value for key, value in os.environ.items() if key != "FNN_MUTANT"}
    env |= {"FNN_MUTANT": name} if name else {}
    return subprocess.run([*PYTHON, *arguments], cwd=ROOT, env=env, capture_output=True, text=True)


def _quick(experiment: str, folder: str) -> int:
    from experiments.__main__ import main

    return main([experiment, "--quick", "--allow-lost", "--out", folder])


if os.environ.get("FNN_MUTANT"):
    _apply(MUTANTS[os.environ["FNN_MUTANT"]])
if __name__ == "__main__":
    sys.exit(_quick(*sys.argv[2:]) if sys.argv[1:2] == ["--quick"] else main(sys.argv[1:]))
