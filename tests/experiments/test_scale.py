"""`python -m experiments scale`: what is read from a program, and that a planted number refutes what is predicted."""

import copy

import pytest

from experiments import scale
from experiments.scale import collectives, model

TEXT = """
%body (p: f32[]) -> f32[] {
  %all-reduce.5 = (f32[64,32]{1,0}, f32[32]{0}, /*index=2*/f64[]) all-reduce(%a, %b), metadata={op_name="jit(run)/while/body/while/body/dot"}
  %g = s32[46,1]{1,0} all-gather(%c), metadata={op_name="jit(run)/while/body/cond/branch_1_fun/scatter-add"}
  %s = pred[3]{0} all-reduce-start(%d)
  %no = f32[2]{0} add(%all-reduce.5, %g)
}
"""  # noqa: E501


def test_collectives_are_read_with_their_bytes_and_their_place():
    assert collectives.read(TEXT) == [
        ("all-reduce", 4 * 64 * 32 + 4 * 32 + 8, "step"), ("all-gather", 4 * 46, "epoch"), ("all-reduce", 3, "call"),
    ]  # fmt: skip


def test_where_nothing_is_called_nothing_is_read():
    with pytest.raises(RuntimeError, match="no program was called"):
        collectives.text_of(lambda: None)


def step(name):
    return [{"kind": "all-reduce", "bytes": 4 * (model.parameters(model.NETS[name][0]) + 1), "where": "step"}]


KILL = {"soon": True, "status": [1, -9], "said": [True, False], "rank": 1, "ran_out": False, "same_bits": True}
RESULT = {
    "programs": {n: {"fit": {name: step(name) for name in model.NETS}, "sweep": []} for n in ("2", "64")},
    "stream": {
        "two processes": [{"read": 520, "digest": "a"}, {"read": 500, "digest": "a"}],
        "one process": [{"read": 1000, "digest": "a"}],
    },
    "kills": [KILL, KILL | {"rank": 0, "status": [-9, 1], "said": [False, False]}],
    "signal": {"same_bits": True, "status": [143, 143], "checkpoints": 2},
    "times": {
        "sweeps": [{"members": 64, "one": [3.0, 3.0, 9.0], "two": [2.0, 2.0, 2.0]}],
        "steps": [{"sizes": [64, 32, 10], "batch": 32, "seconds": [1.0, 1.0, 2.0]}],
    },
}  # fmt: skip
PLANTED = {
    "exchange": lambda r: r["programs"]["64"]["fit"]["64-32-10"].append(
        {"kind": "all-gather", "bytes": 4, "where": "step"}
    ),
    "nothing": lambda r: r["programs"]["2"]["sweep"].append({"kind": "all-reduce", "bytes": 4, "where": "step"}),
    "sweeps": lambda r: r["times"]["sweeps"][0].update(two=[2.2, 2.2, 2.2]),
    "stream": lambda r: r["stream"]["two processes"][1].update(digest="b"),
    "kills": lambda r: r["kills"][1].update(same_bits=False),
    "signal": lambda r: r["signal"].update(status=[143, 0]),
    "model": lambda r: r["times"]["steps"][0].update(seconds=[1.0, 1.0, 40.0]),
}


def test_every_prediction_holds_of_a_right_result_and_none_of_a_planted_one(monkeypatch):
    monkeypatch.setattr(scale.os, "cpu_count", lambda: 2)
    assert all(each.held for each in scale.predictions(RESULT).values())
    for name, plant in PLANTED.items():
        result = copy.deepcopy(RESULT)
        plant(result)
        assert [key for key, each in scale.predictions(result).items() if not each.held] == [name]
    hung = copy.deepcopy(RESULT)
    hung["kills"][0]["status"] = [0, -9]
    assert not scale.predictions(hung)["kills"].held


def test_the_model_says_where_devices_stop_paying():
    sizes, batch = model.NETS["1024-1024-1024-10"]
    assert model.parameters((64, 32, 10)) == 64 * 32 + 32 + 32 * 10 + 10
    assert model.step(model.HOSTS, sizes, batch, 1) == 6 * model.parameters(sizes) * batch / model.HOSTS.rate
    # docs/devices.md
    assert model.pays_until(model.HOSTS, sizes, batch) == 1 and model.pays_until(model.HOSTS, sizes, 4096 * batch) == 64
