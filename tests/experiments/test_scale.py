"""`python -m experiments scale`: what is read from a program, and that a planted number refutes what is predicted."""

import copy

import pytest
from rich.console import Console

from experiments import results, scale, trial
from experiments.scale import again, collectives, model

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


SECONDS = [[1.0, 1.5, 2.0], [10.0, 12.0, 15.0], [100.0, 120.0, 130.0]]
KILL = {
    "seconds": 0.5, "status": [1, -9], "said": ["GroupError: gone", ""], "rank": 1, "writing": False, "ran_out": False,
    "half_written": 0, "same_bits": True,
}  # fmt: skip
WRITING = {"rank": 0, "writing": True, "half_written": 1, "status": [-9, 1], "said": ["", "GroupError: gone"]}
RESULT = {
    "programs": {n: {"fit": {name: step(name) for name in model.NETS}, "sweep": []} for n in ("2", "64")},
    "equal": {
        "fits": {
            "wide": {"2": 1e-15, "8": 1e-14}, "narrow": {"1": 1e-6, "2": 1e-6, "8": 2e-6}, "repeats": True,
            "model": {"2": {"off": 1e-14, "share": 0.51, "should": 0.51}},
        },
        "members": {
            "members": 65, "epochs": 40, "wide": 1e-14, "after_one": {"leaf": 3.0, "entry": 9000.0}, "repeats": True,
            "undisturbed": True, "distances": [[1e-5, 2e-5, 9.0], [1e-5, 3e-5, 9.0]],
        },
        "many": {"fit": 1e-14, "sweep": 0.0, "step": 0.01, "megabytes": 300.0},
    },
    "stream": {
        "two processes": [{"bytes": 520, "digest": "a"}, {"bytes": 500, "digest": "a"}],
        "one process": {"bytes": 1000, "digest": "a"},
    },
    "shapes": {
        "digests": {"1 x 2": ["a"], "2 x 1": ["a"], "1 x 4": ["b"], "2 x 2": ["c"], "4 x 1": ["c"]}, "losses_off": 2e-7,
    },
    "kills": {
        "kills": [KILL, KILL | WRITING],
        "signal": {
            "same_bits": True, "status": [143, 143], "checkpoints": 2, "stopped_at": [[3, 1], [3, 1]], "seconds": 1.0,
        },
    },
    "faults": {
        name: {"seconds": 11.0, "status": [1, 1], "said": [f"GroupError: {part}" for part in said], "same_bits": True}
        for name, said in scale.SAID.items()
    } | {name: {"same_bits": True} for name in scale.HARMLESS},
    "times": {
        "sweeps": [{"members": 64, "epochs": 40, "one": [3.0, 3.0, 9.0], "two": [2.0, 2.0, 2.0]}],
        "steps": [
            {"sizes": list(sizes), "batch": batch, "seconds": seconds}
            for (sizes, batch), seconds in zip(model.NETS.values(), SECONDS, strict=True)
        ],
    },
    "predicted": model.table(),
}  # fmt: skip
#: key of a prediction -> what must be changed in the result for it, and for no other, to fall.
PLANTED = {
    "exchange": lambda r: r["programs"]["64"]["fit"]["64-32-10"].append(
        {"kind": "all-gather", "bytes": 4, "where": "step"}
    ),
    "nothing": lambda r: r["programs"]["2"]["sweep"].append({"kind": "all-reduce", "bytes": 4, "where": "step"}),
    "wide": lambda r: r["equal"]["fits"]["wide"].update({"8": 1e-11}),
    "narrow": lambda r: r["equal"]["fits"]["narrow"].update({"8": 5e-6}),
    "layers": lambda r: r["equal"]["fits"]["model"]["2"].update(off=1e-11),
    "halved": lambda r: r["equal"]["fits"]["model"]["2"].update(share=1.0),
    "again": lambda r: r["equal"]["members"].update(repeats=False),
    "members": lambda r: r["equal"]["members"].update(wide=float("nan")),
    "ulps": lambda r: r["equal"]["members"].update(after_one={"leaf": 17.0}),
    "truth": lambda r: r["equal"]["members"]["distances"].__setitem__(1, [1e-4, 1e-4, 1e-4]),
    "undisturbed": lambda r: r["equal"]["members"].update(undisturbed=False),
    "many": lambda r: r["equal"]["many"].update(sweep=1e-11),
    "sweeps": lambda r: r["times"]["sweeps"][0].update(two=[2.2, 2.2, 2.2]),
    "model": lambda r: r["times"]["steps"][0].update(seconds=[1.0, 1.5, 40.0]),
    "stream": lambda r: r["stream"]["two processes"][1].update(bytes=560),
    "streamed": lambda r: r["stream"]["two processes"][1].update(digest="b"),
    "shapes": lambda r: r["shapes"]["digests"].update({"4 x 1": ["c", "d"]}),
    "order": lambda r: r["shapes"].update(losses_off=3e-6),
    "kills": lambda r: r["kills"]["kills"][1].update(seconds=21.0),
    "told": lambda r: r["kills"]["kills"][0].update(status=[0, -9]),
    "bits": lambda r: r["kills"]["kills"][1].update(same_bits=False),
    "halves": lambda r: r["kills"]["kills"][1].update(half_written=0),
    "signal": lambda r: r["kills"]["signal"].update(stopped_at=[[3, 1], [3, 2]]),
    "faults": lambda r: r["faults"]["the first hangs"].update(seconds=60.0),
    "clear": lambda r: r["faults"]["other data"]["said"].__setitem__(1, "GroupError: another option"),
    "woken": lambda r: r["faults"]["the second hangs"].update(same_bits=False),
    "harmless": lambda r: r["faults"]["the second pauses"].update(same_bits=False),
}


