"""`python -m stress.soak`."""

from stress.soak.cli import soak

if __name__ == "__main__":
    soak()
