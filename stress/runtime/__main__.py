"""`python -m stress.runtime`."""

from stress.runtime.cli import runtime

if __name__ == "__main__":
    runtime()
