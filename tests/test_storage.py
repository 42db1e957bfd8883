"""Saving and loading: bit for bit and in structure, or refused by the name of the leaf."""

import json
import os
import zipfile
from collections import OrderedDict
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn


class Pair(NamedTuple):
    first: jax.Array
    rest: list


TREE = {
    "half": jnp.asarray([1.5, -np.inf, np.nan], jnp.bfloat16), "whole": jnp.arange(3, dtype=jnp.int8),
    "nets": [({"W": jnp.ones((2, 3)), "b": jnp.zeros(3)},), None], 7: (), "a/b": jnp.asarray(True),
    "turned": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)), "none": jnp.zeros((0, 2)),
    "one": np.float32(2), "keys": jax.random.split(jax.random.key(3, impl="rbg"), 2), "../../outside": jnp.ones(1),
}  # fmt: skip
TREE = {str(key): value for key, value in TREE.items()}


def bits(tree):
    arrays = [jax.random.key_data(a) if fnn.types.is_key(a) else a for a in jax.tree.leaves(tree)]
    return [(np.shape(a), np.asarray(a).dtype.name, np.asarray(a).tobytes("C")) for a in arrays]


def test_a_tree_comes_back_bit_for_bit_and_alone(tmp_path):
    path = tmp_path / "net"
    for like in (None, TREE, jax.eval_shape(lambda: TREE)):
        fnn.save(path, TREE)
        found = fnn.load(path, like)
        assert jax.tree.structure(found) == jax.tree.structure(TREE) and bits(found) == bits(TREE)
    # exactly the named file, no ".npz" added and nothing left beside it; NumPy reads it too
    assert os.listdir(tmp_path) == ["net"] and path.stat().st_mode & 0o400
    assert np.load(path)["['nets'][0][0]['W']"].shape == (2, 3)


@pytest.mark.parametrize("tree", [jnp.ones(2), (), {1: jnp.ones(1), 0: [jnp.zeros(2)]}])
def test_small_trees(tmp_path, tree):
    fnn.save(tmp_path / "net.npz", tree)
    found = fnn.load(tmp_path / "net.npz")
    assert jax.tree.structure(found) == jax.tree.structure(tree) and bits(found) == bits(tree)


OF_A_STATE = r"Give like=state, .* options: fnn.fit\(…, epochs=1\)\[0\], or .* fnn.training.initial_state"


def test_named_tuples_such_as_a_state_need_like(tmp_path):
    state = fnn.training.initial_state(
        fnn.mlp(2, 1).init(jax.random.key(0)), fnn.optimizers.adam(0.1), key=jax.random.key(1)
    )
    for tree in (state, Pair(jnp.ones(2), [jnp.zeros(1)])):
        fnn.save(tmp_path / "net.npz", tree)
        found = fnn.load(tmp_path / "net.npz", like=tree)
        assert type(found) is type(tree) and bits(found) == bits(tree)
        says = (
            r"Give like=state, .* fnn.fit\(…, epochs=1\)\[0\]" if tree is state else "Give `like`, a tree of the same"
        )
        with pytest.raises(ValueError, match=rf"load: .* a named tuple {type(tree).__name__}, .* {says}"):
            fnn.load(tmp_path / "net.npz")
    # a state, asked for as parameters or as the state of another call
    fnn.save(tmp_path / "net.npz", state._replace(epoch_shape=jnp.ones(2)))
    for like, says in ((state.params, "holds a TrainState, got a tuple as `like`"), (state, "epoch_shape is in the f")):
        with pytest.raises(ValueError, match=f"load: .*{says}.*{OF_A_STATE}"):
            fnn.load(tmp_path / "net.npz", like)


def test_a_leaf_of_another_machine_or_of_a_trace(tmp_path):
    fnn.save(tmp_path / "net.npz", [np.arange(3, dtype=">f4")])
    assert fnn.load(tmp_path / "net.npz")[0].tolist() == [0.0, 1.0, 2.0]
    with pytest.raises(TypeError, match=r"save: leaf \[0\] must be an array, got the traced .* Call it outside jit."):
        jax.jit(lambda x: fnn.save(tmp_path / "other.npz", [x]))(jnp.ones(2))


