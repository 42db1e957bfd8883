"""Checkpoints: what was interrupted goes on bit for bit, and what was damaged is refused by name."""

import json
import os
import pathlib
import random
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

import fnn
from experiments import faults
from fnn.training.checkpoints import Folder
from tests.training.test_run import NET, X, Y, run, same

pytestmark = pytest.mark.quick_compilation


class Stop(Exception):
    """A callback that raises."""


def stopping_at(epoch):
    def on_epoch(number, found):
        if number == epoch:
            raise Stop

    return on_epoch


def interrupted(folder, epoch=3, keep=3, **changed):
    """A run of six epochs that ends after this one; `seconds=0` saves after every call."""
    with pytest.raises(Stop):
        run(on_epoch=stopping_at(epoch), checkpoints=fnn.Checkpoints(folder, every_seconds=0.0, keep=keep), **changed)


def resumed(folder, **changed):
    return run(checkpoints=fnn.Checkpoints(folder, every_seconds=0.0), **changed)


@pytest.mark.parametrize("epoch", [1, 3])
def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path, epoch):
    options = {"validation": (X, Y), "patience": 4, "clip_norm": 1.0}
    whole, curves = run(**options)
    interrupted(tmp_path / "a", epoch, **options)
    state, history = resumed(tmp_path / "a", **options)
    assert same(state, whole) and same(history, curves)
    # what is finished is not begun again; more epochs may follow
    seen = []
    again, _ = resumed(tmp_path / "a", on_epoch=lambda number, found: seen.append(number), **options)
    assert same(again, whole) and not seen
    longer, _ = resumed(tmp_path / "a", epochs=8, on_epoch=lambda number, found: seen.append(number), **options)
    assert same(longer, run(epochs=8, **options)[0]) and seen == [7, 8]


def test_a_run_that_its_callback_ended_comes_back_as_it_is(tmp_path):
    def enough(number, found):
        if number == 2:
            raise fnn.StopTraining

    ended, curves = resumed(tmp_path, on_epoch=enough)
    with pytest.warns(UserWarning, match="on_epoch ended the run of these checkpoints after epoch 2; it is"):
        again, same_curves = resumed(tmp_path, on_epoch=enough)
    assert int(again.epoch) == 2 and same(again, ended) and same(curves, same_curves)
    # nobody to end it: all six epochs, as without checkpoints
    assert same(resumed(tmp_path)[0], run()[0])


def test_other_files_of_the_folder_stay(tmp_path):
    for name in ("mine.part", "00000001.npz.0123abcd.part"):
        (tmp_path / name).touch()
    resumed(tmp_path, epochs=1)
    assert [path.name for path in tmp_path.glob("*.part")] == ["mine.part"]


def test_the_last_few_are_kept(tmp_path):
    interrupted(tmp_path, 6, keep=2)
    assert sorted(p.suffix for p in tmp_path.glob("0*")) == [".json", ".json", ".npz", ".npz"]


def test_bits_of_every_dtype_and_keys_survive(tmp_path):
    with jax.enable_x64(True):
        tree = {
            "half": jnp.asarray([1.5, -np.inf, np.nan], jnp.bfloat16), "whole": jnp.arange(3, dtype=jnp.int8),
            "key": jax.random.key(7), "keys": jax.random.split(jax.random.key(3, impl="rbg"), 2),
            "double": jnp.asarray(1 / 3, jnp.float64), "none": jnp.zeros((0, 2)), "a/b": jnp.asarray([True, False]),
        }  # fmt: skip
        folder = Folder(tmp_path, 1)
        folder.save(tree, {})
        found = folder.latest(tree, {})
        assert jax.tree.structure(found) == jax.tree.structure(tree)
        for name, leaf in tree.items():
            assert found[name].dtype == leaf.dtype
            one, other = (jax.random.key_data(a) if "key" in name else a for a in (leaf, found[name]))
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def last(folder, suffix):
    return sorted(folder.glob(f"0*{suffix}"))[-1]


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (faults._cut, "it has [0-9]+ bytes"),
        (faults._flipped, "SHA-256"),
        (faults._emptied, "it has 0 bytes"),
        (faults._foreign, "not the manifest of a checkpoint"),
        (faults._newer, "version 2"),
        (faults._manifest_cut, "no manifest can be read"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, harm, says):
    whole, _ = run()
    interrupted(tmp_path, 5)
    harm(last(tmp_path, ".npz"))
    told = f"{last(tmp_path, '.npz').stem}.* is refused: .*{says}.* the checkpoint before it, is used"
    with pytest.warns(UserWarning, match=told):
        state, _ = resumed(tmp_path)
    assert same(state, whole)


