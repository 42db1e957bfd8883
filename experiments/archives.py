"""Public data that is not part of the package: in a folder that the user names, or fetched into it on request.

Promises: nothing is fetched without being asked for; a file is compared with its SHA-256 before it gets its name;
nothing is written outside the named folder.
"""

import hashlib
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class DataError(Exception):
    """The data cannot be read or fetched; the message says why and what to do."""


class Archive(NamedTuple):
    """One file: its address, and what it must contain."""

    addresses: Sequence[str]
    sha256: str
    most: int
    """A file with more bytes than this is something else."""


_UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases/wine-quality/"
_MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")

#: The wine-quality tables of P. Cortez et al. (UCI Machine Learning Repository, doi:10.24432/C56S3T).
WINE: dict[str, Archive] = {
    name: Archive([_UCI + name], sha256, 2**20)
    for name, sha256 in (
        ("winequality-red.csv", "4a402cf041b025d4566d954c3b9ba8635a3a8a01e039005d97d6a710278cf05e"),
        ("winequality-white.csv", "76c3f809815c17c07212622f776311faeb31e87610d52c26d87d6e361b169836"),
    )
}
#: The digits of Y. LeCun, C. Cortes and C. Burges.
MNIST: dict[str, Archive] = {
    name: Archive([mirror + name for mirror in _MIRRORS], sha256, 2**24)
    for name, sha256 in (
        ("train-images-idx3-ubyte.gz", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        ("train-labels-idx1-ubyte.gz", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        ("t10k-images-idx3-ubyte.gz", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        ("t10k-labels-idx1-ubyte.gz", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    )
}


def fetch(archives: Mapping[str, Archive], folder: Path) -> None:
    """Fetch the missing files into the folder, which is created if it does not exist. Raises `DataError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, archive in archives.items():
            file = folder / name
            if not file.exists():
                beside = file.with_name(f".{name}.part")
                beside.write_bytes(_fetched(name, archive))
                beside.replace(file)
    except OSError as error:
        raise DataError(f"--data must be a folder to write to; {folder}: {error.strerror}. Name another.") from None


def digest(content: bytes) -> str:
    """The SHA-256 of the content, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _fetched(name: str, archive: Archive) -> bytes:
    troubles = []
    for address in archive.addresses:
        try:
            # so long without a byte means that nothing will come
            with urllib.request.urlopen(address, timeout=30) as opened:
                content = opened.read(archive.most + 1)
        except (OSError, urllib.error.URLError) as error:
            troubles.append(f"{address}: {getattr(error, 'reason', error)}")
            continue
        if digest(content) == archive.sha256:
            return content
        troubles.append(f"{address}: its SHA-256 is not {archive.sha256}")
    raise DataError(
        f"{name} could not be fetched. {'; '.join(troubles)}. Without a network, put the files into a folder yourself "
        "and name it with --data."
    )
