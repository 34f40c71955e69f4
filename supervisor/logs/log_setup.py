"""The logging of a process: one handler on the root logger, one stream for all of our processes.

The lines of supervisor, nursery and workers go to one stderr, through the log writer of each
process. Where user code runs, its own logging configuration is respected except for the output
itself: levels of loggers, handlers to files and services stay. Handlers to stdout or stderr on the
root logger are removed, since each of their lines would come twice. Loggers of ours that a
dictConfig disabled (`disable_existing_loggers` is its default) are enabled again.
"""

import fcntl
import logging
import os
import sys
import threading
from collections.abc import Callable

from docket_display import printable
from supervisor.logs.formats import LogContext, formatter, is_json_object, line_of
from supervisor.logs.shared_descriptor import write
from supervisor.logs.stdio_capture import Change, LineStream, StdioCapture
from supervisor.logs.writer import FLUSH_SECONDS, LogWriter, LogWriterHandler, encoded
from supervisor.text.plurals import pluralize

STDOUT = 1
STDERR = 2

#: The first parts of the names of our loggers.
_OURS = ("docket", "supervisor")


def chosen_format(given: str | None) -> str:
    """The given format, or else rich on a terminal and plain elsewhere."""
    return given or ("rich" if os.isatty(STDERR) else "plain")


class Logs:
    """The logging of one process, from `start` to `stop`.

    Arguments:
        level: least level that is logged.
        logging_format: rich, plain or json.
        threaded: write from a thread (supervisor, workers) or at once (the nursery, which forks).
        log_context: the process that writes.
        runs_user_code: capture prints too.
        fd: that of the stream; None: the one that `write_to` was given, or that of stderr.
    """

    def __init__(
        self,
        level: str,
        logging_format: str,
        *,
        threaded: bool,
        log_context: LogContext | None = None,
        runs_user_code: bool = False,
        fd: int | None = None,
    ) -> None:
        into = {STDOUT: STDOUT, STDERR: _stream if fd is None else fd}
        if runs_user_code and threaded:
            into = {each: _duplicate(original) for each, original in into.items()}
        fd = into[STDERR]
        form = self._form = formatter(logging_format, log_context or LogContext(), fd)
        self._writer = LogWriter(lambda lost: encoded(_loss_notice(form, lost)), fd)
        self._threaded = threaded
        self._handler = LogWriterHandler(self._writer, fd)
        self._handler.setFormatter(form)
        self._level = level
        self._fd = fd
        self._is_json = logging_format == "json"
        changes: dict[int, Change] = {}
        if self._is_json:
            changes[STDERR] = _as_records(form, "stderr")
            if share_a_file():
                into[STDOUT], changes[STDOUT] = fd, _as_records(form, "stdout")
        self._capture = StdioCapture(self._writer, into, changes) if runs_user_code else None
        self._before: tuple[list[logging.Handler], int] | None = None
        self._hook_before: Callable[[threading.ExceptHookArgs], object] | None = None

    @property
    def dropped(self) -> int:
        """The number of lines that were lost because the earlier ones were not read."""
        return self._writer.dropped

    def start(self) -> None:
        """Take over the root logger and, where user code runs, its prints."""
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
        """Undo what an import of user code did to our lines: they go on, and come once."""
        root = logging.getLogger()
        kept = [each for each in root.handlers if not _is_for_the_streams(each)]
        root.handlers[:] = [self._handler, *kept]
        # A new level clears what each logger remembers: pages that a fork shares until then.
        if logging.getLevelName(root.level) != self._level:
            root.setLevel(self._level)
        for name in list(root.manager.loggerDict):
            if name.partition(".")[0] in _OURS:
                logging.getLogger(name).disabled = False

    def relay(self) -> LineStream:
        """Make a stream whose lines become records of this log, unless they are JSON already."""
        lines = LineStream(STDERR)
        lines.redirect(self._writer, self._fd, _as_records(self._form, "stderr"))
        return lines

    def stop(self, timeout_seconds: float = FLUSH_SECONDS) -> None:
        """Write the queued lines, for so long at most, and restore what `start` replaced.

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

        In a thread that is not waited for long: a reader that does not read must not keep the
        program from its end.
        """
        line = printable.on_lines(reason)
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

    A format of None is the one that suits stderr.
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


def write_to(fd: int) -> None:
    """Have this process and its forks write their log to `fd`, since their stderr is a pipe."""
    global _stream
    _stream = fd


def stream() -> int:
    """The descriptor that this process writes its log to."""
    return _stream


def relay() -> LineStream:
    """Make a stream whose lines become records of the log of this process, in JSON."""
    if _current is not None:
        return _current.relay()
    # The guest of a program with logging of its own.
    return Logs("INFO", "json", threaded=False).relay()


def share_a_file() -> bool:
    """Tell whether stdout is the same file as stderr, so that prints stand between the records."""
    try:
        return os.path.sameopenfile(STDOUT, STDERR)
    except OSError:
        return False  # one is closed


def dropped_lines() -> int:
    """The number of lines that this process lost because the earlier ones were not read."""
    return 0 if _current is None else _current.dropped


#: The last that was started: logging is global to the process, and so is this.
_current: Logs | None = None
_stream = STDERR


def _loss_notice(form: logging.Formatter, lines: int) -> str:
    text = f"{pluralize(lines, 'log line')} dropped: stderr was not read"
    return line_of(form, "supervisor.logs", logging.WARNING, text)


def _duplicate(fd: int) -> int:
    """Duplicate stdout or stderr, under a number that user code does not know.

    A file that is opened after a task has closed stderr gets its number, and log lines written to
    a connection would be taken for commands.
    """
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, STDERR + 1)
    except OSError:
        return fd  # an import closed it: nothing can be written


def _as_records(form: logging.Formatter, logger: str) -> Change:
    """Turn prints to a stream of JSON into JSON, unless they are JSON already."""

    def change(line: bytes) -> bytes:
        text = line.decode("utf-8", "backslashreplace")
        if is_json_object(text):
            return line
        return encoded(line_of(form, logger, logging.WARNING, text)).removesuffix(b"\n")

    return change


def _is_for_the_streams(handler: logging.Handler) -> bool:
    """Tell whether a handler writes to stdout or stderr.

    Ours does (inherited by a fork too), a StreamHandler may, and a handler of rich, which has its
    stream in a console.
    """
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
    """Log one record, rather than the lines of a traceback one by one."""
    if failed.exc_type is SystemExit:
        return
    name = failed.thread.name if failed.thread is not None else "(unknown)"
    error = failed.exc_value
    logging.getLogger("threading").error("Thread %r ended by an exception", name, exc_info=error)