def test_without_a_good_one_a_run_never_starts_over_silently(tmp_path):
    interrupted(tmp_path, 2, keep=1)
    faults._flipped(last(tmp_path, ".npz"))
    with pytest.raises(fnn.CheckpointError, match=r"SHA-256.*No good checkpoint is left\. Empty the folder"):
        resumed(tmp_path)


def rewritten(folder, **arrays):
    """The last checkpoint with other arrays and a manifest whose digest is right: what an attacker can do."""
    import hashlib

    path = last(folder, ".npz")
    with open(path, "wb") as file:
        np.savez(file, **arrays)
    manifest = json.loads(path.with_suffix(".json").read_text())
    manifest |= {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(manifest))


def test_a_hostile_checkpoint_can_do_nothing_but_be_refused(tmp_path):
    class Harm:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'harmed'}",)

    interrupted(tmp_path, 2, keep=1)
    with np.load(last(tmp_path, ".npz")) as file:
        arrays = dict(file)
    name = next(each for each in arrays if each.endswith("params[0]['W']"))
    for wrong, says in (
        (np.array([Harm()], dtype=object), "shape|pickle|dtype"),
        (np.zeros((10**6, 1), np.float32), "an array of shape"),
        (arrays[name].astype(np.float64), "an array of shape"),
    ):
        rewritten(tmp_path, **{**arrays, name: wrong})
        with pytest.raises(fnn.CheckpointError, match=f"is refused: .*({says})"):
            resumed(tmp_path)
    assert not (tmp_path / "harmed").exists()
    rewritten(tmp_path, **{key: value for key, value in arrays.items() if key != name})
    with pytest.raises(fnn.CheckpointError, match=r"is refused: .*There is no item named"):
        resumed(tmp_path)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"batch_size": 5}, "belongs to another run: batch_size is 4 there and 5 here"),
        (
            {"optimizer": optax.sgd(0.1)},
            r"another run: optimizer is '.*' there and '.*' here: it computes .* as a learning rate. Give",
        ),
        ({"data": (X + 1, Y)}, "another run: data is .* here: the arrays differ. Give"),
        ({"gradient": fnn.backprop(fnn.mlp(3, 6, 2), "softmax_cross_entropy"),
          "params": fnn.mlp(3, 6, 2).init(jax.random.key(0))}, r"another run: objective is .*mlp|dense\(3, 5"),
        ({"params": jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), NET.init(jax.random.key(0)))},
         "another run: data is|bfloat16"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::fnn.CastWarning")
def test_a_checkpoint_of_another_run_is_refused_and_says_what_differs(tmp_path, changed, says):
    interrupted(tmp_path, 2)
    before = {path: path.read_bytes() for path in tmp_path.glob("0*")}
    with pytest.raises(fnn.CheckpointError, match=says):
        resumed(tmp_path, **changed)
    assert before == {path: path.read_bytes() for path in tmp_path.glob("0*")}


def test_other_versions_are_said(tmp_path):
    interrupted(tmp_path, 2)
    manifest = last(tmp_path, ".json")
    manifest.write_text(manifest.read_text().replace(f'"jax": "{jax.__version__}"', '"jax": "0.9.0"'))
    with pytest.warns(UserWarning, match="not bit-exact: .* was made with jax 0.9.0"):
        resumed(tmp_path)


