"""The credentials of a provider: asked for at every connect, and pushed into open connections.

A provider is code of the user's, or of a cloud's. Whatever it raises is the failure of one attempt
to connect, which is logged and repeated as any other. It is asked on the loop of its docket, since
it may have a client of its own there: for the heartbeater too, whose thread has no loop.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Coroutine, Generator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, Protocol, TypeAlias, cast

from redis.credentials import CredentialProvider, StreamingCredentialProvider
from redis.exceptions import ConnectionError as RedisConnectionError

logger = logging.getLogger("docket.store")

#: Longest wait for a provider, in seconds: less than a connect may take, so that it gets the blame.
PROVIDER_SECONDS: Final = 4.0

#: The arguments of AUTH: (password,) or (user, password).
Login: TypeAlias = tuple[str] | tuple[str, str]


class ProviderFailed(RedisConnectionError):
    """The provider raised, took too long, or gave something else than credentials."""


class Authenticates(Protocol):
    """The owner of connections that may be open when a token is pushed."""

    def authenticate(self, login: Login, token: Any) -> None:
        """Authenticate open connections; called on their loop."""


class Credentials(CredentialProvider):
    """A provider, as redis-py's connections ask it. Made by `credentials_of`.

    It is no StreamingCredentialProvider: redis-py would register callbacks for each of its clients,
    and a provider has room for one.

    Args:
        provider: the user's.
    """

    def __init__(self, provider: CredentialProvider) -> None:
        self._provider = provider
        #: Without an asynchronous method; the one of the base class warns at each call.
        self._is_blocking = getattr(type(provider), "get_credentials_async", None) in (
            None,
            CredentialProvider.get_credentials_async,
        )
        self._listeners: weakref.WeakKeyDictionary[Authenticates, asyncio.AbstractEventLoop] = (
            weakref.WeakKeyDictionary()
        )
        if isinstance(provider, StreamingCredentialProvider):
            self._register(provider)

    def _register(self, provider: StreamingCredentialProvider) -> None:
        try:
            provider.on_next(self._push)
            provider.on_error(self._note_failure)
        except Exception as error:
            logger.warning("The credential provider does not stream: %r", error, exc_info=True)

    async def get_credentials_async(self) -> Login:
        """Ask the provider.

        Raises:
            ProviderFailed: it gave no credentials.
        """
        if self._is_blocking:
            return self.get_credentials()
        try:
            async with asyncio.timeout(PROVIDER_SECONDS):
                return _login(await self._provider.get_credentials_async())
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # The provider's own: it would end a connection as if that had been told to stop.
            raise ProviderFailed("the credential provider was cancelled") from error
        except (Exception, SystemExit) as error:
            raise _failed(error) from error

    def get_credentials(self) -> Login:
        """Ask a provider without an asynchronous method; raises as `get_credentials_async` does."""
        try:
            return _login(self._provider.get_credentials())
        except (Exception, SystemExit) as error:
            raise _failed(error) from error

    def get_credentials_from(self, loop: asyncio.AbstractEventLoop) -> Login:
        """Ask the provider on `loop`, from a thread; raises as `get_credentials_async` does."""
        if self._is_blocking:
            return self.get_credentials()
        asking = self.get_credentials_async()
        try:
            asked: Future[Login] = asyncio.run_coroutine_threadsafe(asking, loop)
        except RuntimeError as error:  # the loop is closed
            asking.close()
            raise _failed(error) from error
        try:
            return asked.result(PROVIDER_SECONDS)
        except ProviderFailed:
            raise
        except Exception as error:
            # The loop is blocked or has ended; the next heartbeat tries again.
            asked.cancel()
            raise _failed(error) from error

    # Tokens -------------------------------------------------------------------------------

    def stream_to(self, listener: Authenticates) -> None:
        """Pass pushed tokens on, on the running loop, for as long as `listener` lives."""
        self._listeners[listener] = asyncio.get_running_loop()

    def _push(self, token: Any) -> Any:
        """Pass a token on. Called by the provider, on any thread; some await what it returns."""
        try:
            user = token.try_get("oid")
            login = _login((user, token.get_value()) if user else (token.get_value(),))
        except Exception as error:
            logger.warning("The credential provider pushed no token: %r", error, exc_info=True)
            return _Done()
        for listener, loop in list(self._listeners.items()):
            try:
                loop.call_soon_threadsafe(listener.authenticate, login, token)
            except RuntimeError:  # closed, and its connections with it
                self._listeners.pop(listener, None)
        return _Done()

    def _note_failure(self, error: Any) -> Any:
        cause = error if isinstance(error, BaseException) else None
        logger.warning("The credential provider failed to refresh", exc_info=cause)
        return _Done()


class ThreadCredentials(CredentialProvider):
    """The credentials of a provider, as a thread's blocking connections ask for them.

    Args:
        credentials: those to ask for.
        loop: the loop on which the provider is asked.
    """

    def __init__(self, credentials: Credentials, loop: asyncio.AbstractEventLoop) -> None:
        self._credentials = credentials
        self._loop = loop

    def get_credentials(self) -> Login:
        """Ask the provider, and wait for it; raises as `Credentials` does."""
        return self._credentials.get_credentials_from(self._loop)


class _Done(Coroutine[Any, Any, None]):
    """The result of a callback: to be awaited, made a task of, or left alone without a warning."""

    def send(self, value: Any, /) -> Any:
        raise StopIteration

    def throw(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
        /,
    ) -> Any:
        raise typ

    def close(self) -> None:
        """Do nothing: it has ended."""

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield


def _failed(cause: BaseException) -> ProviderFailed:
    return ProviderFailed(f"the credential provider failed: {cause!r}")


def _login(given: object) -> Login:
    parts = cast("tuple[object, ...]", given if isinstance(given, tuple) else ())
    if len(parts) in (1, 2) and all(isinstance(part, str | bytes) for part in parts):
        return cast("Login", parts)
    raise TypeError("it gave neither (password,) nor (user, password)")


#: By the identity of the provider, which need not be hashable. A provider that streams holds the
#: callbacks, and so its entry, for as long as it lives: it is given no others.
_known: Final[weakref.WeakValueDictionary[int, Credentials]] = weakref.WeakValueDictionary()


def credentials_of(provider: CredentialProvider) -> Credentials:
    """Return the credentials of a provider: the same for all dockets of this process."""
    found = _known.get(id(provider))
    if found is None:
        found = _known[id(provider)] = Credentials(provider)
    return found
