"""Faults of data files: errors with the file's name, and sizes that cannot be meant."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nodelens.errors import DataError

FAULTS = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, SyntaxError),
    *(ArithmeticError, RuntimeError, MemoryError),
    *(struct.error, zlib.error, zipfile.BadZipFile, tokenize.TokenError),
)
"""What libraries raise about the bytes of a damaged file."""


@contextmanager
def named(where: str, advice: str = "fetch the file again") -> Iterator[None]:
    """Raise a `DataError` that names the place in place of what a damaged file raises."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{where}: there is no such file (looked in {Path.cwd()})") from error
    except FAULTS as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"{where}: cannot be read: {reason}; {advice}") from error


def check_regular(path: Path) -> None:
    """Raise `DataError` for what is there and no file: a folder, a pipe, a device."""
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: not a regular file (a folder, a pipe or a device)")


def check_size(size: int, where: str) -> None:
    """Raise `DataError` for values of more bytes than the memory of the machine."""
    import psutil

    whole = int(psutil.virtual_memory().total)
    if size > whole:
        raise DataError(
            f"{where}: declares {size:,} bytes, more than the {whole:,} of this machine's memory; "
            "the file is damaged, or its data are to be divided"
        )
