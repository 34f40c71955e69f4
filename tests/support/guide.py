"""Stand-ins for what the examples of the users' guide to dependencies import or call.

`world` notes what was done, opened and closed, in order.
"""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

DEFAULT_CONFIG = {"defaults": True}


class World:
    """What is outside of the tasks."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.opened: list[str] = []
        self.closed: list[str] = []
        #: How many of the next calls that may fail do so.
        self.failures = 0

    async def does(self, *what: Any) -> None:
        await asyncio.sleep(0)
        self.done.append(what)

    async def may_fail(self, *what: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("overloaded")
        await self.does(*what)

    async def fetch(self, what: str, of: object) -> str:
        await asyncio.sleep(0)
        return f"{what} of {of}"


world = World()


class _Response:
    def __init__(self, *, is_good: bool) -> None:
        self.is_good = is_good

    def raise_for_status(self) -> None:
        if not self.is_good:
            raise ConnectionError("overloaded")


class _HttpClient:
    async def get(self, url: str) -> _Response:
        if world.failures:
            world.failures -= 1
            return _Response(is_good=False)
        return _Response(is_good=True)


class User:
    def __init__(self, user_id: int) -> None:
        self.user_id = user_id

    def to_json(self) -> str:
        return json.dumps({"id": self.user_id})


class _Connection:
    async def fetch_user(self, user_id: int) -> User:
        return User(user_id)

    async def close(self) -> None:
        world.closed.append("db")


class _Database:
    async def connect(self) -> _Connection:
        world.opened.append("db")
        return _Connection()


class _Redis:
    def __init__(self, host: str = "", port: int = 0) -> None:
        world.opened.append("redis")

    async def set(self, key: str, value: str) -> None:
        await world.does("set", key, value)

    def close(self) -> None:
        world.closed.append("redis")


class AuthService:
    def __init__(self, db: _Connection) -> None:
        self.db = db


class UserService:
    def __init__(self, db: _Connection, auth: AuthService) -> None:
        assert auth.db is db
        self.db = db

    async def update_profile(self, user_id: int, profile: dict[str, Any]) -> None:
        await world.does("update", user_id, profile)


class APIClient:
    def __init__(self, api_key: str | None = None, timeout: int | None = None) -> None:
        self.api_key = api_key
        self.timeout = timeout


class MetricsClient:
    pass


async def acquire_file_lock(filename: str) -> str:
    world.opened.append(filename)
    return f"lock of {filename}"


async def release_file_lock(filename: str) -> None:
    world.closed.append(filename)


http_client = _HttpClient()
database = _Database()
redis = SimpleNamespace(Redis=_Redis)
