from supervisor.pool import steward
from supervisor.pool.state.worker_registry import WorkerProcess, WorkerState


def worker(
    number: int, state: WorkerState = WorkerState.READY, beat_at: float = 10.0
) -> WorkerProcess:
    made = WorkerProcess(number, number, f"host#{number}", 1, 0.0, state=state)
    made.heartbeat_at = made.ready_at = beat_at
    return made


def choose(workers: list[WorkerProcess], current: int | None, now: float = 10.0) -> int | None:
    chosen = steward.elect(workers, current, now, 0.5)
    return None if chosen is None else chosen.number


def test_the_first_able_worker_is_appointed() -> None:
    assert choose([worker(1, WorkerState.STARTING), worker(2), worker(3)], None) == 2


def test_no_steward_is_appointed_when_no_worker_can_be() -> None:
    assert choose([worker(1, WorkerState.STARTING), worker(2, WorkerState.DRAINED)], None) is None


def test_the_current_one_stays_as_long_as_it_serves() -> None:
    assert choose([worker(1), worker(2)], 2) == 2


def test_a_loop_that_is_a_second_late_loses_the_appointment() -> None:
    workers = [worker(1, beat_at=10.0), worker(2, beat_at=11.0)]
    assert choose(workers, 1, now=11.4) == 1
    assert choose(workers, 1, now=11.6) == 2


def test_if_all_are_late_it_stays_where_it_is() -> None:
    assert choose([worker(1), worker(2)], 2, now=60.0) == 2


def test_a_draining_one_is_steward_only_if_no_other_is_there() -> None:
    draining = worker(1, WorkerState.DRAINING)
    assert choose([draining, worker(2)], 1) == 2
    assert choose([draining, worker(2, WorkerState.STARTING)], 1) == 1


def test_one_that_waits_for_the_server_is_not_appointed() -> None:
    waiting = worker(1)
    waiting.waiting = "connection refused"
    assert choose([waiting, worker(2)], 1) == 2


def test_an_adopter_is_never_steward() -> None:
    adopter = worker(1)
    adopter.adopts_only = True
    assert choose([adopter], None) is None
