"""Strikes as the processes of a docket know them, beside the model's."""

from typing import Any

from docket.store.strikes import StrikeStream
from docket.strike_rules import Operator, Restore, Strike, from_message
from docket.strike_table import StrikeTable
from tests.support.model.strikes import Strikes
from tests.support.store import Store


async def _task(value: int) -> None:
    raise AssertionError("never called: only its signature is asked for")


class StrickenCalls:
    """Issues strikes to a docket and to the model, and asks both.

    Args:
        store: of the docket.
        client: redis-py's, blocking, that decodes as latin-1.
        do: runs a coroutine where the store's connections live.
    """

    def __init__(self, store: Store, client: Any, do: Any) -> None:
        self._stream = StrikeStream(store.connections, store.keys)
        self._key = store.keys.strikes
        self._client = client
        self._do = do
        self._table = StrikeTable()
        self._model = Strikes()

    def issue(self, function: str, value: int | None, is_strike: bool) -> None:
        """Strike or restore; a process that reads the stream from its beginning knows the same."""
        kind = Strike if is_strike else Restore
        parameter = None if value is None else "value"
        self._do(self._stream.append(kind(function, parameter, Operator.EQUAL, value).as_message()))
        (self._model.strike if is_strike else self._model.restore)(function, value)
        messages = [
            {k.encode("latin-1"): v.encode("latin-1") for k, v in fields.items()}
            for _, fields in self._client.xrange(self._key)
        ]
        read = [from_message(message, may_unpickle=True) for message in messages]
        self._table.reload([instruction for instruction in read if instruction is not None])

    def is_stricken(self, function: str, value: int) -> bool:
        """What both say."""
        found = self._table.strikes_call(function, _task, (value,), {})
        assert found == self._model.is_stricken(function, value)
        return found
