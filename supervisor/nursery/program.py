"""The program that the supervisor executes: a nursery, whose children do what their slot says."""

import sys

from supervisor import adopter, worker_main
from supervisor.child.fork_setup import Berth
from supervisor.nursery import nursery


def work(berth: Berth) -> int:
    """What a forked child does; its exit status."""
    if berth.slot == adopter.SLOT:
        return adopter.main(berth)
    return worker_main.main(berth)


if __name__ == "__main__":
    sys.exit(nursery.main(sys.argv[1:], work))
