"""The logging of a process: one handler on the root logger, one stream for all of our processes.

The lines of supervisor, nursery and workers go to one stderr, through the outlet of each process.
Where user code runs, its own logging configuration is respected as far as it says more than where
lines go: levels of loggers, handlers to files and services. Handlers to stdout or stderr on the
root logger are taken off, since each of their lines would come twice. What a dictConfig disabled
of our loggers (`disable_existing_loggers` is its default) is enabled again.
"""

import fcntl
import logging
import os
import sys
import threading
from collections.abc import Callable

from supervisor.logs.formats import LogContext, formatter, is_json_object, line_of
from supervisor.logs.stdio_capture import Change, StdioCapture
from supervisor.logs.writer import FLUSH_SECONDS, LogWriter, LogWriterHandler, encoded, write
from supervisor.text.plurals import pluralize

STDOUT = 1
STDERR = 2

#: Loggers of ours, by the beginning of their names.
_OURS = ("docket", "supervisor")


def chosen_format(asked: str | None) -> str:
    """`asked`, or else rich on a terminal and plain elsewhere."""
    return asked or ("rich" if os.isatty(STDERR) else "plain")


class Logs:
    """The logging of one process, from `start` to `stop`.

    Arguments:
        level: least level that is logged.
        logging_format: rich, plain or json.
        threaded: write from a thread (supervisor, workers) or at once (the nursery, which forks).
        speaker: who writes.
        runs_user_code: whether what is printed is taken too.
        fd: usually that of stderr.
    """

    def __init__(
        self,
        level: str,
        logging_format: str,
        *,
        threaded: bool,
        log_context: LogContext | None = None,
        runs_user_code: bool = False,
        fd: int = STDERR,
    ) -> None:
        form = formatter(logging_format, log_context or LogContext())
        self._form = form
        into = _own_descriptors() if runs_user_code and threaded else {STDOUT: STDOUT, STDERR: fd}
        fd = into[STDERR]
        self._writer = LogWriter(lambda lost: encoded(_lost(form, lost)), fd)
        self._threaded = threaded
        self._handler = LogWriterHandler(self._writer, fd)
        self._handler.setFormatter(form)
        self._level = level
        self._fd = fd
        self._is_json = logging_format == "json"
        changes = {STDERR: _as_records(form)} if self._is_json else {}
        self._capture = StdioCapture(self._writer, into, changes) if runs_user_code else None
        self._before: tuple[list[logging.Handler], int] | None = None
        self._hook_before: Callable[[threading.ExceptHookArgs], object] | None = None

    @property
    def dropped(self) -> int:
        """Lines that were not written because nobody read the earlier ones."""
        return self._writer.dropped

    def start(self) -> None:
        """Take over the root logger and, where user code runs, what it prints."""
        global _current
        _current = self
        root = logging.getLogger()
        self._before = (root.handlers[:], root.level)
        if self._threaded:
            self._writer.start()
        if self._capture is not None:
            self._capture.start()
            logging.captureWarnings(True)
            if threading.excepthook is threading.__excepthook__:  # not one of user code
                self._hook_before, threading.excepthook = threading.excepthook, _thread_failed
        self.reapply()

    def reapply(self) -> None:
        """After user code was imported: see to it that our lines go on, and come once."""
        root = logging.getLogger()
        kept = [each for each in root.handlers if not _is_for_the_streams(each)]
        root.handlers[:] = [self._handler, *kept]
        root.setLevel(self._level)
        for name in list(root.manager.loggerDict):
            if name.partition(".")[0] in _OURS:
                logging.getLogger(name).disabled = False

    def stop(self, timeout_seconds: float = FLUSH_SECONDS) -> None:
        """Write what waits, for so long at most, and give back what `start` took.

        Twice is fine.
        """
        if self._capture is not None:
            self._capture.stop()
        self._writer.stop(timeout_seconds)
        if self._before is None:
            return
        root = logging.getLogger()
        root.handlers[:], level = self._before
        root.setLevel(level)
        self._before = None
        if self._capture is not None:
            logging.captureWarnings(False)
        if self._hook_before is not None:
            threading.excepthook, self._hook_before = self._hook_before, None

    def last_line(self, reason: str) -> None:
        """Write the reason of an end, after everything else; in JSON as a record like any other.

        In a thread that is not waited for long: that nobody reads must not keep a program from
        its end.
        """
        line = reason
        if self._is_json:
            line = line_of(self._form, "supervisor", logging.CRITICAL, reason)
        writing = threading.Thread(target=write, args=(self._fd, encoded(line)), daemon=True)
        writing.start()
        writing.join(FLUSH_SECONDS)


def configure(
    level: str,
    logging_format: str | None,
    *,
    threaded: bool,
    log_context: LogContext | None = None,
    runs_user_code: bool = False,
) -> Logs:
    """Set up and start the logging of this process; the arguments are those of `Logs`.

    A format of None is what suits stderr.
    """
    logs = Logs(
        level,
        chosen_format(logging_format),
        threaded=threaded,
        log_context=log_context,
        runs_user_code=runs_user_code,
    )
    logs.start()
    return logs


def dropped_lines() -> int:
    """Lines that this process has not written because nobody read the earlier ones."""
    return 0 if _current is None else _current.dropped


#: The last that was started: logging is a matter of the process, and so is this.
_current: Logs | None = None


def _lost(form: logging.Formatter, lines: int) -> str:
    told = f"{pluralize(lines, 'log line')} dropped: stderr was not read"
    return line_of(form, "supervisor.logs", logging.WARNING, told)


def _own_descriptors() -> dict[int, int]:
    """By descriptor of a standard stream, another one for the same, which user code does not know.

    What is opened after a task has closed stderr gets its number, and log lines written into a
    connection would be taken for commands.
    """
    return {fd: _duplicate(fd) for fd in (STDOUT, STDERR)}


def _duplicate(fd: int) -> int:
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, STDERR + 1)
    except OSError:
        return fd  # an import closed it: there is nobody to tell


def _as_records(form: logging.Formatter) -> Change:
    """What is printed to a stream of JSON becomes JSON, unless it is so already."""

    def change(line: bytes) -> bytes:
        text = line.decode("utf-8", "backslashreplace")
        if is_json_object(text):
            return line
        return encoded(line_of(form, "stderr", logging.WARNING, text)).removesuffix(b"\n")

    return change


def _is_for_the_streams(handler: logging.Handler) -> bool:
    """Whether it writes to stdout or stderr: ours (inherited by fork too), a StreamHandler, or a
    handler of rich, which has its stream in a console."""
    if isinstance(handler, LogWriterHandler):
        return True
    stream = getattr(handler, "stream", None) or getattr(
        getattr(handler, "console", None), "file", None
    )
    if stream is None:
        return False
    if stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        return True
    try:
        return stream.fileno() in (1, STDERR)
    except (AttributeError, OSError, ValueError):
        return False


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    """One record, rather than the lines of a traceback one by one."""
    if failed.exc_type is SystemExit:
        return
    name = failed.thread.name if failed.thread is not None else "(unknown)"
    error = failed.exc_value
    logging.getLogger("threading").error("Thread %r ended by an exception", name, exc_info=error)
