"""The check that a component's module imports without heavy packages."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache

from nodelens.testing.checks import demand

HEAVY = ("torch", "scipy", "sklearn", "matplotlib", "pandas", "transformers")


@cache
def heavy_imports(module: str) -> str:
    """Import `module` in a fresh interpreter; return the heavy packages it brought, or an error."""
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return f"an error: {done.stderr.strip().splitlines()[-1]}"
    return done.stdout.strip()


def check_light(module: str) -> None:
    """Raise `AssertionError` if importing `module` imports a heavy package."""
    found = heavy_imports(module)
    demand(not found, f"import {module} brings {found}; import it inside the functions that use it")
