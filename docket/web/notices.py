"""Notices of what was done, shown once on the page that follows it."""

import secrets
from collections import OrderedDict
from dataclasses import dataclass

#: Notices that nobody has looked at yet; the oldest give way.
_MOST = 1_000


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence for whoever acted, and lines with details. `is_error`: nothing of it was done."""

    text: str
    details: tuple[str, ...] = ()
    is_error: bool = False


class Notices:
    """Notices by tokens, since a text in the address of a page could be put there by anybody."""

    def __init__(self) -> None:
        self._notices: OrderedDict[str, Notice] = OrderedDict()

    def keep(self, notice: Notice) -> str:
        """Keep a notice; return its token."""
        token = secrets.token_urlsafe(12)
        self._notices[token] = notice
        if len(self._notices) > _MOST:
            self._notices.popitem(last=False)
        return token

    def take(self, token: str | None) -> Notice | None:
        """Return the notice of a token, once."""
        return None if token is None else self._notices.pop(token, None)
