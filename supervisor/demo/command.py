"""`docket-supervisor demo`: the main job on real input, in one minute.

Every Python file of a folder is a task; a real pool parses them on the embedded server; halfway
one of its workers is killed. In the end every file must be accounted for exactly once, by its
record, or the demo fails.
"""

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import anyio
import click

from docket import Docket
from docket_display import printable
from supervisor.config import SupervisorConfig
from supervisor.demo.audit import AuditTotals, FileResult, percentile, total
from supervisor.demo.dashboard import DemoDashboard
from supervisor.demo.pool_view import PoolView
from supervisor.demo.producer import Producer
from supervisor.demo.screen import Screen, logging_to
from supervisor.demo.source_files import SourceTree, find
from supervisor.errors import ConfigurationError
from supervisor.exit_codes import ExitCode
from supervisor.signals import Debouncer, SignalQueue
from supervisor.supervisor import Supervisor
from supervisor.text import truncation
from supervisor.text.plurals import pluralize

DOCKET = "demo"
TASKS = "supervisor.demo.tasks:tasks"

#: Failed files that are listed; of a larger number the rest is counted.
LISTED = 20
#: How long to wait, after the last file, for news of the tasks of the killed worker.
SETTLE_SECONDS = 5.0
#: How long the producer may take to close its connections.
CLOSE_SECONDS = 2.0
#: Added by shells to the number of the signal that ended a program.
SIGNAL_EXIT = 128
#: The signals that end the demo early: Ctrl-C, a stop, and the loss of its terminal.
ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


