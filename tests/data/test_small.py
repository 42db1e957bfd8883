"""The embedded digits are scikit-learn's, byte by byte; splits are stratified, complete and fixed by their seed; IDX
files are read, and refused where they are not what they should be.
"""

import gzip

import numpy as np
import pytest

import fnn


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    x, y = fnn.data.digits()
    wanted = load_digits()
    assert x.dtype == np.float32 and y.dtype == np.int32
    assert (x * 16 == wanted.data).all() and (y == wanted.target).all()


def test_xor():
    x, y = fnn.data.xor()
    assert (y == (x[:, 0] != x[:, 1])).all() and len({tuple(row) for row in x}) == 4


def test_a_split_is_complete_stratified_and_fixed():
    _, y = fnn.data.digits()
    sizes = 1167, 270, 360
    parts = fnn.data.stratified_split(y, sizes, seed=0)
    assert [len(part) for part in parts] == list(sizes)
    assert (np.sort(np.concatenate(parts)) == np.arange(1797)).all()
    for part in parts:
        # each class within two examples of its share
        share = np.bincount(y) * len(part) / len(y)
        assert (np.abs(np.bincount(y[part]) - share) <= 2).all()
    again, other = (fnn.data.stratified_split(y, sizes, seed=seed) for seed in (0, 1))
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))
    assert any((a != b).any() for a, b in zip(parts, other, strict=True))


def test_sizes_must_add_up():
    labels = [0, 0, 0, 1, 1, 1]
    with pytest.raises(
        ValueError, match=r"must add up to the 6 examples, got \(3, 2\), which add up to 5. Change the last"
    ):
        fnn.data.stratified_split(labels, (3, 2), seed=0)
    for wrong, says in (
        (np.eye(6), r"\(N,\), got float64 \(6, 6\)\. Give argmax"),
        (np.array(["a", None, "b"] * 2, object), r"got object \(6,\)\. Give"),
        ([0.0, 1.0, np.nan] * 2, r"got float64 \(6,\) with NaN or infinity\. Give"),
    ):
        with pytest.raises(ValueError, match=r"stratified_split: labels must be one finite number or text .*" + says):
            fnn.data.stratified_split(wrong, (3, 3), seed=0)
    with pytest.raises(ValueError, match=r"stratified_split: size 2 must be at least 1, got 0"):
        fnn.data.stratified_split(labels, (6, 0), seed=0)
    with pytest.raises(TypeError, match=r"stratified_split: size 1 must be a whole number, got 2.5"):
        fnn.data.stratified_split(labels, (2.5, 3.5), seed=0)


# ---- IDX files, as MNIST has them: every file here is written by the tests -------------------------------------------


