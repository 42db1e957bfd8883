"""Compiled programs, kept as long as they are useful: looked up by what they compute, and limited in number.

Promises: equal records find the existing program; so does a gradient, an Optax transformation or a metric that is made
again, by the fingerprint of what it computes. Each run reads them anew: one that computes something else than before,
because a global or an array that it closes over has changed, gets another program. A program holds no function of the
user, so what a lambda closes over can be freed. For one config the programs of the last few shapes are kept, over all
configs the last `LIMIT`.
"""

import threading
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, is_dataclass
from functools import partial
from typing import Any

import jax
import optax

from fnn import jaxprs
from fnn.training.config import ByIdentity, Config, Job, hashable
from fnn.training.rows import oldest
from fnn.training.state import Batch, Dealt, TrainState

#: How many programs are kept in all, and for one config at different shapes of the rows.
LIMIT, SHAPES = 64, 4
#: Packages whose functions read nothing that changes.
PACKAGES = ("fnn", "optax")
#: The config of the program being called: it is read while JAX traces, and not kept.
_CURRENT: ContextVar[Config] = ContextVar("config")


@dataclass
class Program:
    """A function of arrays, compiled at its first call."""

    run: Callable[..., Any]


_PROGRAMS: dict[Any, Program] = {}
_LOCK = threading.RLock()


def program(kind: Callable[..., Any], job: Job, state: TrainState) -> Program:
    """The program of kind(job, state, …) for this config and these shapes."""
    arrays = (job.data, job.validation, job.hyperparams, state)
    leaves, structure = jax.tree.flatten(arrays)
    shapes = tuple((getattr(leaf, "shape", ()), str(getattr(leaf, "dtype", type(leaf)))) for leaf in leaves)
    config = (kind.__name__, *_tokens(job, state))
    key = (config, structure, shapes)
    with _LOCK:
        if (found := _PROGRAMS.pop(key, None)) is None:
            found = Program(_compiled(kind))
            # a copy of the keys: a function that is freed in the meantime takes its programs with it
            same = [each for each in list(_PROGRAMS) if each[0] == config]
            for each in oldest(same, SHAPES):
                _PROGRAMS.pop(each, None)
            for each in oldest(_PROGRAMS, LIMIT):
                _PROGRAMS.pop(each, None)
        # the last one used comes last
        _PROGRAMS[key] = found
    return found


def call(kind: Callable[..., Any], job: Job, state: TrainState, *rest: Any) -> Any:
    """Call kind(job, state, …), compiled."""
    if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
        return kind(job, state, *rest)
    found = program(kind, job, state)
    token = _CURRENT.set(job.config)
    try:
        return found.run(job.data, job.validation, job.hyperparams, state, *rest)
    finally:
        _CURRENT.reset(token)


def lowered(kind: Callable[..., Any], job: Job, state: TrainState, *rest: Any) -> Any:
    """The program of kind(job, state, …), to be read: `.compile().as_text()`."""
    token = _CURRENT.set(job.config)
    try:
        compiled: Any = program(kind, job, state).run
        return compiled.lower(job.data, job.validation, job.hyperparams, state, *rest)
    finally:
        _CURRENT.reset(token)


def count() -> int:
    """How many programs are kept."""
    return len(_PROGRAMS)


def _compiled(kind: Callable[..., Any]) -> Callable[..., Any]:
    """A separate jitted function: when it goes, JAX forgets its programs."""

    def run(data: Any, validation: Any, hyperparams: Any, *rest: Any) -> Any:
        return kind(Job(_CURRENT.get(), data, validation, hyperparams), *rest)

    return jax.jit(run)


