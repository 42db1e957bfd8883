"""Where the arrays of a run are placed: on one device, or over the devices of a mesh.

Promises: one record for both. Without a mesh it changes nothing: the program is the same as without this file. On a
mesh the rows of each batch are split over the axis "data" and wide layers over the axis "model", or, in a sweep, the
runs over all devices; what is computed stays the same, and the compiler adds the communication between devices.
Refuses: a mesh without "data"; arrays on devices outside the mesh. Letters: D devices along "data", M runs.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fnn.checks import warn
from fnn.types import PyTree, is_key

#: The axis over which rows are split, and the axis over which the outputs of wide layers are split.
DATA, MODEL = "data", "model"
#: How many outputs each device must get at least for a layer to be split: below, splitting costs more than it saves.
WIDE = 64
#: Environment variables in which launchers say how many processes they started.
LAUNCHERS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "JAX_NUM_PROCESSES")


@dataclass(frozen=True)
class Placement:
    """Where arrays are placed; without a mesh, where JAX puts them."""

    mesh: Mesh | None = None
    members: bool = False
    """Whether the runs of a sweep are split over the devices, rather than the rows of one run."""
    specs: tuple[tuple[tuple[int, ...], PartitionSpec], ...] = field(default=())
    """(shape, how it is split) of every parameter that is split; arrays of the optimizer with the same shape follow."""

    @property
    def devices(self) -> int:
        return 1 if self.mesh is None else self.mesh.size

    @property
    def processes(self) -> int:
        return 1 if self.mesh is None else len({device.process_index for device in self.mesh.devices.flat})

    @property
    def parts(self) -> int:
        """Into how many parts the rows of a batch are split."""
        return 1 if self.mesh is None or self.members else self.mesh.shape[DATA]

    # ---- in the compiled program ------------------------------------------------------------------------------------

    def rows(self, tree: PyTree) -> PyTree:
        """These rows, split over the devices."""
        if self.mesh is None or self.members:
            return tree
        return jax.lax.with_sharding_constraint(tree, NamedSharding(self.mesh, PartitionSpec(DATA)))

    def whole(self, tree: PyTree) -> PyTree:
        """These arrays, computed on every device rather than split; used above all for the order of the rows."""
        if self.mesh is None or self.members:
            return tree
        return jax.lax.with_sharding_constraint(tree, self._sharding())

    def settled(self, tree: PyTree) -> PyTree:
        """Parameters, and arrays of their shapes, placed where they are to stay from step to step."""
        if self.mesh is None or self.members:
            return tree
        known = dict(self.specs)

        def one(leaf: Any) -> Any:
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                return leaf
            return jax.lax.with_sharding_constraint(leaf, self._sharding(known.get(leaf.shape)))

        return jax.tree.map(one, tree)

    def spread(self, function: Callable[..., Any], own: Any, out: Any) -> Callable[..., Any]:
        """The function of many runs, each device working on its own runs; `own` and `out` say what exists once per
        run."""
        if self.mesh is None or not self.members:
            return function
        every, each = PartitionSpec(), self._each()
        specs = [jax.tree.map(lambda mine: each if mine else every, tree) for tree in (own, out)]
        # what is the same on all devices is computed on each: nothing is exchanged
        return jax.shard_map(function, mesh=self.mesh, in_specs=specs[0], out_specs=specs[1], check_vma=False)

    # ---- between the calls ------------------------------------------------------------------------------------------

    def everywhere(self, tree: PyTree) -> PyTree:
        """The arrays, whole on every device."""
        return tree if self.mesh is None else jax.tree.map(lambda leaf: _put(leaf, self._sharding()), tree)

    def settle(self, tree: PyTree) -> PyTree:
        """Parameters, and arrays of their shapes, put where `settled` keeps them."""
        if self.mesh is None:
            return tree
        known = dict(self.specs)
        return jax.tree.map(lambda leaf: _put(leaf, self._sharding(known.get(jnp.shape(leaf)))), tree)

    def spread_out(self, tree: PyTree) -> PyTree:
        """What exists once per run, put on the device of its run."""
        if self.mesh is None:
            return tree
        sharding = NamedSharding(self.mesh, self._each())
        return jax.tree.map(lambda leaf: _put(leaf, sharding), tree)

    def of(self, caller: str, params: PyTree) -> "Placement":
        """The placement with the way these parameters are split: as the user placed them, or wide ones by outputs."""
        if self.mesh is None or self.members:
            return self
        specs = {}
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            placed = isinstance(leaf, jax.Array) and leaf.committed and not is_key(leaf)
            if placed and not leaf.sharding.device_set <= set(self.mesh.devices.flat):
                raise ValueError(
                    f"{caller}: parameters must lie on devices of the mesh, got params{jax.tree_util.keystr(path)} on "
                    f"{_names(leaf.sharding.device_set)} and a mesh of {_names(self.mesh.devices.flat)}. Give "
                    "jax.device_get(params); they are then placed on the mesh."
                )
            own = leaf.sharding if placed and len(leaf.sharding.device_set) > 1 else None
            if isinstance(own, NamedSharding) and not own.is_fully_replicated:
                specs.setdefault(leaf.shape, own.spec)
            elif (spec := _by_outputs(jnp.shape(leaf), self.mesh.shape)) is not None:
                specs.setdefault(jnp.shape(leaf), spec)
        return replace(self, specs=tuple(specs.items()))

    def host(self, tree: PyTree) -> PyTree:
        """The whole arrays on the host of every process; keys stay keys. All processes must call this."""
        return tree if self.mesh is None else jax.tree.map(_on_host, tree)

    def local(self, tree: PyTree) -> PyTree:
        """Arrays that are whole on every device, as arrays local to this process."""
        return tree if self.mesh is None else jax.tree.map(lambda leaf: _like(leaf, _raw(leaf)), tree)

    def deal(self, batch_size: int, count: int) -> "Deal":
        """How `count` rows of a stream, in batches of this size, are dealt to the devices."""
        return Deal(self, batch_size, count)

    def _sharding(self, spec: PartitionSpec | None = None) -> NamedSharding:
        assert self.mesh is not None
        return NamedSharding(self.mesh, spec or PartitionSpec())

    def _each(self) -> PartitionSpec:
        assert self.mesh is not None
        return PartitionSpec(self.mesh.axis_names)


#: No mesh: JAX's own device.
HERE = Placement()


@dataclass(frozen=True)
class Deal:
    """Where each row of a piece of a stream is placed: device d has the d-th part of every batch, so no row moves."""

    placement: Placement
    batch_size: int
    count: int

    def positions(self) -> np.ndarray:
        """(batches, columns): the place in the piece of each row of each batch, −1 where there is none."""
        batches, parts = -(-self.count // self.batch_size), self.placement.parts
        columns = np.arange(-(-self.batch_size // parts) * parts)
        places = np.arange(batches)[:, None] * self.batch_size + columns
        return np.where((columns < self.batch_size) & (places < self.count), places, -1)

    def mine(self) -> np.ndarray:
        """The places of the rows that the devices of this process need, in order; at least one."""
        mesh = self.placement.mesh
        if mesh is None:
            return np.arange(self.count)
        places = self.positions()
        blocks = NamedSharding(mesh, self._spec()).addressable_devices_indices_map(places.shape)
        found = np.unique(np.concatenate([places[block].ravel() for block in blocks.values()]))
        found = found[found >= 0]
        # a short last batch may leave nothing for this process; one row keeps the shapes fixed
        return found if len(found) else np.zeros(1, np.int64)

    def laid_out(self, rows: PyTree) -> PyTree:
        """The rows of `mine`, each on its device: (batches, columns, …)."""
        mesh = self.placement.mesh
        assert mesh is not None
        places, mine = self.positions(), self.mine()
        sharding = NamedSharding(mesh, self._spec())

        def one(leaf: Any) -> jax.Array:
            array = np.asarray(leaf)

            def block(index: Any) -> np.ndarray:
                wanted = places[index[:2]]
                part = array[np.where(wanted < 0, 0, np.searchsorted(mine, wanted))]
                part[wanted < 0] = 0
                return part

            return jax.make_array_from_callback((*places.shape, *array.shape[1:]), sharding, block)

        return jax.tree.map(one, rows)

    def _spec(self) -> PartitionSpec:
        return PartitionSpec(None, DATA)


def placed(caller: str, mesh: Any, *, members: bool = False) -> Placement:
    """The placement on this mesh, or on none."""
    if mesh is None:
        return HERE
    if not isinstance(mesh, Mesh):
        raise TypeError(
            f"{caller}: mesh must be a jax.sharding.Mesh, got {mesh!r}. Give jax.make_mesh((jax.device_count(),), "
            '("data",)).'
        )
    if DATA not in mesh.axis_names or not set(mesh.axis_names) <= {DATA, MODEL}:
        raise ValueError(
            f'{caller}: mesh must have the axis "data", and may have the axis "model", got the axes '
            f'{mesh.axis_names}. Give jax.make_mesh((jax.device_count(),), ("data",)).'
        )
    owners = {device.process_index for device in mesh.devices.flat}
    if owners != {jax.process_index()} and len(owners) != jax.process_count():
        raise ValueError(
            f"{caller}: mesh must hold devices of this process alone or of every process, got those of processes "
            f"{sorted(owners)} of {jax.process_count()}. Give Mesh(jax.devices(), ('data',)), or a mesh of "
            "jax.local_devices()."
        )
    _warn_of_one(caller, mesh)
    # explicit axes would require a sharding for every operation of the user
    return Placement(Mesh(mesh.devices, mesh.axis_names), members)


def cores(count: int | None = None) -> Mesh:
    """Return a mesh with one CPU device per core: `fnn.sweep(…, mesh=fnn.training.cores())`.

    Call it before JAX is used. `JAX_NUM_CPU_DEVICES=2` in the environment does the same.

    Args:
        count: how many devices; None for the cores that this process may use.

    Raises:
        RuntimeError: JAX was used before and has another number of devices.

    >>> fnn.training.cores(jax.device_count()).axis_names
    ('data',)
    """
    count = _cores() if count is None else count
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError as error:
        if len(jax.devices("cpu")) != count:
            raise RuntimeError(
                f"cores: JAX must not have been used before, got {len(jax.devices('cpu'))} CPU devices, and {count} "
                f"were asked for. Call fnn.training.cores({count}) right after the imports, or start the script with "
                f"JAX_NUM_CPU_DEVICES={count}."
            ) from error
    return Mesh(np.array(jax.devices("cpu")), (DATA,))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _warn_of_one(caller: str, mesh: Mesh) -> None:
    """Warn if many devices or processes were intended and there is only one."""
    started = [(name, os.environ[name]) for name in LAUNCHERS if os.environ.get(name, "1") != "1"]
    if started and jax.process_count() == 1:
        warn(
            f"{caller}: {started[0][0]}={started[0][1]} processes were started, but JAX knows of only one: each trains "
            "by itself. Call jax.distributed.initialize() before JAX is used, or train without a mesh.",
        )
    if mesh.size == 1 and mesh.devices.flat[0].platform == "cpu" and _cores() > 1 and jax.process_count() == 1:
        warn(
            f"{caller}: the mesh holds one CPU device, but there are {_cores()} cores. For one device per core write "
            f"mesh = fnn.training.cores({_cores()}) right after the imports, before JAX is used.",
        )


def _by_outputs(shape: tuple[int, ...], axes: Mapping[str, int]) -> PartitionSpec | None:
    """The last axis of a weight or a bias holds the outputs: it is split over "model" if it is wide."""
    parts = axes.get(MODEL, 1)
    if parts == 1 or not shape or shape[-1] % parts or shape[-1] // parts < WIDE:
        return None
    return PartitionSpec(*[None] * (len(shape) - 1), MODEL)


def _names(devices: Any) -> str:
    return ", ".join(sorted(str(device) for device in devices))


def _raw(leaf: Any) -> np.ndarray:
    """The entries on the host (for a key, its words); an array split over processes is gathered from all of them."""
    array = jax.random.key_data(leaf) if is_key(leaf) else leaf
    if isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated):
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))
    return np.asarray(array)


def _like(leaf: Any, raw: Any) -> Any:
    """An array, or a key if the leaf is one."""
    return jax.random.wrap_key_data(jnp.asarray(raw), impl=jax.random.key_impl(leaf)) if is_key(leaf) else raw


def _on_host(leaf: Any) -> Any:
    return _like(leaf, _raw(leaf))


def _put(leaf: Any, sharding: NamedSharding) -> Any:
    """The array on these devices of all processes, without communication between them."""
    if isinstance(leaf, jax.Array) and leaf.sharding.is_equivalent_to(sharding, leaf.ndim):
        return leaf
    raw = _raw(leaf)
    if jax.dtypes.canonicalize_dtype(raw.dtype) != raw.dtype:
        raw = raw.astype(jax.dtypes.canonicalize_dtype(raw.dtype))
    array = jax.make_array_from_callback(raw.shape, sharding, lambda index: raw[index])
    return jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf)) if is_key(leaf) else array