def test_every_prediction_holds_of_a_right_result_and_none_of_a_planted_one():
    assert {key: each.held for key, each in scale.predictions(RESULT).items()} == dict.fromkeys(PLANTED, True)
    for name, plant in PLANTED.items():
        result = copy.deepcopy(RESULT)
        plant(result)
        assert [key for key, each in scale.predictions(result).items() if not each.held] == [name]


def test_it_is_drawn_and_shown():
    saved = {"result": RESULT, "measured": {"parts": {"times": {"load": 0.1}}}}
    drawn = scale.draw(saved)
    assert list(drawn) == ["model.svg", "sweeps.svg", "kills.svg"]
    assert "1024-1024-1024-10, measured" in trial.described(drawn["model.svg"])
    scale.show(saved, console := Console(record=True, width=200))
    assert "two devices 1.50 × as fast as one" in console.export_text()


def test_parts_are_measured_again_into_a_record(tmp_path, monkeypatch, capsys):
    options = {"seed": 0, "kills": 2, "epochs": 1, "pairs": 1, "rows": 2048, "devices": 2}
    results.store(tmp_path, {"experiment": "scale", "options": options, "result": RESULT, "measured": {"parts": {}}})
    slower = copy.deepcopy(RESULT["times"])
    PLANTED["sweeps"]({"times": slower})
    monkeypatch.setitem(scale.PARTS, "times", lambda options, watch: slower)
    assert again.main(tmp_path, ["times"]) == 0
    record = results.read(tmp_path / results.FILE)
    assert record["result"]["times"] == slower and record["result"]["kills"] == RESULT["kills"]
    assert not record["predictions"]["sweeps"][1] and record["predictions"]["kills"][1]
    assert {path.name for path in tmp_path.iterdir()} == {results.FILE, *record["figures"]}
    assert again.main(tmp_path, ["nothing"]) == 2 and "usage: FOLDER" in capsys.readouterr().err


def test_the_model_says_where_devices_stop_paying():
    sizes, batch = model.NETS["1024-1024-1024-10"]
    assert model.parameters((64, 32, 10)) == 64 * 32 + 32 + 32 * 10 + 10
    assert model.step(model.HOSTS, sizes, batch, 1) == 6 * model.parameters(sizes) * batch / model.HOSTS.rate
    # docs/devices.md
    assert model.pays_until(model.HOSTS, sizes, batch) == 1 and model.pays_until(model.HOSTS, sizes, 4096 * batch) == 64