def _tokens(job: Job, state: TrainState) -> tuple[Any, ...]:
    """What makes two configs the same program."""
    config = job.config
    numbers = (
        config.objective, config.batch_size, config.accumulate, config.monitor, config.sign, config.skip, config.runs,
        config.streamed, config.weights, config.placement,
    )  # fmt: skip
    read = state.params, state.statistics, job.hyperparams.strength, job.hyperparams.rate
    # of many runs the first stands for all
    params, statistics, strength, rate = read if config.runs == "one" else jax.tree.map(lambda leaf: leaf[0], read)
    key = state.key if config.runs == "one" or not state.key.ndim else state.key[0]
    gradient = _read(config, config.value_and_grad, config.gradient, params, _shapes_of_batch(job), strength,
                     statistics, key)  # fmt: skip
    rows = job.validation if config.streamed or isinstance(job.data, Dealt) else job.data
    metrics = tuple(
        (name, _read(config, metric, partial(config.measured, name, metric), params, statistics, rows))
        for name, metric in config.metrics
    )
    return (*numbers, gradient, _optimizer_token(config, params, rate), metrics)


def _shapes_of_batch(job: Job) -> Batch:
    """A batch of the rows, without numbers."""
    dealt = isinstance(job.data, Dealt)
    rows: Batch = job.data.batches if isinstance(job.data, Dealt) else job.data
    size = min(job.config.batch_size, len(job.data))
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((size, *leaf.shape[1 + dealt :]), leaf.dtype), rows)


def _identity(function: Any) -> Any:
    """A record by its value; any other function by its identity, as long as it lives."""
    if isinstance(function, ByIdentity):
        function = function.__wrapped__
    elif is_dataclass(function) or isinstance(function, type):
        return function
    number = id(function)
    try:
        known = number in _ALIVE and _ALIVE[number]() is function
        if not known:
            _ALIVE[number] = weakref.ref(function, lambda _, number=number: _forget(number))
    except TypeError:
        # it allows no weak reference, so it is kept
        return hashable(function)
    return ("id", number)


_ALIVE: dict[int, weakref.ref] = {}


def _forget(number: int) -> None:
    """Drop the programs of a function that no longer exists."""
    with _LOCK:
        _ALIVE.pop(number, None)
        for key in [key for key in list(_PROGRAMS) if _mentions(key[0], ("id", number))]:
            _PROGRAMS.pop(key, None)


def _mentions(tokens: Any, token: Any) -> bool:
    return tokens == token or (isinstance(tokens, tuple) and any(_mentions(each, token) for each in tokens))


def _read(config: Config, function: Any, computes: Callable[..., Any], *args: Any) -> Any:
    """What a function computes, read once in each run: what it closes over, or a global, may have changed since the
    last. A record is known by its value; what cannot be read, by identity."""
    identity = _identity(function)
    if not isinstance(identity, tuple):
        return identity
    return _text(config, function, computes, *args) or identity


def _text(config: Config, function: Any, computes: Callable[..., Any], *args: Any) -> str:
    """The fingerprint of what a function computes, kept for the run."""
    key = (id(function), *((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(args)))
    if key not in config.texts:
        config.texts[key] = fingerprint(computes, *args)
    return config.texts[key]


def _optimizer_token(config: Config, params: Any, rate: Any) -> Any:
    """What an optimizer computes; that of a package is what its name says."""
    optimizer: Any = config.optimizer
    if isinstance(optimizer, optax.GradientTransformation):
        text = _text(config, optimizer, partial(_both, optimizer), params)
        return text or (_identity(optimizer.update), _identity(optimizer.init))
    if str(getattr(optimizer, "__module__", "")).partition(".")[0] in PACKAGES:
        return _identity(optimizer)
    return _read(config, optimizer, lambda params, rate: _both(config.build(rate), params), params, rate)


def optimizer_fingerprint(optimizer: Any, params: Any) -> str:
    """The fingerprint of init and update, or "" if they hold something that cannot be compared, such as a callback."""
    return fingerprint(partial(_both, optimizer), params)


def _both(optimizer: Any, params: Any) -> Any:
    state = optimizer.init(params)
    return state, optimizer.update(params, state, params)


def fingerprint(f: Callable[..., Any], *args: Any) -> str:
    """The fingerprint of what f computes, or "" if that cannot be read."""
    try:
        return jaxprs.fingerprint(f, *args)
    except (TypeError, ValueError, AttributeError, KeyError, IndexError):
        return ""
