"""`docket-supervisor demo`: the main job on real input, in one minute.

Every Python file of a folder is a task; a real pool parses them on the embedded server; halfway
one of its workers is killed. In the end every file must be accounted for exactly once, by its
record, or the demo fails.
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import anyio
import click

from docket import Docket
from supervisor.config import SupervisorConfig
from supervisor.demo.audit import AuditTotals, percentile, total
from supervisor.demo.pool_view import PoolView
from supervisor.demo.producer import Producer, counted
from supervisor.demo.screen import LISTED, logging_to, open_screen
from supervisor.demo.source_files import Found, find, shown
from supervisor.errors import ConfigurationError
from supervisor.exit_codes import ExitCode
from supervisor.signals import Debouncer, SignalQueue
from supervisor.supervisor import Supervisor

DOCKET = "demo"
TASKS = "supervisor.demo.tasks:tasks"

#: How long to wait, after the last file, for word of what the killed worker left.
SETTLE_SECONDS = 5.0
#: How long the producer may take to close its connections.
LET_GO_SECONDS = 2.0
#: What a shell adds to the number of the signal that ended a program.
SIGNAL_EXIT = 128
#: What ends the demo early: Ctrl-C, whoever stops it, and the loss of its terminal.
ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


@dataclass(frozen=True, slots=True)
class Plan:
    """One run of the demo."""

    found: Found
    config: SupervisorConfig
    kill: bool

    @property
    def at_once(self) -> int:
        """Files queued or running at any time: each that runs has one waiting behind it."""
        return 2 * self.config.processes * self.config.concurrency


def plan(path: Path | None, processes: int, concurrency: int, *, kill: bool) -> Plan:
    """What to do.

    Raises:
        ConfigurationError: there is nothing to parse, or a number is out of range.
    """
    config = SupervisorConfig(
        processes=processes,
        concurrency=concurrency,
        tasks=(TASKS,),
        docket=DOCKET,
        url=f"memory://{DOCKET}",
        drain_timeout=timedelta(seconds=5),
        # A file that does not parse is no news for the log: the demo lists them in the end.
        logging_level="CRITICAL",
    )
    return Plan(find(path), config, kill)


class Demo:
    """One run, from the first worker to the table.

    Arguments:
        plan: what to do.
        inlet: signal handlers that stand.
    """

    def __init__(self, plan: Plan, signal_queue: SignalQueue) -> None:
        self._plan = plan
        self._signal_queue = signal_queue
        self._screen = open_screen(self._reader_gone)
        self._view = PoolView(self._screen.say)
        self._supervisor = Supervisor(plan.config, on_event=self._view)
        self._debouncer = Debouncer()
        self._interrupted_by: int | None = None
        self._work_done: asyncio.Task[tuple[AuditTotals, float]] | None = None

    async def run(self) -> int:
        """Do it; the exit code.

        Raises:
            SupervisorError: the pool could not be started.
        """
        loop = asyncio.get_running_loop()
        loop.add_reader(self._signal_queue, self._take_signals)
        self._take_signals()  # those that came before there was a loop
        try:
            with logging_to(self._screen):
                return await self._beside_the_pool()
        finally:
            loop.remove_reader(self._signal_queue)

    async def _beside_the_pool(self) -> int:
        """The pool and its producer end together, whichever of them ends first."""
        pool = asyncio.create_task(self._supervisor.serve())
        work = self._work_done = asyncio.create_task(self._work())
        if self._interrupted_by is not None:
            work.cancel()
        try:
            await asyncio.wait({pool, work}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # The producer lets go of the server first, or it would see it go and try to get back.
            work.cancel()
            await asyncio.wait({work}, timeout=LET_GO_SECONDS)
            self._supervisor.stop()
            await asyncio.wait({pool, work})
        code = pool.result()  # or the error that it could not be started with
        if self._interrupted_by is not None:
            self._screen.say("interrupted: nothing of it is left running")
            return SIGNAL_EXIT + self._interrupted_by
        if work.cancelled() or code != ExitCode.STOPPED:
            self._complain(self._supervisor.reason or "the pool ended before its work did")
            return code or ExitCode.BUG
        return self._conclude(*work.result())

    async def _work(self) -> tuple[AuditTotals, float]:
        """Feed the pool; what came of it, and how many seconds that took."""
        found, screen = self._plan.found, self._screen
        screen.say(f"{counted(len(found.sources), 'Python file')} under {shown(found.root)}")
        for folder in found.unreadable:
            screen.say(f"left out, since it cannot be read: {folder}")
        url = await self._view.ready()
        pids = self._view.pids()
        screen.say(
            f"{counted(len(pids), 'worker')} on an embedded Valkey, "
            f"pid{'s' * (len(pids) > 1)} {', '.join(map(str, pids))}"
        )
        victims = self._view if self._plan.kill else None
        async with Docket(DOCKET, url) as docket:
            with screen.progress(len(found.sources)) as advanced:
                feed = Producer(docket, found.sources, self._plan.at_once, advanced)
                await feed.run(victims, screen.say)
            with anyio.move_on_after(SETTLE_SECONDS):  # what is not known then stays open
                await self._view.settled()
            accounts = await feed.audit()
        return total([source.key for source in found.sources], accounts), feed.seconds

    def _conclude(self, totals: AuditTotals, seconds: float) -> int:
        screen = self._screen
        for line in failures_in_words(totals):
            screen.say(shortened(line, screen.width))
        screen.say()
        screen.table(rows(totals, seconds, self._view))
        if self._plan.kill and self._view.kill is None:
            screen.say("no worker was killed: none was in the middle of a file when it was time to")
        if totals.adds_up:
            screen.say("every file is accounted for exactly once")
            return ExitCode.STOPPED
        shown_wrong = "; ".join(totals.wrong[:LISTED])
        self._complain(
            f"not every file is accounted for exactly once, {len(totals.wrong):,} are wrong: "
            f"{shown_wrong}"
        )
        return ExitCode.BUG

    def _complain(self, reason: str) -> None:
        click.echo(f"docket-supervisor: {' '.join(reason.split())}", err=True)

    def _take_signals(self) -> None:
        for caught in self._signal_queue.take():
            if caught.number not in ENDING or not self._debouncer.counts(caught):
                continue
            if self._interrupted_by is None:
                self._interrupt(caught.number)
            else:
                self._supervisor.stop(hand_back=True)

    def _reader_gone(self) -> None:
        self._interrupt(signal.SIGPIPE)

    def _interrupt(self, because: int) -> None:
        """Have the work ended, and the pool after it."""
        self._interrupted_by = because
        if self._work_done is not None:
            self._work_done.cancel()


def failures_in_words(totals: AuditTotals) -> Iterator[str]:
    """The files that failed, each with its error in one line; of many, the first."""
    if not totals.failures:
        return
    yield f"{counted(totals.failed, 'file')} failed, each after a second attempt:"
    for account in totals.failures[:LISTED]:
        error = " ".join((account.error or "without an error").split())
        yield f"  {account.key}: {error}"
    if totals.failed > LISTED:
        yield f"  and {totals.failed - LISTED:,} more"


def rows(totals: AuditTotals, seconds: float, view: PoolView) -> Iterator[tuple[str, str]]:
    """The table: what was done, how fast, and what the kill cost."""
    yield "files", f"{totals.files:,}"
    yield "parsed", f"{totals.parsed:,}"
    yield "failed", f"{totals.failed:,}"
    for name, number in totals.counts._asdict().items():
        yield name, f"{number:,}"
    yield "seconds", f"{seconds:.1f}"
    yield "tasks/s", f"{totals.files / seconds:,.0f}"
    yield "latency p50, queued to started", milliseconds(percentile(totals.waits, 50))
    yield "latency p99, queued to started", milliseconds(percentile(totals.waits, 99))
    yield "workers killed", str(int(view.kill is not None))
    if view.other_deaths:
        yield "workers that died by themselves", str(view.other_deaths)
    yield "tasks redelivered", f"{view.moved:,}"
    yield "from the kill to the first redelivered start", milliseconds(view.redelivered_seconds)


def milliseconds(seconds: float | None) -> str:
    """`12 ms`, `0.4 ms`, or a dash for what there was not."""
    if seconds is None:
        return "-"
    number = seconds * 1000
    return f"{number:,.0f} ms" if number >= 10 else f"{number:.1f} ms"


def shortened(line: str, width: int) -> str:
    """At most `width` characters; what is cut shows."""
    return line if len(line) <= width else line[: width - 3] + "..."


@click.command("demo", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--processes", default=2, show_default=True, metavar="N", help="Worker processes.")
@click.option("--concurrency", default=4, show_default=True, metavar="N", help="Tasks in each.")
@click.option(
    "--kill/--no-kill",
    default=True,
    show_default=True,
    help="Whether a worker is killed with SIGKILL halfway.",
)
@click.pass_context
def demo(
    context: click.Context, path: Path | None, processes: int, concurrency: int, kill: bool
) -> int:
    """Parse every Python file under PATH on a pool of workers, one of which is killed.

    PATH is the standard library of the running Python unless given. Ends with 0 only if every
    file is accounted for exactly once.
    """
    planned = plan(path, processes, concurrency, kill=kill)
    # A pool looks for modules in its working directory first. The demo brings its own, and a
    # file that happens to be named like one that they import must not get into their way.
    os.chdir(Path(__file__).parents[2])
    try:
        return int(asyncio.run(Demo(planned, context.ensure_object(SignalQueue)).run()))
    except ConfigurationError as error:
        # Told without the option that the pool blames: the demo has no --url.
        raise ConfigurationError(f"demo: {error.__cause__ or error}") from error
