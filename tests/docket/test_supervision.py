"""A worker without a runtime."""

from docket.backlog import Backlog
from docket.supervision import Unsupervised


def test_a_worker_alone_may_say_anything() -> None:
    alone = Unsupervised()

    alone.ready()
    alone.waiting("gone")
    alone.redelivered("w.1", 1.0)
    alone.draining()
    alone.backlog(Backlog(0, 0, 0, 0, 0, None, None, 0, 0, 0))
    alone.beat(0.0, None)
