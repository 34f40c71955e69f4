"""Whatever a run goes through, its service manager is never misled: a model of one listens."""

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from supervisor.systemd.messages import (
    EXTEND_EVERY_SECONDS,
    STATUS_SECONDS,
    NotifyProtocol,
    ServiceStatus,
)

#: The regular tick of the supervisor, in seconds.
TICK = 0.25
WATCHDOG_SECONDS = 4.0
#: What the model of the service manager takes each state of a run for.
TAKEN_FOR = {
    "starting": "activating",
    "running": "running",
    "reloading": "reloading",
    "draining": "stopping",
}


class Model:
    """A service manager as sd_notify(3) and systemd.service(5) describe it."""

    def __init__(self) -> None:
        self.state = "activating"
        self.status = ""
        self.status_at = self.extended_at = self.fed_at = float("-inf")
        #: When it sent SIGHUP, while the RELOADING=1 that is newer is not there yet.
        self.hung_up_at: float | None = None

    def take(self, datagram: str, now: float) -> None:
        lines = datagram.split("\n")
        kinds = [each for each in lines if each in ("READY=1", "RELOADING=1", "STOPPING=1")]
        assert len(kinds) <= 1, "only the last one of a datagram counts"
        fields = dict(each.split("=", 1) for each in lines)
        for kind in kinds:
            self._take_state(kind, fields, now)
        if "STATUS" in fields:
            assert kinds or now >= self.status_at + STATUS_SECONDS
            self.status, self.status_at = fields["STATUS"], now
        if "EXTEND_TIMEOUT_USEC" in fields:
            self.extended_at = now
        if "WATCHDOG" in fields:
            self.fed_at = now

    def _take_state(self, kind: str, fields: dict[str, str], now: float) -> None:
        assert self.state != "stopping"
        match kind:
            case "READY=1":
                assert self.state in ("activating", "reloading"), "sent twice"
                self.state = "running"
            case "RELOADING=1":
                assert self.state in ("running", "reloading")
                assert int(fields["MONOTONIC_USEC"]) == int(now * 1_000_000)
                if self.hung_up_at is not None and now >= self.hung_up_at:
                    self.hung_up_at = None
                self.state = "reloading"
            case _:
                self.state = "stopping"


class Run(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.protocol = NotifyProtocol(WATCHDOG_SECONDS)
        self.model = Model()
        self.now = 1000.0
        self.state, self.words, self.needs_time, self.lives = "starting", 0, True, True
        self.status_since = self.needy_since = self.living_since = self.now

    @property
    def status(self) -> str:
        return f"{self.state} {self.words}"

    @initialize()
    def begin(self) -> None:
        self.update()

    def update(self, *, reload_asked: bool = False) -> None:
        status = ServiceStatus(self.state, self.status, self.needs_time, self.lives)
        for datagram in self.protocol.datagrams(status, self.now, reload_asked=reload_asked):
            self.model.take(datagram, self.now)
            assert self.needs_time or "EXTEND_TIMEOUT_USEC" not in datagram
            assert self.lives or "WATCHDOG=1" not in datagram

    @rule(seconds=st.floats(min_value=0.01, max_value=12.0))
    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            due = self.protocol.next_due()
            wake = end if due is None else max(due, self.now + 0.001)
            self.now = min(end, self.now + TICK, wake)
            self.update()

    @rule(words=st.integers(0, 3))
    def change_words(self, words: int) -> None:
        if words != self.words:
            self.words, self.status_since = words, self.now
        self.update()

    @rule(to=st.sampled_from(["running", "reloading", "draining"]))
    def change_state(self, to: str) -> None:
        assume(self.state != "draining")
        assume(to != self.state)
        assume(not (to == "reloading" and self.state == "starting"))
        self.state, self.status_since = to, self.now
        self.update()

    @rule()
    def need_time(self) -> None:
        if not self.needs_time:
            self.needs_time, self.needy_since = True, self.now
        self.update()

    @rule()
    def need_none(self) -> None:
        self.needs_time = False
        self.update()

    @rule()
    def hang(self) -> None:
        self.lives = False
        self.update()

    @rule()
    def live(self) -> None:
        if not self.lives:
            self.lives, self.living_since = True, self.now
        self.update()

    @precondition(lambda self: self.state in ("running", "reloading"))
    @rule()
    def hang_up(self) -> None:
        self.model.hung_up_at = self.now
        self.update(reload_asked=True)

    @invariant()
    def its_state_is_known(self) -> None:
        assert self.model.state == TAKEN_FOR[self.state]

    @invariant()
    def every_hangup_is_answered(self) -> None:
        assert self.model.hung_up_at is None

    @invariant()
    def its_status_is_known_a_second_later(self) -> None:
        if self.now > self.status_since + STATUS_SECONDS + TICK:
            assert self.model.status == self.status

    @invariant()
    def it_gets_its_time_while_it_needs_some(self) -> None:
        if self.needs_time:
            since = max(self.model.extended_at, self.needy_since)
            assert self.now <= since + EXTEND_EVERY_SECONDS + TICK

    @invariant()
    def the_living_feed_the_watchdog_at_half_of_its_time(self) -> None:
        if self.lives:
            since = max(self.model.fed_at, self.living_since)
            assert self.now <= since + WATCHDOG_SECONDS / 2 + 0.002


TestRun = Run.TestCase
