"""The options by which a program is told its docket."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, cast

from docket.docket import Docket
from docket_display.redaction import without_secrets_of

#: Options that a factory decides, and that are therefore not given beside it.
DECIDED_BY_FACTORY = (
    "serializer",
    "execution_ttl",
    "keep_failed",
    "keep_failed_most",
    "heartbeat_interval",
    "missed_heartbeats",
)


@dataclass(frozen=True, kw_only=True)
class DocketOptions:
    """The docket of a program; None: not given.

    Attributes:
        name: the name of the docket.
        url: the URL of its server.
        serializer, execution_ttl, keep_failed, keep_failed_most, heartbeat_interval,
            missed_heartbeats: those of Docket.
        factory: "module:callable", for whatever else a docket may have (a result storage, a
            credential provider): called with `name=` and `url=`, it returns the Docket of that name
            on that server, not opened.
    """

    name: str
    #: Not shown: it may have a password.
    url: str = field(repr=False)
    serializer: Literal["pickle", "msgpack"] | None = None
    execution_ttl: timedelta | None = None
    keep_failed: timedelta | None = None
    keep_failed_most: int | None = None
    heartbeat_interval: timedelta | None = None
    missed_heartbeats: int | None = None
    factory: str | None = None

    def make(self, load: Callable[[str], object], **settings: Any) -> Docket:
        """Make the docket, without opening it.

        Args:
            load: returns the object at "module:attribute".
            settings: others of Docket, which are for a docket without a factory.

        Raises:
            ValueError: an option is given beside a factory that decides it, or the factory made a
                docket of another name, on another server, or an open one.
            TypeError: the factory is no function, or returned something else.
            RuntimeError: the factory raised an error that shows a secret of the URL; this one
                does not.
            Exception: any error of Docket, of `load` and of the factory.
        """
        given = {name: getattr(self, name) for name in DECIDED_BY_FACTORY}
        given = {name: value for name, value in given.items() if value is not None}
        if self.factory is None:
            return Docket(self.name, self.url, **given, **settings)
        if given:
            options = ", ".join("--" + name.replace("_", "-") for name in given)
            raise ValueError(f"{options} cannot be given beside --docket-factory, which decides it")
        factory = load(self.factory)
        if not callable(factory):
            raise TypeError(f"{self.factory!r} is a {type(factory).__name__}, not a function")
        return self._checked(self._called(self.factory, factory))

    def _called(self, path: str, factory: Callable[..., object]) -> object:
        try:
            return factory(name=self.name, url=self.url)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            redacted = self._redacted(path, error)
            if redacted is None:
                raise
        # Not from it, whose text is the one that is not to be shown.
        raise redacted

    def _redacted(self, path: str, error: BaseException) -> RuntimeError | None:
        """Make an error without the secrets of the URL; None for one that has none."""
        shown = "".join(traceback.format_exception(error))
        if without_secrets_of(self.url, shown) == shown:
            return None
        *_, frame = traceback.extract_tb(error.__traceback__)
        reason = without_secrets_of(self.url, f"{type(error).__name__}: {error}")
        return RuntimeError(f"{path!r} raised {reason} ({frame.filename}, line {frame.lineno})")

    def _checked(self, made: object) -> Docket:
        if not isinstance(made, Docket):
            if hasattr(made, "close"):
                cast("Any", made).close()  # a coroutine would warn that it was never awaited
            raise TypeError(f"{self.factory!r} returned a {type(made).__name__}, not a Docket")
        for attribute, wanted in (("name", self.name), ("url", self.url)):
            # The URL is not quoted: it may have a password.
            if getattr(made, attribute) != wanted:
                raise ValueError(
                    f"{self.factory!r} made a docket of another {attribute} than the one that it "
                    f"was called with: pass {attribute}={attribute} on to Docket"
                )
        if made.is_open:
            raise ValueError(f"{self.factory!r} returned an open docket: return it unopened")
        return made
