"""``python -m nodelens`` is the same program as ``nodelens``."""

from __future__ import annotations

import sys

from nodelens.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
