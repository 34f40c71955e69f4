"""The readiness of a worker, as probes see it."""

from docket.instrumentation.readiness import SILENCE_SECONDS, Readiness
from docket.supervision import Unsupervised


class Heard(Unsupervised):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def ready(self) -> None:
        self.calls.append("ready")

    def waiting(self, reason: str) -> None:
        self.calls.append(f"waiting {reason}")

    def redelivered(self, consumer: str, started_at: float) -> None:
        self.calls.append(f"redelivered {consumer} {started_at}")

    def draining(self) -> None:
        self.calls.append("draining")

    def beat(self, lag_seconds: float, blocking_key: str | None) -> None:
        self.calls.append(f"beat {lag_seconds} {blocking_key}")


def connected() -> bool:
    return True


def test_a_worker_cannot_claim_before_it_is_ready() -> None:
    readiness = Readiness(Unsupervised(), connected)
    assert readiness.obstacle == "it has not registered yet"

    readiness.ready()
    assert readiness.obstacle == "its first heartbeat has not been written yet"

    readiness.release()
    assert readiness.obstacle is None


def test_a_worker_is_ready_once_it_has_registered_and_its_heartbeat_is_written() -> None:
    for first, last in [(Readiness.ready, Readiness.release), (Readiness.release, Readiness.ready)]:
        heard = Heard()
        readiness = Readiness(heard, connected)
        first(readiness)
        assert heard.calls == []
        last(readiness)
        assert heard.calls == ["ready"]


def test_a_worker_that_nobody_keeps_says_so_once_and_is_ready_when_somebody_does() -> None:
    heard = Heard()
    readiness = Readiness(heard, connected)
    readiness.ready()
    readiness.release()

    readiness.hold("shut out")
    readiness.hold("shut out still")
    assert (readiness.obstacle, readiness.may_claim) == ("shut out still", False)

    readiness.release()
    readiness.release()
    assert (readiness.obstacle, readiness.may_claim) == (None, True)
    assert heard.calls == ["ready", "waiting shut out", "ready"]


def test_a_worker_whose_server_went_away_is_not_ready_because_its_heartbeat_was_written() -> None:
    heard = Heard()
    readiness = Readiness(heard, connected)
    readiness.ready()
    readiness.release()

    readiness.waiting("gone")
    readiness.hold("shut out")
    readiness.release()
    assert heard.calls == ["ready", "waiting gone", "waiting shut out"]


def test_a_worker_that_waits_for_its_server_cannot_claim_until_it_is_back() -> None:
    readiness = Readiness(Unsupervised(), connected)
    readiness.ready()
    readiness.release()

    readiness.waiting("connection refused")
    assert readiness.obstacle == "it waits for the server: connection refused"

    readiness.ready()
    assert readiness.obstacle is None


def test_a_worker_without_a_connection_cannot_claim_even_if_it_has_not_noticed() -> None:
    readiness = Readiness(Unsupervised(), lambda: False)
    readiness.ready()
    readiness.release()

    assert readiness.obstacle == "it has no connection to the server"


def test_a_worker_whose_loop_is_blocked_cannot_claim_until_it_turns_again() -> None:
    readiness = Readiness(Unsupervised(), connected)
    readiness.ready()
    readiness.release()

    readiness.beat(SILENCE_SECONDS + 1, "a-key")
    assert readiness.obstacle == "its event loop has been blocked for 11 seconds"

    readiness.beat(0.1, None)
    assert readiness.obstacle is None


def test_a_worker_that_was_told_to_stop_claims_no_more() -> None:
    readiness = Readiness(Unsupervised(), connected)
    readiness.ready()
    readiness.release()

    readiness.draining()
    readiness.ready()

    assert readiness.obstacle == "it claims no more: it was told to stop"


def test_everything_is_passed_on_to_the_supervision() -> None:
    heard = Heard()
    readiness = Readiness(heard, connected)
    readiness.release()

    readiness.ready()
    readiness.waiting("gone")
    readiness.redelivered("w.1", 2.0)
    readiness.draining()
    readiness.beat(0.5, "key")

    assert heard.calls == [
        "ready",
        "waiting gone",
        "redelivered w.1 2.0",
        "draining",
        "beat 0.5 key",
    ]
