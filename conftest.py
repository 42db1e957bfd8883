"""What every test finds: doctests know `fnn`, `jax` and `jnp`; the code blocks of the README and of docs/ run, one page
one program, and what an ```output block shows is what the block above it prints; matrix products are in full precision,
so that TF32 never looks like a wrong gradient; what is compiled is kept.
"""

import contextlib
import doctest
import importlib.util
import io
import os
import shutil

import jax
import jax.numpy as jnp
import pytest
from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.myst import CodeBlockParser, SkipParser

import fnn
from fnn.training import programs


def pytest_configure(config):
    """Most of the time of the tests goes into compiling: every worker, every process that a test starts and the next
    run take what is compiled already from one folder (`pytest --cache-clear` empties it).
    """
    # reports are as wide as the terminal; what the pages show is one width
    os.environ["COLUMNS"] = "100"
    # XLA's older way to write fused loops compiles in two thirds of the time. JAX 0.12 has only the newer one, so there
    # the same tests run on what users run. If the variable names the way already, it stays.
    flags = os.environ.get("XLA_FLAGS", "")
    if jax.__version_info__ < (0, 11) and OLDER.split("=")[0] not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {OLDER}".strip()
    folder = config.cache.mkdir("programs")
    # JAX throws nothing away by itself without a lock that every process would wait for
    if not hasattr(config, "workerinput") and sum(path.stat().st_size for path in folder.iterdir()) > LARGEST:
        # another run may write there meanwhile
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(exist_ok=True)
    for name, value in {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
        # here too, so that a process takes the programs of another
        "jax_default_matmul_precision": "highest",
    }.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)


#: See `pytest_configure`.
OLDER = "--xla_cpu_use_fusion_emitters=false"
#: Bytes of compiled programs.
LARGEST = 500_000_000
#: The files that take longest. They begin first, so that at the end no worker waits for another.
LONG = (
    "tests/experiments/test_report_browser.py", "tests/training/test_group.py", "tests/training/test_mesh.py",
    "tests/test_notebooks.py", "tests/experiments/test_experiments.py", "tests/test_gradients.py",
    "tests/curvature/test_products.py", "tests/training/test_weights.py", "tests/training/test_checkpoints.py",
    "tests/training/test_sweep.py", "tests/training/test_optax.py", "tests/training/test_fit.py",
    "tests/curvature/test_spectrum.py", "tests/glassbox/test_rules.py", "tests/curvature/test_mutants.py",
)  # fmt: skip


def pytest_collection_modifyitems(config, items):
    """Only where several workers share the files; alone, tests run in the order in which they are read."""
    if hasattr(config, "workerinput"):
        order = {file: number for number, file in enumerate(LONG)}
        items.sort(key=lambda item: (order.get(item.nodeid.split("::")[0], len(order)), not quick(item)))


def quick(item) -> bool:
    return item.get_closest_marker("quick_compilation") is not None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Switch between files that are compiled quickly and others: where runs are compared bit for bit, no program may go
    from one kind to the other.
    """
    if quick(item) != item.config.stash.get(QUICK, False):
        jax.clear_caches()
        programs._PROGRAMS.clear()
        jax.config.update("jax_disable_most_optimizations", quick(item))
        item.config.stash[QUICK] = quick(item)


#: Whether the programs in memory are compiled with few optimizations.
QUICK = pytest.StashKey[bool]()


run_python = PythonEvaluator()


def run(example: Example) -> None:
    """Run a block, and keep what it prints for the block below."""
    printed = example.namespace["__printed__"] = io.StringIO()
    with contextlib.redirect_stdout(printed):
        run_python(example)


def compare(example: Example) -> str | None:
    """The output that the page shows, `...` standing for anything, against what the block above printed."""
    shown, printed = example.parsed, example.namespace["__printed__"].getvalue()
    alike = doctest.OutputChecker().check_output(shown, printed, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    return None if alike else f"The page shows\n{shown}\nThe block above it printed\n{printed}"


def missing(package: str) -> bool:
    """For blocks about another library, which are skipped where it is not installed."""
    return importlib.util.find_spec(package) is None


pages = Sybil(
    parsers=[CodeBlockParser("python", run), CodeBlockParser("output", compare), SkipParser()],
    patterns=["*.md"],
    setup=lambda namespace: namespace.update(missing=missing),
)
pytest_collect_file = pages.pytest()


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace):
    doctest_namespace.update(fnn=fnn, jax=jax, jnp=jnp)
