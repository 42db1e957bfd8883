"""Many devices: what is computed on a mesh is what one device computes, and devices tell each other no more than the
gradients.

Everything runs in one process with 64 virtual devices (`many_devices`), and is judged here.
"""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import fnn
from experiments.scale import collectives
from fnn.training import placement, programs
from fnn.training.request import Request
from tests.training.test_run import BY_HAND, PARAMS, X, Y, run

#: Of float64 after five epochs, by the largest entry of each leaf.
OFF = 1e-12


@pytest.fixture(scope="session")
def devices():
    command = [sys.executable, "-W", "error", "-m", "tests.training.many_devices"]
    # what devices exchange is settled before LLVM, which need not work hard
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"
    mine = {"JAX_NUM_CPU_DEVICES": "64", "TF_CPP_MIN_LOG_LEVEL": "3", "XLA_FLAGS": flags}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **mine})
    assert not done.returncode, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_parameters_losses_and_metrics_are_those_of_one_device(devices):
    found = devices["equalities"]
    assert len(found) == 7
    for name, each in found.items():
        assert each["off"] <= OFF and each["losses off"] <= OFF, (name, each)
        assert each["repeats"] and each["epochs"][0] == each["epochs"][1], (name, each)
    assert found["rich on 4"]["epochs"][0] < 5  # early stopping stopped
    assert devices["planted"] > 100 * OFF  # an entry of the data moved by 1e-6 is seen


def test_float32_is_as_near_the_truth_as_on_one_device(devices):
    one, eight = devices["narrow"]
    assert 0 < eight <= 4 * one


def test_continued_runs_and_checkpoints_are_bit_for_bit_on_the_same_devices(devices):
    found = devices["continued"]
    assert found["state"] and found["checkpoint"] and found["elsewhere"] <= OFF
    assert len(found["said"]) == 1 and found["said"][0].startswith("not bit-exact: ")
    assert "devices 4" in found["said"][0] and "devices 2" in found["said"][0]


def test_what_is_not_finite_is_named_as_on_one_device(devices):
    one, four = devices["faults"]
    assert one == four


def test_wide_layers_are_split_along_their_outputs_and_others_as_the_user_placed_them(devices):
    assert devices["wide"]["2"]["last"][0] == "model" and devices["wide"]["4"]["last"] == []
    assert all(each["first"] == [None, "model"] for each in devices["wide"].values())
    for parts, each in devices["wide"].items():
        # all but what stays whole: the last layer, of ten outputs, or its biases alone
        assert each["off"] <= OFF and abs(each["share"] - each["should"]) < 1e-4, parts


def test_members_are_those_of_one_device(devices):
    for name in ("each", "shared"):
        each = devices["sweeps"][name]
        assert each["off"] <= OFF and each["curves off"] <= OFF, (name, each)
        assert each["failed"] == [[False] * 4 + [True]] * 2 and each["best"][0] == each["best"][1], name
    assert devices["sweeps"]["repeats"]


def test_an_interrupted_sweep_goes_on_bit_for_bit(devices):
    found = devices["sweeps"]["resumed"]
    assert found["same"] and found["again"] and found["curves"]
    assert found["calls"] == [2, 0]  # cut short; nothing is trained again when all is there


def test_devices_exchange_the_gradients_and_nothing_that_grows(devices):
    """64-8-10: 610 parameters; the loss of the batch goes with them."""
    found = {name: [collectives.Collective(*each) for each in all_] for name, all_ in devices["exchanged"].items()}
    size = 8 * (610 + 1)
    for name in ("2 devices", "4 devices", "64 devices", "fewer rows, weights", "stream"):
        steps = [each for each in found[name] if each.where == "step"]
        assert [each.kind for each in steps] == ["all-reduce"] and steps[0].bytes in (size, size + 8), (name, steps)
        # at the end of an epoch the incomplete batch: the same, and its labels if it does not divide by the devices
        rest = [each for each in found[name] if each.where != "step" and each.kind != "all-reduce"]
        assert all(each.kind == "all-gather" and each.bytes <= 4 * 64 for each in rest), (name, rest)
        assert sum(each.bytes for each in found[name] if each.where != "step") <= size + 8 + 4 * 64, name
    assert found["sweep"] == []
    # planted: a gradient that turns the rows of a batch round, across the devices
    moved = [each.kind for each in found["rows moved"] if each.where == "step"]
    assert {"all-gather", "all-to-all", "collective-permute"} & {*moved}, moved
    # and the order of all rows split: it is gathered in every step, but where the compiler of JAX 0.12 keeps it whole
    split = [each.kind for each in found["order split"] if each.where == "step"]
    assert split.count("all-gather") == (jax.__version_info__ < (0, 11)), split


