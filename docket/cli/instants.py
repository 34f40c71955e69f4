"""Instants as users write them: ISO 8601 with its time zone, as `2026-12-24T18:00+01:00`."""

from datetime import datetime

import click

#: The accepted form, for the message about any other.
ACCEPTED = "an instant with its time zone, such as 2026-12-24T18:00Z or 2026-12-24T18:00+01:00"


class Instant(click.ParamType[datetime]):
    """The parameter type of an instant."""

    name = "instant"

    def convert(
        self,
        value: str | datetime,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            instant = datetime.fromisoformat(value.strip())
        except ValueError:
            self.fail(f"{value!r} is not {ACCEPTED}", param, ctx)
        if instant.utcoffset() is None:
            self.fail(f"{value!r} has no time zone: write {ACCEPTED}", param, ctx)
        return instant


INSTANT = Instant()