def test_two_runs_in_one_folder_and_folders_that_cannot_be_used_are_refused(tmp_path):
    with fnn.Checkpoints(tmp_path).opened(), pytest.raises(fnn.CheckpointError, match="another run is using"):
        resumed(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(fnn.CheckpointError, match=r"no checkpoints can be kept in .*file"):
        resumed(tmp_path / "file" / "below")
    with pytest.raises(TypeError, match=r"folder must be the name of a folder, got 5. Try 'runs/a'."):
        fnn.Checkpoints(5)
    with pytest.raises(ValueError, match=r"every_seconds must be at least 0, got '60'\. Try 60\."):
        fnn.Checkpoints("a", every_seconds="60")
    with pytest.raises(ValueError, match=r"keep must be a whole number from 1 on, got True\. Try 3\."):
        fnn.Checkpoints("a", keep=True)
    assert fnn.Checkpoints("a", keep=np.int64(2)).keep == 2
    with pytest.raises(ValueError, match="every_seconds must be at least 0, got -1"):
        fnn.Checkpoints(tmp_path, every_seconds=-1)
    with pytest.raises(ValueError, match="keep must be a whole number from 1 on, got 0"):
        fnn.Checkpoints(tmp_path, keep=0)


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_saves_and_leaves_and_the_run_goes_on(tmp_path, number, raised):
    whole, _ = run()
    before = signal.getsignal(number)
    # ten minutes between two checkpoints: the one that is there afterwards is of the signal
    kept = fnn.Checkpoints(tmp_path, every_seconds=600.0)
    with pytest.raises(raised):
        run(checkpoints=kept, on_epoch=lambda epoch, found: epoch == 2 and os.kill(os.getpid(), number))
    assert signal.getsignal(number) is before
    assert json.loads(last(tmp_path, ".json").read_text())["version"] == 1
    seen = []
    state, _ = run(checkpoints=kept, on_epoch=lambda epoch, found: seen.append(epoch))
    assert same(state, whole) and seen[0] > 2


def test_a_second_sigint_stops_at_once(tmp_path):
    def twice(epoch, found):
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
        raise AssertionError("the second signal must end the callback")

    with pytest.raises(KeyboardInterrupt):
        run(checkpoints=fnn.Checkpoints(tmp_path), on_epoch=twice)


def test_in_a_thread_signals_are_left_alone(tmp_path):
    found = []
    thread = threading.Thread(target=lambda: found.append(run(checkpoints=fnn.Checkpoints(tmp_path))[0]))
    thread.start()
    thread.join()
    assert same(found[0], run()[0])


def test_kills_and_a_full_disk_in_real_processes(tmp_path):
    environment, order = faults.surroundings(tmp_path), random.Random(0)
    alone = faults.finished(tmp_path / "alone", 80, environment)
    for _ in range(5):
        faults.killed(tmp_path / "killed", 80, environment, order)
    assert faults.finished(tmp_path / "killed", 80, environment) == alone
    assert all(faults.starved(tmp_path / "full", 80, environment, alone).values())


def test_a_run_keeps_its_folder_when_the_working_directory_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    options = {"optimizer": optax.sgd(0.1), "epochs": 1, "log": "run.jsonl"}
    run(**options, checkpoints=fnn.Checkpoints("runs"), on_epoch=lambda *_: os.chdir("elsewhere"))
    assert list((tmp_path / "runs").glob("*.npz")) and (tmp_path / "run.jsonl").exists()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_published_faults_are_those_of_the_committed_results(capsys):
    root = pathlib.Path(__file__).parents[2]
    saved = json.loads((root / "experiments/faults/measured/2-cores.json").read_text(encoding="utf-8"))
    assert all(each.held for each in faults.predictions(saved["result"]).values())
    assert len(saved["result"]["kills"]) == 50
    assert set(saved["result"]["damage"]) == set(faults.HARMS)
    faults.show(saved, Console())
    assert "50 kills, 9 of them while a checkpoint was written" in capsys.readouterr().out
    # one run of other bits would be said
    saved["result"]["kills"][7]["same_bits"] = False
    assert not all(each.held for each in faults.predictions(saved["result"]).values())