def test_without_a_mesh_the_program_is_the_one_without_placement(monkeypatch):
    def text():
        programs._PROGRAMS.clear()
        return collectives.text_of(run)

    with_placement = text()
    for name in ("rows", "whole", "settled"):
        monkeypatch.setattr(placement.Placement, name, lambda self, tree: tree)
    monkeypatch.setattr(placement.Placement, "spread", lambda self, function, own, out: function)
    operations = [
        [line.split("metadata")[0] for line in each.splitlines() if " = " in line] for each in (with_placement, text())
    ]
    assert operations[0] == operations[1] and collectives.read(with_placement) == []


# ---- what is refused ------------------------------------------------------------------------------------------------


def one(axes=("data",)):
    return Mesh(np.array(jax.devices()[:1]).reshape((1,) * len(axes)), axes)


@pytest.mark.parametrize(
    ("mesh", "error", "says"),
    [
        (2, TypeError, r"fit: mesh must be a jax.sharding.Mesh, got 2\. Give jax.make_mesh"),
        (one(("rows",)), ValueError, r'fit: mesh must have the axis "data", .* got the axes \(\'rows\',\)\. Give'),
        (one(("data", "pipe")), ValueError, r"may have the axis \"model\", got the axes \('data', 'pipe'\)"),
    ],
)
def test_a_mesh_that_cannot_be_is_refused(mesh, error, says):
    with pytest.raises(error, match=says):
        run(mesh=mesh)


def test_devices_of_some_other_processes_are_refused(monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    with pytest.raises(ValueError, match=r"of this process alone or of every process, got those of processes \[0\] of"):
        placement.placed("fit", one())


def test_one_device_where_many_were_meant_is_said(monkeypatch):
    monkeypatch.setattr(placement, "_cores", lambda: 8)
    with pytest.warns(UserWarning, match=r"one CPU device, but there are 8 cores.*mesh = fnn.training.cores\(8\)"):
        placement.placed("fit", one())
    monkeypatch.setattr(placement, "_cores", lambda: 1)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    with pytest.warns(UserWarning, match=r"SLURM_STEP_NUM_TASKS=4 processes were started, .* jax.distributed.init"):
        placement.placed("sweep", one())


def test_cores_that_come_too_late_are_explained():
    count = len(jax.devices("cpu"))
    assert fnn.training.cores(count).size == count
    with pytest.raises(RuntimeError, match=rf"got {count} CPU devices, and {count + 1} were asked for\. Call fnn.tr"):
        fnn.training.cores(count + 1)


def test_parameters_on_devices_outside_the_mesh_are_refused():
    class Elsewhere:
        """Another device, as far as the placement looks."""

        size, devices, shape = 1, np.array(["device 7"], object), {"data": 1}

    params = jax.device_put(PARAMS, NamedSharding(one(), PartitionSpec()))
    where = placement.Placement(Elsewhere())
    with pytest.raises(ValueError, match=r"fit: parameters must lie on devices of the mesh, got params\[0\]\['W'\] on"):
        where.of("fit", params)


def test_a_batch_with_fewer_rows_than_devices_is_said():
    class Four:
        parts = 4

    request = type("Request", (), {"placement": Four, "batch_size": 2, "accumulate": 1, "caller": "fit"})
    with pytest.warns(UserWarning, match=r"a batch must have a row for each device, got batch_size 2 for 4 devices"):
        Request._require_batches(request, 100)


def test_checkpoints_of_a_sweep_are_a_record():
    with pytest.raises(TypeError, match=r"sweep: checkpoints must be a record, got 'runs'\. Give fnn.Checkpoints"):
        fnn.sweep(BY_HAND, (X, Y), over={"seed": [0]}, optimizer=fnn.optimizers.sgd(0.1), epochs=1, batch_size=2,
                  checkpoints="runs")  # fmt: skip
