"""Whether a worker can claim, as probes are told."""

from docket.instrumentation.readiness import SILENCE_SECONDS, Readiness
from docket.supervision import Alone


class Heard(Alone):
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

    def beat(self, lag_seconds: float, culprit: str | None) -> None:
        self.calls.append(f"beat {lag_seconds} {culprit}")


def connected() -> bool:
    return True


def test_a_worker_cannot_claim_before_it_is_ready() -> None:
    standing = Readiness(Alone(), connected)
    assert standing.obstacle == "it has not registered yet"

    standing.ready()
    assert standing.obstacle == "its first heartbeat has not been written yet"

    standing.release()
    assert standing.obstacle is None


def test_a_worker_is_ready_once_it_has_registered_and_its_heartbeat_is_written() -> None:
    for first, last in [(Readiness.ready, Readiness.release), (Readiness.release, Readiness.ready)]:
        heard = Heard()
        standing = Readiness(heard, connected)
        first(standing)
        assert heard.calls == []
        last(standing)
        assert heard.calls == ["ready"]


def test_a_worker_that_nobody_keeps_says_so_once_and_is_ready_when_somebody_does() -> None:
    heard = Heard()
    standing = Readiness(heard, connected)
    standing.ready()
    standing.release()

    standing.hold("shut out")
    standing.hold("shut out still")
    assert (standing.obstacle, standing.may_claim) == ("shut out still", False)

    standing.release()
    standing.release()
    assert (standing.obstacle, standing.may_claim) == (None, True)
    assert heard.calls == ["ready", "waiting shut out", "ready"]


def test_a_worker_whose_server_went_away_is_not_ready_because_its_heartbeat_was_written() -> None:
    heard = Heard()
    standing = Readiness(heard, connected)
    standing.ready()
    standing.release()

    standing.waiting("gone")
    standing.hold("shut out")
    standing.release()
    assert heard.calls == ["ready", "waiting gone", "waiting shut out"]


def test_a_worker_that_waits_for_its_server_cannot_claim_until_it_is_back() -> None:
    standing = Readiness(Alone(), connected)
    standing.ready()
    standing.release()

    standing.waiting("connection refused")
    assert standing.obstacle == "it waits for the server: connection refused"

    standing.ready()
    assert standing.obstacle is None


def test_a_worker_without_a_connection_cannot_claim_even_if_it_has_not_noticed() -> None:
    standing = Readiness(Alone(), lambda: False)
    standing.ready()
    standing.release()

    assert standing.obstacle == "it has no connection to the server"


def test_a_worker_whose_loop_is_blocked_cannot_claim_until_it_turns_again() -> None:
    standing = Readiness(Alone(), connected)
    standing.ready()
    standing.release()

    standing.beat(SILENCE_SECONDS + 1, "a-key")
    assert standing.obstacle == "its event loop has been blocked for 11 seconds"

    standing.beat(0.1, None)
    assert standing.obstacle is None


def test_a_worker_that_was_told_to_stop_claims_no_more() -> None:
    standing = Readiness(Alone(), connected)
    standing.ready()
    standing.release()

    standing.draining()
    standing.ready()

    assert standing.obstacle == "it claims no more: it was told to stop"


def test_everything_is_passed_on_to_the_supervision() -> None:
    heard = Heard()
    standing = Readiness(heard, connected)
    standing.release()

    standing.ready()
    standing.waiting("gone")
    standing.redelivered("w.1", 2.0)
    standing.draining()
    standing.beat(0.5, "key")

    assert heard.calls == [
        "ready",
        "waiting gone",
        "redelivered w.1 2.0",
        "draining",
        "beat 0.5 key",
    ]
