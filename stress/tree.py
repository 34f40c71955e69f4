"""What is measured is the tree that these programs stand in, installed or not."""

import os
from pathlib import Path

ROOT = Path(__file__).parent.parent


def environment() -> dict[str, str]:
    """That of a measured process: it finds our packages wherever it starts."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}
