"""Signals of the nursery and the workers, in a process of their own."""

import os
import subprocess
import sys

from tests.support.nursery import ROOT


def in_a_process(code: str) -> str:
    """What the code prints, run after `signal_shield` was imported."""
    prelude = "import os, signal, sys\nfrom supervisor.child import signal_shield\n"
    done = subprocess.run(
        [sys.executable, "-c", prelude + code],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return done.stdout


def test_a_signal_passes_without_effect_and_without_breaking_a_system_call() -> None:
    shown = in_a_process(
        "signal_shield.install()\n"
        "for number in signal_shield.SHIELDED:\n"
        "    os.kill(os.getpid(), number)\n"
        "print(len(signal_shield.SHIELDED))\n"
    )

    assert int(shown) == 8


def test_what_is_ignored_stays_ignored_as_nohup_means_it() -> None:
    shown = in_a_process(
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "signal_shield.install()\n"
        "print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)\n"
    )

    assert shown == "True\n"


def test_a_fork_has_the_defaults_back_but_what_others_handle() -> None:
    shown = in_a_process(
        "signal_shield.reset_in_forks()\n"
        "signal_shield.install()\n"
        "signal.signal(signal.SIGUSR1, lambda *_: None)\n"
        "if os.fork() == 0:\n"
        "    for number in (signal.SIGTERM, signal.SIGUSR1):\n"
        "        print(signal.getsignal(number) is signal.SIG_DFL)\n"
        "    sys.stdout.flush()\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )

    assert shown == "True\nFalse\n"


def test_a_signal_before_a_fork_has_its_defaults_back_waits_and_is_not_swallowed() -> None:
    shown = in_a_process(
        "kill = lambda: os.kill(os.getpid(), signal.SIGTERM)\n"
        "os.register_at_fork(after_in_child=kill)\n"  # before ours
        "signal_shield.reset_in_forks()\n"
        "signal_shield.install()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    os._exit(1)\n"
        "print(os.waitstatus_to_exitcode(os.wait()[1]))\n"
        "print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))\n"
    )

    assert shown == "-15\nset()\n"


def test_blocked_signals_arrive_when_the_block_ends() -> None:
    shown = in_a_process(
        "arrived = []\n"
        "signal.signal(signal.SIGTERM, lambda *_: arrived.append(1))\n"
        "with signal_shield.blocked():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print(arrived)\n"
        "print(arrived, signal.pthread_sigmask(signal.SIG_BLOCK, ()))\n"
    )

    assert shown == "[]\n[1] set()\n"
