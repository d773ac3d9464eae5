"""Safe file names from names that users and plugins choose."""

from __future__ import annotations

import hashlib
import re

_LONGEST = 80


def file_name(name: str) -> str:
    """Return a name that is safe as a part of a path, different for different names.

    Letters, digits, ``_``, ``.`` and ``-`` are kept; anything else becomes ``-``, and a hash of
    the original is added, so that ``a/b`` and ``a:b`` do not meet in one file.
    """
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip(".-")[:_LONGEST]
    if name and safe == name:
        return name
    digest = hashlib.sha256(name.encode("utf-8", errors="backslashreplace")).hexdigest()[:8]
    return f"{safe}-{digest}".lstrip("-")
