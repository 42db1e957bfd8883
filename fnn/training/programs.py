"""Compiled programs, kept as long as they are useful: looked up by what they compute, and limited in number.

Promises: equal records find the existing program; so does an Optax transformation or a metric that is made again, by
the fingerprint of what it computes. A program holds no function of the user, so what a lambda closes over can be freed.
For one config the programs of the last few shapes are kept, over all configs the last `LIMIT`.
"""

import threading
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, is_dataclass
from typing import Any

import jax
import optax

from fnn import jaxprs
from fnn.training.config import ByIdentity, Config, Job, hashable, parameters_of
from fnn.training.rows import oldest
from fnn.training.state import Dealt, TrainState

#: How many programs are kept in all, and for one config at different shapes of the rows.
LIMIT, SHAPES = 64, 4
#: The config of the program being called: it is read while JAX traces, and not kept.
_CURRENT: ContextVar[Config] = ContextVar("config")


@dataclass
class Program:
    """A function of arrays, compiled at its first call."""

    run: Callable[..., Any]


_PROGRAMS: dict[Any, Program] = {}
_FINGERPRINTS: dict[Any, str] = {}
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
    optimizer: Any = config.optimizer
    if isinstance(optimizer, optax.GradientTransformation):
        optimizer = _optimizer_token(optimizer, state, many=config.runs != "one")
    else:
        optimizer = _identity(optimizer)
    one = jax.tree.map(lambda leaf: leaf[0], state.params) if config.runs != "one" else state.params
    rows = job.validation if config.streamed or isinstance(job.data, Dealt) else job.data
    metrics = tuple((name, _function_token(metric, one, rows)) for name, metric in config.metrics)
    return (*numbers, _identity(config.value_and_grad), optimizer, metrics)


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
        for key in [key for key in list(_FINGERPRINTS) if key[0] == number]:
            _FINGERPRINTS.pop(key, None)


def _mentions(tokens: Any, token: Any) -> bool:
    return tokens == token or (isinstance(tokens, tuple) and any(_mentions(each, token) for each in tokens))


def _function_token(metric: Any, params: Any, rows: Any) -> Any:
    """What a metric computes from these rows; by identity if that cannot be read."""
    identity = _identity(metric)
    if rows is None or not isinstance(identity, tuple) or parameters_of(metric)[3:]:
        return identity
    shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves((params, rows)))
    key = (identity[1], shapes, jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]
    if (text := _FINGERPRINTS.get(key)) is None:
        text = _FINGERPRINTS[key] = fingerprint(metric, params, rows.x, rows.y)
    return text or identity


def _optimizer_token(optimizer: optax.GradientTransformation, state: TrainState, *, many: bool) -> Any:
    """What an Optax transformation computes; by identity if that cannot be read."""
    params = jax.tree.map(lambda leaf: leaf[0], state.params) if many else state.params
    identity = _identity(optimizer.update)
    shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(params))
    key = (identity[1] if isinstance(identity, tuple) else id(identity), shapes, jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]
    if (text := _FINGERPRINTS.get(key)) is None:
        text = _FINGERPRINTS[key] = optimizer_fingerprint(optimizer, params)
    return text or (identity, _identity(optimizer.init))


def optimizer_fingerprint(optimizer: Any, params: Any) -> str:
    """The fingerprint of init and update, or "" if they hold something that cannot be compared, such as a callback."""

    def both(params: Any) -> Any:
        state = optimizer.init(params)
        return state, optimizer.update(params, state, params)

    return fingerprint(both, params)


def fingerprint(f: Callable[..., Any], *args: Any) -> str:
    """The fingerprint of what f computes, or "" if that cannot be read."""
    try:
        return jaxprs.fingerprint(f, *args)
    except (TypeError, ValueError, AttributeError, KeyError, IndexError):
        return ""
