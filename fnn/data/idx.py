"""Images and labels in IDX files, the format of MNIST and Fashion-MNIST: `mnist` reads a folder, `read_idx` one file.

Promises: a file that is not what its header says is refused with a message; no more memory is allocated than the file
can fill; nothing outside the named folder is read, and nothing is downloaded.
Refuses: files that are truncated, too long, damaged, or of another type or shape; labels that do not fit the images.
The format: two zero bytes, the type (8: unsigned bytes), the number of dimensions D, D sizes of four bytes (highest
byte first), then the entries, the last dimension fastest. Letters: N examples, I pixels.
"""

import gzip
import math
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np

#: part of the data -> the first word of the names of its two files.
PARTS = {"train": "train", "test": "t10k"}
#: Deflate codes at most 258 bytes in two bits, so a gzip file of n bytes holds at most 1032 n.
LARGEST_RATIO = 1032


def mnist(folder: str | Path) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The images and labels in a folder with the four files of MNIST, Fashion-MNIST, or a data set of the same form.

    Args:
        folder: holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
            t10k-labels-idx1-ubyte, each plain or gzipped (.gz).

    Returns:
        (x, y) for training and (x, y) for test: x (N, I) float32, ink from 0 (none) to 1 (full), the rows of an image
        one after the other; y (N,) int32, the class, 0 to 9.

    Raises:
        FileNotFoundError: a file is missing. ValueError: a file is not what it should be.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> def idx(numbers, *sizes):
    ...     header = bytes([0, 0, 8, len(sizes)]) + b"".join(size.to_bytes(4, "big") for size in sizes)
    ...     return header + bytes(numbers)
    >>> with TemporaryDirectory() as folder:
    ...     for part in ("train", "t10k"):
    ...         _ = Path(folder, f"{part}-images-idx3-ubyte").write_bytes(idx([0, 255, 0, 255], 1, 2, 2))
    ...         _ = Path(folder, f"{part}-labels-idx1-ubyte").write_bytes(idx([7], 1))
    ...     (x, y), test = fnn.data.mnist(folder)
    >>> x.tolist(), y.tolist()
    ([[0.0, 1.0, 0.0, 1.0]], [7])
    """
    train, test = (_part(Path(folder), start) for start in PARTS.values())
    if train[0].shape[1] != test[0].shape[1]:
        raise ValueError(
            f"the images for training and test must have equal sizes, got {train[0].shape[1]} and "
            f"{test[0].shape[1]} pixels. Take the four files from one source."
        )
    return train, test


def read_idx(file: str | Path, dimensions: int) -> np.ndarray:
    """The array in one IDX file of unsigned bytes, gzipped if its name ends in .gz.

    Args:
        file: its path.
        dimensions: the number it must have: 3 for images, 1 for labels.

    Returns:
        a uint8 array of the shape that the file states.

    Raises:
        FileNotFoundError: no such file. ValueError: not an IDX file of this form, or a damaged one.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "labels-idx1-ubyte")
    ...     _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     fnn.data.read_idx(file, 1).tolist()
    [7, 2, 1]
    """
    file = Path(file)
    size = file.stat().st_size
    try:
        if file.suffix == ".gz":
            with gzip.open(file) as opened:
                return _array(opened, file.name, dimensions, LARGEST_RATIO * size)
        with file.open("rb") as opened:
            return _array(opened, file.name, dimensions, size)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{file.name} is a damaged gzip file ({error}). Fetch it again.") from None


def _array(opened: BufferedIOBase, name: str, dimensions: int, most: int) -> np.ndarray:
    """The array in an open file, which holds at most `most` bytes."""
    head = opened.read(4)
    if head != bytes((0, 0, 8, dimensions)):
        raise ValueError(
            f"{name} must begin with the bytes 0, 0, 8, {dimensions} (IDX, unsigned bytes, {dimensions} "
            f"dimension{'s' if dimensions > 1 else ''}), got {', '.join(map(str, head)) or 'nothing'}. "
            "Check that the file is what its name says."
        )
    sizes = opened.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise ValueError(f"{name} ends within its header. Fetch it again.")
    shape = tuple(int.from_bytes(sizes[k : k + 4], "big") for k in range(0, len(sizes), 4))
    count = math.prod(shape)
    if count == 0:
        raise ValueError(f"{name} must hold entries, got sizes {shape}. Fetch it again.")
    # checked before anything is allocated
    if count > most:
        raise ValueError(
            f"{name} cannot hold the {count} entries of its sizes {shape}. It is truncated; fetch it again."
        )
    # one byte too many, to see whether there is more; this also takes gzip to its end, where it checks its checksum
    entries = opened.read(count + 1)
    if len(entries) != count:
        got = "more" if len(entries) > count else str(len(entries))
        raise ValueError(f"{name} must hold {count} entries, as its sizes {shape} say, got {got}. Fetch it again.")
    return np.frombuffer(entries, np.uint8).reshape(shape)


def _part(folder: Path, start: str) -> tuple[np.ndarray, np.ndarray]:
    images = read_idx(_path(folder, f"{start}-images-idx3-ubyte"), 3)
    labels = read_idx(_path(folder, f"{start}-labels-idx1-ubyte"), 1)
    if len(images) != len(labels):
        raise ValueError(
            f"{start}: there must be one label per image, got {len(images)} images and {len(labels)} labels. "
            "Take both files from one source."
        )
    if images.shape[1] != images.shape[2]:
        raise ValueError(f"{start}: images must be square, got {images.shape[1]} × {images.shape[2]}. Crop them.")
    if labels.max() > 9:
        raise ValueError(f"{start}: labels must be 0 to 9, got {labels.max()}. Take the labels of these images.")
    return images.reshape(len(images), -1).astype(np.float32) / 255, labels.astype(np.int32)


def _path(folder: Path, name: str) -> Path:
    for file in (folder / name, folder / f"{name}.gz"):
        if file.is_file():
            return file
    raise FileNotFoundError(f"{folder} must hold {name} or {name}.gz, got neither. Name another folder.")