class Demo:
    """One run, from the first worker to the table.

    Arguments:
        source_tree: the files to parse.
        config: of the pool.
        kill: kill a worker halfway.
        dashboard: shows the docket in the browser while the demo runs, and after it until Ctrl-C.
        signal_queue: of the program, with its handlers in place.
    """

    def __init__(
        self,
        source_tree: SourceTree,
        config: SupervisorConfig,
        signal_queue: SignalQueue,
        *,
        kill: bool,
        dashboard: DemoDashboard | None = None,
    ) -> None:
        self._source_tree = source_tree
        self._config = config
        self._kill = kill
        self._dashboard = dashboard
        self._looked_enough: asyncio.Event | None = None
        self._signal_queue = signal_queue
        self._screen = Screen(lambda: self._interrupt(signal.SIGPIPE))
        self._view = PoolView(self._screen.write_line)
        self._supervisor = Supervisor(config, on_event=self._view)
        self._debouncer = Debouncer()
        self._interrupted_by: int | None = None
        self._producing: asyncio.Task[tuple[AuditTotals, float]] | None = None

    async def run(self) -> int:
        """Run the demo; its exit code.

        Raises:
            SupervisorError: the pool could not be started.
        """
        loop = asyncio.get_running_loop()
        loop.add_reader(self._signal_queue, self._take_signals)
        self._take_signals()  # those that came before there was a loop
        try:
            with logging_to(self._screen):
                return await self._run_both()
        finally:
            loop.remove_reader(self._signal_queue)

    async def _run_both(self) -> int:
        """Run the pool and its producer; both end with the first of them that ends."""
        pool = asyncio.create_task(self._supervisor.serve())
        producing = self._producing = asyncio.create_task(self._produce())
        if self._interrupted_by is not None:
            producing.cancel()
        try:
            await asyncio.wait({pool, producing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # The producer disconnects first, or it would try to reconnect to the ended server.
            producing.cancel()
            await asyncio.wait({producing}, timeout=CLOSE_SECONDS)
            self._supervisor.stop()
            await asyncio.wait({pool, producing})
        code = pool.result()  # or the error that it could not be started with
        if self._interrupted_by is not None:
            self._screen.write_line("interrupted: nothing of it is left running")
            return SIGNAL_EXIT + self._interrupted_by
        if producing.cancelled() or code != ExitCode.STOPPED:
            _complain(self._supervisor.reason or "the pool ended before its work did")
            return code or ExitCode.BUG
        return self._conclude(*producing.result())

    async def _produce(self) -> tuple[AuditTotals, float]:
        """Have every file parsed; the audit, and the seconds that the parsing took."""
        files, write_line = self._source_tree.files, self._screen.write_line
        count = pluralize(len(files), "Python file", form=",")
        write_line(f"{count} under {self._source_tree.root}")
        for folder in self._source_tree.unreadable:
            write_line(f"left out, since it cannot be read: {folder}")
        url = await self._view.ready()
        pids = self._view.pids()
        write_line(
            f"{pluralize(len(pids), 'worker')} on an embedded Valkey, "
            f"pid{'s' * (len(pids) > 1)} {', '.join(map(str, pids))}"
        )
        if self._dashboard is not None:
            write_line(f"the dashboard is at {self._dashboard.start(DOCKET, url)}")
        async with Docket(DOCKET, url) as docket:
            with self._screen.progress(len(files)) as advanced:
                # Each task that runs has one waiting behind it.
                at_once = 2 * self._config.bounds.most * self._config.concurrency
                victims = self._view if self._kill else None
                producer = Producer(docket, files, at_once, advanced, victims)
                seconds = await producer.run()
            self._view.interrupted_tasks = await producer.interrupted()
            with anyio.move_on_after(SETTLE_SECONDS):  # the table has a dash for what is unknown
                await self._view.settled()
            results = await producer.results()
        if self._dashboard is not None:
            await self._linger(self._dashboard)
        return total([each.key for each in files], results), seconds

    async def _linger(self, dashboard: DemoDashboard) -> None:
        """Leave the pool and the dashboard running until somebody has looked enough."""
        self._looked_enough = asyncio.Event()
        self._screen.write_line("every file has ended: look around; Ctrl-C ends the demo")
        await self._looked_enough.wait()
        dashboard.stop()

    def _conclude(self, totals: AuditTotals, seconds: float) -> int:
        screen = self._screen
        for line in failure_lines(totals):
            # A file has one line; the sentence above them may wrap.
            is_file = line.startswith(" ")
            room = screen.line_width if is_file else len(line)
            screen.write_line(truncation.head(line, room, mark="..."))
        screen.write_line()
        screen.table(rows(totals, seconds, self._view))
        if self._kill and self._view.kill is None:
            screen.write_line(
                "no worker was killed: none was in the middle of a file when it was time to"
            )
        if self._view.kill is not None and not self._view.redelivered:
            screen.write_line("the killed worker had just ended its files: none was redelivered")
        if totals.adds_up:
            screen.write_line("every file is accounted for exactly once")
            return ExitCode.STOPPED
        _complain(
            f"not every file is accounted for exactly once, {len(totals.wrong):,} are wrong: "
            + "; ".join(totals.wrong[:LISTED])
        )
        return ExitCode.BUG

    def _take_signals(self) -> None:
        for received in self._signal_queue.take():
            if received.number not in ENDING or not self._debouncer.is_new(received):
                continue
            if self._interrupted_by is None:
                self._interrupt(received.number)
            else:
                self._supervisor.stop(hand_back=True)

    def _interrupt(self, number: int) -> None:
        """End the producer, and the pool after it; or only the looking, if all is done."""
        if self._looked_enough is not None and not self._looked_enough.is_set():
            self._looked_enough.set()
            return
        self._interrupted_by = number
        if self._producing is not None:
            self._producing.cancel()


def _complain(reason: str) -> None:
    click.echo(f"docket-supervisor: {printable.on_one_line(' '.join(reason.split()))}", err=True)


def failure_lines(totals: AuditTotals) -> Iterator[str]:
    """The files that failed, each with its error in one line; of many, the first."""
    if totals.not_python:
        are = "is" if len(totals.not_python) == 1 else "are"
        files = pluralize(len(totals.not_python), "file", form=",")
        yield f"{files} {are} not valid Python: failed as expected, after a second attempt:"
        yield from _listed(totals.not_python)
    if totals.other_failures:
        files = pluralize(len(totals.other_failures), "file", form=",")
        yield f"{files} failed, each after a second attempt:"
        yield from _listed(totals.other_failures)


def _listed(failures: Sequence[FileResult]) -> Iterator[str]:
    for each in failures[:LISTED]:
        yield f"  {each.key}: {' '.join((each.error or 'without an error').split())}"
    if len(failures) > LISTED:
        yield f"  and {len(failures) - LISTED:,} more"


def rows(totals: AuditTotals, seconds: float, view: PoolView) -> Iterator[tuple[str, str]]:
    """The table: files and their contents, the speed, and the cost of the kill."""
    yield "files", f"{totals.files:,}"
    yield "parsed", f"{totals.parsed:,}"
    yield "not valid Python, as expected", f"{len(totals.not_python):,}"
    yield "failed", f"{len(totals.other_failures):,}"
    for name, number in totals.counts._asdict().items():
        yield name, f"{number:,}"
    yield "seconds", f"{seconds:.1f}"
    yield "tasks/s", f"{totals.files / seconds:,.0f}"
    yield "latency p50, queued to started", milliseconds(percentile(totals.waits, 50))
    yield "latency p99, queued to started", milliseconds(percentile(totals.waits, 99))
    yield "workers killed", str(int(view.kill is not None))
    if view.other_deaths:
        yield "workers that died by themselves", str(view.other_deaths)
    yield "tasks redelivered", f"{view.redelivered:,}"
    yield "from the kill to the first redelivered start", milliseconds(view.redelivered_seconds)


def milliseconds(seconds: float | None) -> str:
    """`12 ms`, `0.4 ms`, or a dash if there is no value."""
    if seconds is None:
        return "-"
    number = seconds * 1000
    return f"{number:,.0f} ms" if number >= 10 else f"{number:.1f} ms"


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
@click.option(
    "--web",
    is_flag=True,
    help="Show it in the browser, and go on when all is done until Ctrl-C. Needs the extra web.",
)
@click.pass_context
def demo(
    context: click.Context,
    path: Path | None,
    processes: int,
    concurrency: int,
    kill: bool,
    web: bool,
) -> int:
    """Parse every Python file under PATH on a pool of workers, one of which is killed.

    PATH is the standard library of the running Python unless given. Ends with 0 only if every
    file is accounted for exactly once.
    """
    dashboard = DemoDashboard() if web else None
    config = SupervisorConfig(
        control=None if dashboard is None else dashboard.control,
        processes=processes,
        concurrency=concurrency,
        tasks=(TASKS,),
        docket=DOCKET,
        url=f"memory://{DOCKET}",
        drain_timeout=timedelta(seconds=5),
        # Files that do not parse are listed at the end, and not logged as well.
        logging_level="CRITICAL",
    )
    source_tree = find(path)
    # A pool looks for modules in its working directory first. The demo brings its own, and a
    # file that happens to be named like one that they import must not get into their way.
    os.chdir(Path(__file__).parents[2])
    queue = context.ensure_object(SignalQueue)
    run = Demo(source_tree, config, queue, kill=kill, dashboard=dashboard)
    try:
        return int(asyncio.run(run.run()))
    except ConfigurationError as error:
        # Without the option that the pool names: the demo has no --url.
        raise ConfigurationError(f"demo: {error.__cause__ or error}") from error
    finally:
        if dashboard is not None:
            dashboard.close()
