"""The canary against wrong sums, the warning about them, and what importing the package does not do."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

import fnn
from fnn._jax import is_affected, warn_if_affected


def test_the_canary_sums_are_right():
    """On JAX 0.10.2 and 0.11.x with two threads this sum is wrong in 17 to 282 of 300 calls."""
    total = jax.jit(lambda a: jnp.sum(jnp.broadcast_to(a, (2, 1024, 1024))))
    ones = jnp.ones((1024, 1))
    wrong = sum(float(total(ones)) != 2 * 1024 * 1024 for _ in range(300))
    assert wrong == 0


def test_affected_releases_are_known_by_their_version():
    affected = ["0.10.2", "0.11.0", "0.11.2", "0.11.10"]
    assert all(map(is_affected, affected))
    assert not any(map(is_affected, ["0.10.1", "0.12.0", "0.12.0.1", "0.110.0", "1.0"]))
    for version in affected:
        with pytest.warns(
            RuntimeWarning, match=rf"^JAX {version} computes wrong sums on CPU.*pip install 'jax>=0.10.1"
        ):
            warn_if_affected(version)
    warn_if_affected("0.12.0.1")


def in_a_fresh_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_touches_no_device():
    # a backend that exists already would answer; one that does not cannot be made of a platform without a name
    out = in_a_fresh_process(
        "import fnn, jax\n"
        "jax.config.update('jax_platforms', 'none_of_this_name')\n"
        "try: print('initialised', jax.devices())\n"
        "except RuntimeError as error: print('untouched')"
    )
    assert out.strip() == "untouched"


def test_importing_brings_nothing_heavy():
    heavy = ("matplotlib", "sklearn", "chex", "absl.testing", "tyro", "rich", "pytest", "scipy")
    loaded = f"print(*[m for m in {heavy} if m in sys.modules])"
    # jax and optax import some of these themselves; only what `fnn` adds is asked for
    before = in_a_fresh_process(f"import sys, jax, optax; {loaded}")
    assert set(in_a_fresh_process(f"import sys, fnn; {loaded}").split()) <= set(before.split())


def test_every_public_name_is_documented():
    public = [getattr(fnn, name) for name in dir(fnn) if not name.startswith("_")]
    assert len(public) > 60
    assert [each for each in public if callable(each) and not each.__doc__] == []
