"""The program that the supervisor executes: a nursery, whose children are workers or adopters."""

import sys

from supervisor.child.fork_setup import ChildSpec
from supervisor.nursery import nursery
from supervisor.worker import last_adopter
from supervisor.worker import main as worker_main


def work(spec: ChildSpec) -> int:
    """Run a forked child; its exit status."""
    if spec.slot == last_adopter.SLOT:
        return last_adopter.main(spec)
    return worker_main.main(spec)


if __name__ == "__main__":
    sys.exit(nursery.main(sys.argv[1:], work))
