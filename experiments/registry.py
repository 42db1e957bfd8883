"""Which experiments there are, in the order in which they are listed.

To add one, write its file as described in `frame` and put its name into `NAMES`; nothing else needs to change.
Promises: `EXPERIMENTS` is read from the heads of the files, so that the list and every `--help` answer at once; neither
JAX nor NumPy is imported for it.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from experiments.frame import Experiment

NAMES = (
    "digits", "perceptron", "xor", "logistic", "trees", "universal_approximation", "softmax", "graphs",
    "finite_differences", "matrix_chain", "layers", "losses", "linear_collapse", "learning_rate", "depth",
    "initialisation", "regularization", "bias_variance", "curvature", "spectrum", "small_nets", "noise_scale",
    "what_made_it_work", "wine", "units", "descents", "paths", "excess_risk",
    "speed", "curvature_costs", "detection", "faults", "scale",
)  # fmt: skip
#: What takes long to import; the head of a file ends where the first of these is imported.
HEAVY = ("jax", "numpy", "fnn", "optax", "matplotlib", "ml_dtypes", "scipy", "sklearn")


def head(module: str) -> Experiment:
    """The experiment as the first part of its file describes it. Raises `ModuleNotFoundError`."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"there is no module {module}", name=module)
    # under a name of its own: the whole module may be imported later
    read = f"{module} (head)"
    spec = importlib.util.spec_from_file_location(read, spec.origin)
    assert spec is not None and spec.loader is not None
    sys.modules[read] = part = importlib.util.module_from_spec(spec)
    try:
        with _refused(HEAVY):
            spec.loader.exec_module(part)
    except ModuleNotFoundError as stop:
        if stop.name is None or stop.name.partition(".")[0] not in HEAVY:
            raise
    return part.EXPERIMENT._replace(module=module)


@contextmanager
def _refused(names: tuple[str, ...]) -> Iterator[None]:
    """Importing these raises `ModuleNotFoundError`, as Python does for what stands as None in `sys.modules`."""
    modules: dict[str, Any] = sys.modules
    before = {name: modules[name] for name in names if name in modules}
    modules.update(dict.fromkeys(names))
    try:
        yield
    finally:
        for name in names:
            del modules[name]
        modules.update(before)


EXPERIMENTS: dict[str, Experiment] = {name: head(f"experiments.{name}") for name in NAMES}


def load(name: str) -> ModuleType:
    """The whole module of an experiment."""
    return importlib.import_module(EXPERIMENTS[name].module)


def summary(kind: type[Any]) -> str:
    """The first line of what the options say of their experiment."""
    return (kind.__doc__ or "").strip().splitlines()[0]
