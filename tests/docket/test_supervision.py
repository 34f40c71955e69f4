"""A worker without a runtime."""

from docket.supervision import Unsupervised


def test_a_worker_alone_may_say_anything() -> None:
    alone = Unsupervised()

    alone.ready()
    alone.waiting("gone")
    alone.redelivered("w.1", 1.0)
    alone.draining()
    alone.beat(0.0, None)
