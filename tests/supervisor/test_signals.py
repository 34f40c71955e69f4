"""Signals: noted from the start, counted once, given back."""

import os
import select
import signal
import threading
from collections.abc import Iterator

import pytest

from supervisor.signals import (
    HANDLED,
    URGENCY,
    Debouncer,
    ReceivedSignal,
    SignalQueue,
    in_main_thread,
)


@pytest.fixture
def signal_queue() -> Iterator[SignalQueue]:
    made = SignalQueue()
    yield made
    made.close()


def test_a_signal_is_noted_with_its_time_and_wakes_the_loop(signal_queue: SignalQueue) -> None:
    signal_queue.install()
    os.kill(os.getpid(), signal.SIGUSR1)
    assert select.select([signal_queue], [], [], 5)[0]
    (caught,) = signal_queue.take()
    assert caught.number == signal.SIGUSR1
    assert caught.at > 0
    assert select.select([signal_queue], [], [], 0)[0] == []


def test_signals_are_taken_in_the_order_in_which_they_came(signal_queue: SignalQueue) -> None:
    signal_queue.install()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
        os.kill(os.getpid(), number)
    assert [each.number for each in signal_queue.take()] == [
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGTERM,
    ]


def test_handlers_are_given_back_and_both_ends_may_come_twice(signal_queue: SignalQueue) -> None:
    before = [signal.getsignal(number) for number in HANDLED]
    signal_queue.install()
    signal_queue.install()
    assert [signal.getsignal(number) for number in HANDLED] != before
    signal_queue.remove()
    signal_queue.remove()
    assert [signal.getsignal(number) for number in HANDLED] == before


def test_a_process_that_is_about_to_end_ignores_all_signals(signal_queue: SignalQueue) -> None:
    signal_queue.install()
    signal_queue.ignore_all()
    assert {signal.getsignal(number) for number in HANDLED} == {signal.SIG_IGN}
    os.kill(os.getpid(), signal.SIGTERM)
    assert list(signal_queue.take()) == []


def test_handlers_that_were_restored_are_not_ignored(signal_queue: SignalQueue) -> None:
    before = [signal.getsignal(number) for number in HANDLED]
    signal_queue.install()
    signal_queue.remove()
    signal_queue.ignore_all()
    assert [signal.getsignal(number) for number in HANDLED] == before


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT])
def test_what_nohup_or_a_shell_ignores_stays_ignored(
    signal_queue: SignalQueue, number: signal.Signals
) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        signal_queue.install()
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal_queue.remove()
        signal.signal(number, before)


def test_only_the_main_thread_may_install() -> None:
    answers: list[bool] = [in_main_thread()]
    thread = threading.Thread(target=lambda: answers.append(in_main_thread()))
    thread.start()
    thread.join()
    assert answers == [True, False]


def test_the_same_signal_within_a_second_is_its_echo() -> None:
    debouncer = Debouncer()
    times = (0.0, 0.5, 0.9, 1.0, 1.5, 2.5)
    counted = [debouncer.is_new(ReceivedSignal(signal.SIGTERM, at)) for at in times]
    assert counted == [True, False, False, True, False, True]


@pytest.mark.parametrize(
    ("first", "second", "is_echo"),
    [
        (signal.SIGINT, signal.SIGTERM, True),  # of a terminal, and of a wrapper that passes it on
        (signal.SIGTERM, signal.SIGINT, True),
        (signal.SIGQUIT, signal.SIGTERM, True),
        (signal.SIGQUIT, signal.SIGINT, True),
        (signal.SIGTERM, signal.SIGQUIT, False),  # asks for more
        (signal.SIGINT, signal.SIGQUIT, False),
        (signal.SIGTERM, signal.SIGHUP, False),
        (signal.SIGHUP, signal.SIGHUP, False),
        (signal.SIGTTIN, signal.SIGTTIN, False),
    ],
)
def test_another_signal_is_an_echo_if_it_asks_for_no_more_than_the_first(
    first: signal.Signals, second: signal.Signals, is_echo: bool
) -> None:
    debouncer = Debouncer()
    assert debouncer.is_new(ReceivedSignal(first, 0.0))
    assert debouncer.is_new(ReceivedSignal(second, 0.9)) is not is_echo
    assert debouncer.is_new(ReceivedSignal(second, 1.0)) is (second not in URGENCY or is_echo)


def test_each_ctrl_c_counts_once_however_often_a_wrapper_passes_it_on() -> None:
    debouncer = Debouncer()
    came = [
        (0.0, signal.SIGINT),
        (0.4, signal.SIGTERM),
        (1.2, signal.SIGINT),
        (1.6, signal.SIGTERM),
    ]
    counted = [debouncer.is_new(ReceivedSignal(number, at)) for at, number in came]
    assert counted == [True, False, True, False]