def idx(array, kind=8):
    """The bytes of an IDX file."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, kind, array.ndim)) + sizes + array.astype(np.uint8).tobytes()


IMAGES = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4)
LABELS = np.array([0, 9, 3, 3, 1, 7])
FILES = {
    "train-images-idx3-ubyte": idx(IMAGES),
    "train-labels-idx1-ubyte": idx(LABELS),
    "t10k-images-idx3-ubyte": idx(IMAGES[:2] + 100),
    "t10k-labels-idx1-ubyte": idx(LABELS[:2]),
}


def write(folder, files):
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("zipped", [False, True])
def test_a_folder_of_idx_files_is_read(tmp_path, zipped):
    files = {f"{name}.gz": gzip.compress(content) for name, content in FILES.items()} if zipped else FILES
    (x, y), (x_test, y_test) = fnn.data.mnist(write(tmp_path, files))
    assert x.dtype == x_test.dtype == np.float32 and y.dtype == y_test.dtype == np.int32
    assert (x == IMAGES.reshape(6, 16).astype(np.float32) / 255).all() and (y == LABELS).all()
    assert x_test.shape == (2, 16) and x_test[0, 0] == np.float32(100) / 255 and (y_test == [0, 9]).all()


def test_a_file_that_is_not_zipped_comes_first_and_a_missing_one_is_told(tmp_path):
    write(tmp_path, FILES | {"train-labels-idx1-ubyte.gz": b"never opened"})
    assert (fnn.data.mnist(tmp_path)[0][1] == LABELS).all()
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"must hold t10k-images-idx3-ubyte or t10k-images-idx3-ubyte\.gz, got"):
        fnn.data.mnist(str(tmp_path))


HEAD = bytes((0, 0, 8, 3))
ZIPPED = gzip.compress(idx(IMAGES))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must begin with the bytes 0, 0, 8, 3 .* got nothing. Check that the file is what its name says"),
        (bytes(3), "must begin with the bytes 0, 0, 8, 3 .*, got 0, 0, 0"),
        (b"<html>", "must begin with the bytes 0, 0, 8, 3 .*, got 60, 104, 116, 109"),
        (idx(IMAGES, kind=13), ", got 0, 0, 13, 3"),
        (idx(LABELS), ", got 0, 0, 8, 1"),
        (HEAD + bytes(7), "ends within its header"),
        (idx(IMAGES[:0]), r"must hold entries, got sizes \(0, 4, 4\)"),
        (idx(IMAGES)[:-1], r"must hold 96 entries, as its sizes \(6, 4, 4\) say, got 95"),
        (idx(IMAGES)[:-50], "(cannot hold the|must hold) 96 entries"),
        (idx(IMAGES) + b"x", "must hold 96 entries.*, got more"),
        # 79 billion billion billion entries: refused before anything is allocated
        (HEAD + b"\xff" * 12 + bytes(100), r"cannot hold the 79228162458924105385300197375 entries of its sizes"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_wrong_idx_file_is_refused_in_a_sentence(content, message, zipped, tmp_path):
    file = tmp_path / f"images{'.gz' if zipped else ''}"
    file.write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(ValueError, match=message):
        fnn.data.read_idx(file, 3)


@pytest.mark.parametrize(
    "damaged",
    [
        ZIPPED[:-12],  # the end and its checksum are missing
        ZIPPED[:-8] + bytes(4) + ZIPPED[-4:],  # the checksum is another
        ZIPPED[:12] + b"\xff\xff\xff" + ZIPPED[15:],  # a block that is none
        b"\x1f\x8c" + ZIPPED[2:],  # not the signature of gzip
        idx(IMAGES),  # not zipped at all
        b"",
    ],
)
def test_a_damaged_gzip_file_is_refused_in_a_sentence(damaged, tmp_path):
    file = tmp_path / "images.gz"
    file.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"images\.gz (is a damaged gzip file|must begin with)"):
        fnn.data.read_idx(file, 3)


def test_a_gzip_file_cannot_fill_the_memory(tmp_path):
    file = tmp_path / "images.gz"
    # a thousandfold of zeros behind sizes of 16: what is read ends one byte after them
    file.write_bytes(gzip.compress(HEAD + idx(IMAGES[:1])[4:16] + bytes(2**24)))
    with pytest.raises(ValueError, match=r"must hold 16 entries.*, got more"):
        fnn.data.read_idx(file, 3)
    # sizes that no file of this length can hold, however well it is packed
    file.write_bytes(gzip.compress(HEAD + (2**31).to_bytes(4, "big") + idx(IMAGES)[8:]))
    with pytest.raises(ValueError, match="cannot hold the 34359738368 entries"):
        fnn.data.read_idx(file, 3)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"train-labels-idx1-ubyte": idx(LABELS[:5])},
            "train: there must be one label per image, got 6 images and 5 labels",
        ),
        ({"t10k-labels-idx1-ubyte": idx(np.array([1, 10]))}, "t10k: labels must be 0 to 9, got 10"),
        ({"t10k-images-idx3-ubyte": idx(IMAGES[:2, :3])}, "t10k: images must be square, got 3 × 4"),
        ({"t10k-images-idx3-ubyte": idx(IMAGES[:2, :2, :2])}, "must have equal sizes, got 16 and 4 pixels"),
    ],
)
def test_files_that_do_not_fit_each_other_are_refused(files, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        fnn.data.mnist(write(tmp_path, FILES | files))


def test_digits_takes_a_folder(tmp_path, capsys):
    from experiments import digits
    from experiments.__main__ import main
    from experiments.digits import Options

    labels = np.arange(120) % 10
    many = {"train-images-idx3-ubyte": idx(np.ones((120, 4, 4))), "train-labels-idx1-ubyte": idx(labels)}
    write(tmp_path, FILES | many)
    parts = digits.images(Options(data=tmp_path)).parts
    assert {name: len(y) for name, (_, y) in parts.items()} == {"train": 110, "validation": 10, "test": 2}
    assert sorted(parts["validation"][1]) == list(range(10))
    out = ["--out", str(tmp_path / "out")]
    assert main(["digits", "--data", str(tmp_path), "--batch-size", "111", *out]) == 1
    assert "--batch-size must be at most 110, the training images" in capsys.readouterr().err
    assert main(["digits", "--data", str(tmp_path / "nowhere"), *out]) == 1
    assert "must hold train-images-idx3-ubyte or" in capsys.readouterr().err
    with pytest.raises(ValueError, match="--download must be given with --data FOLDER"):
        Options(download=True)