@pytest.mark.parametrize("call", [lambda: fnn.save([jnp.ones(1)], "net.npz"), lambda: fnn.load(None)])
def test_a_path_is_the_name_of_a_file(call):
    with pytest.raises(TypeError, match=r"(save|load): the path must be the name of a file, got a .* Give fnn\.\1\("):
        call()


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_who_may_read_a_file_stays_and_a_name_may_be_long(tmp_path):
    path = tmp_path / ("n" * 250)
    for _ in range(2):
        fnn.save(path, [jnp.ones(1)])
        assert os.listdir(tmp_path) == [path.name]
        path.chmod(0o600)
    fnn.save(path, [jnp.zeros(1)])
    assert path.stat().st_mode & 0o777 == 0o600 and not fnn.load(path)[0].any()


def test_the_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    fnn.save("~/net.npz", [jnp.ones(1)])
    assert (tmp_path / "net.npz").exists() and bits(fnn.load("~/net.npz")) == bits([jnp.ones(1)])
    fnn.save("~nobody-of-this-name", [jnp.ones(1)])
    assert (tmp_path / "~nobody-of-this-name").exists()


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"rate": 0.5}, r"save: leaf \['rate'\] must be an array of numbers, got 0.5. Wrap it"),
        ([np.array(["a"])], r"save: leaf \[0\] must be an array of numbers"),
        ([np.array([print])], r"save: leaf \[0\] must be an array of numbers"),
        ([OrderedDict(a=jnp.ones(1))], r"save: params\[0\] must be a dict .*, got OrderedDict. Save a dict"),
        ({(1, 2): jnp.ones(1)}, "save: params must be a dict with names or whole numbers as keys"),
        ({1: jnp.ones(1), "1": jnp.ones(1)}, r"save: a dict must have keys that can be put in order, .* got .* Rename"),
        (
            [np.ma.masked_array(np.ones(2), [0, 1])],
            r"save: leaf \[0\] must be an ordinary array, got a masked one. Fill",
        ),
        ([np.ones(2, np.longdouble)], r"save: leaf \[0\] must be an array of numbers"),
    ],
)
def test_what_no_file_can_hold_is_refused(tmp_path, tree, says):
    with pytest.raises(TypeError, match=says):
        fnn.save(tmp_path / "net.npz", tree)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("like", "says"),
    [
        (
            [{"W": jnp.ones((2, 4))}],
            r"leaf \[0\]\['W'\] of .* have shape \(2, 4\) and dtype float32, got \(2, 3\)",
        ),
        (
            [{"W": jnp.ones((2, 3), jnp.bfloat16)}],
            r"dtype bfloat16, got \(2, 3\) and float32. Was it saved for",
        ),
        ([{"W": jnp.ones((2, 3)), "b": jnp.ones(3)}], r"got other ones: \[0\]\['b'\] is missing in the file"),
        ([{}], r"got other ones: \[0\]\['W'\] is in the file alone"),
        (({"W": jnp.ones((2, 3))},), r"other containers: list\(dict\(·\)\) where `like` has tuple\(dict\(·\)\)"),
        ([{"W": jnp.ones((2, 3))}, None], r"list\(dict\(·\)\) where `like` has list\(dict\(·\), None\)"),
        ([Pair(jnp.ones(1), [])], r"got other ones: \[0\].first is missing in the file"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_refused_by_the_leaf(tmp_path, like, says):
    fnn.save(tmp_path / "net.npz", [{"W": jnp.ones((2, 3))}])
    with pytest.raises(ValueError, match=f"load: .*{says}"):
        fnn.load(tmp_path / "net.npz", like)


def test_named_tuples_of_another_class_are_told_apart(tmp_path):
    fnn.save(tmp_path / "net.npz", Pair(jnp.ones(2), [jnp.zeros(1)]))

    class Other(NamedTuple):
        first: jax.Array
        rest: list

    with pytest.raises(ValueError, match=r"Pair\(·, list\(·\)\) where `like` has Other\(·, list\(·\)\)"):
        fnn.load(tmp_path / "net.npz", Other(jnp.ones(2), [jnp.zeros(1)]))


def test_double_precision_is_never_halved_in_silence(tmp_path):
    with jax.enable_x64(True):
        fnn.save(tmp_path / "net.npz", [jnp.asarray([1 / 3], jnp.float64)])
        assert fnn.load(tmp_path / "net.npz")[0].dtype == jnp.float64
    with pytest.raises(ValueError, match=r"load: leaf \[0\] needs JAX's 64-bit mode for float64"):
        fnn.load(tmp_path / "net.npz")
    # NumPy's own arrays are saved as JAX would take them
    with pytest.raises(TypeError, match=r"save: leaf \[0\] is float64, which would be float32"):
        fnn.save(tmp_path / "other.npz", [np.ones(2)])


def rewritten(path, change, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, text in members.items():
            file.writestr(name, text)


def of_structure(**changed):
    def change(members):
        members["structure.json"] = json.dumps(json.loads(members["structure.json"]) | changed).encode()

    return change


def longer(members):
    members["[0].npy"] += b"more"


HARMS = {
    "no zip file": (lambda path: path.write_bytes(b"PK no zip"), "not a zip file"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-40]), "not a zip file"),
    "a bit": (lambda path: path.write_bytes(path.read_bytes().replace(b"\0\0\x80?", b"\0\0\x81?", 1)), "Bad CRC-32"),
    "of NumPy": (lambda path: np.savez(path, W=np.ones(2)), "no item named 'structure.json'"),
    "compressed": (lambda path: rewritten(path, dict, zipfile.ZIP_DEFLATED), "structure.json is compressed"),
    "format": (lambda path: rewritten(path, of_structure(format="x")), "its format is 'x'"),
    "version": (lambda path: rewritten(path, of_structure(version=2)), "its version is 2, this package reads 1"),
    "no JSON": (lambda path: rewritten(path, lambda m: m.update({"structure.json": b"["})), "Expecting value"),
    "deep": (lambda path: rewritten(path, lambda m: m.update({"structure.json": b"[" * 10**5})), "recursion"),
    "tree": (lambda path: rewritten(path, of_structure(tree={"exec": ["[0]"]})), "'exec'"),
    "leaf": (lambda path: rewritten(path, of_structure(tree=["[0]"])), "attribute"),
    "array": (lambda path: rewritten(path, of_structure(arrays={"[0]": {"shape": [9], "dtype": "int8"}})), "promised"),
    "dtype": (lambda path: rewritten(path, of_structure(arrays={"[0]": {"shape": [2], "dtype": "object"}})), "dtype"),
    "more": (lambda path: rewritten(path, longer), "12 bytes of data where 8 were promised"),
    "missing": (lambda path: rewritten(path, lambda m: m.pop("[0].npy")), "no item named"),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARMS)
def test_a_file_that_is_not_whole_or_not_ours_is_refused(tmp_path, harm):
    path = tmp_path / "net.npz"
    fnn.save(path, [jnp.ones(2)])
    change, says = HARMS[harm]
    change(path)
    with pytest.raises(ValueError, match=f"(?i)load: .*net.npz must be a file of fnn.save, .*{says}.* Save it again"):
        fnn.load(path)


def test_a_long_structure_is_not_read(tmp_path, monkeypatch):
    fnn.save(tmp_path / "net.npz", [jnp.ones(2)])
    monkeypatch.setattr(fnn.storage, "LONGEST_STRUCTURE", 10)
    with pytest.raises(ValueError, match=r"structure.json has \d+ bytes"):
        fnn.load(tmp_path / "net.npz")


def test_a_save_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "net.npz"
    fnn.save(path, [jnp.ones(2)])
    for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):
        monkeypatch.setattr(os, "fsync", lambda file, error=error: (_ for _ in ()).throw(error))
        with pytest.raises(type(error), match=r"(No space left on device.*net.npz)?"):
            fnn.save(path, [jnp.zeros(2)])
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["net.npz"] and bits(fnn.load(path)) == bits([jnp.ones(2)])
    with pytest.raises(FileNotFoundError, match=r"missing/net\.npz"):
        fnn.save(tmp_path / "missing" / "net.npz", [jnp.ones(1)])
    with pytest.raises(FileNotFoundError, match=r"missing\.npz"):
        fnn.load(tmp_path / "missing.npz")


def test_a_net_is_no_pattern_for_its_parameters(tmp_path):
    fnn.save(tmp_path / "net.npz", {"W": jnp.ones(2)})
    with pytest.raises(TypeError, match=r"load: like must be a tree of arrays .* got dense.*net\.init\(key\)"):
        fnn.load(tmp_path / "net.npz", like=fnn.dense(2, 1))
