"""`python -m stress.bench`."""

from stress.bench.cli import bench

if __name__ == "__main__":
    bench()
