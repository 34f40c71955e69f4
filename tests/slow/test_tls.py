"""TLS and mutual TLS: every connection of a docket is encrypted, or is refused with the reason."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import psutil
import pytest

from docket import Docket, Worker
from docket.errors import ServerUnavailable
from stress.ports import free_ports
from tests.support.dockets import at_work, result_of
from tests.support.parameters import sets_in_full
from tests.support.servers import machinery, redis_with_tls
from tests.support.store import until
from tests.support.supervised import supervised
from tests.support.tls import Authority, Terminator, terminating

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90)]


#: What is told of a server that hangs up without a word.
HUNG_UP = "closed by server|broken pipe|connection (lost|reset)"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def other(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "other")


@pytest.fixture
def plain(server: str, authority: Authority) -> Iterator[Terminator]:
    """TLS that asks for no certificate."""
    with terminating(server, authority.certificate()) as proxy:
        yield proxy


@pytest.fixture
def mutual(server: str, authority: Authority) -> Iterator[Terminator]:
    """TLS that wants a certificate of the same authority."""
    with terminating(server, authority.certificate(), clients_of=authority) as proxy:
        yield proxy


@pytest.fixture(params=["yes", "no"], ids=["mutual", "one-sided"])
def native(request: pytest.FixtureRequest, authority: Authority) -> Iterator[int]:
    """The port of a server that speaks TLS itself, on which nothing else is spoken."""
    binary = redis_with_tls()
    if binary is None:
        pytest.skip("no redis-server with TLS on this machine (Debian's package has it)")
    certificate, key = authority.certificate()
    (port,) = free_ports(1)
    with machinery() as machines:
        machines.server(
            binary,
            tls_port=port,
            tls_cert_file=certificate,
            tls_key_file=key,
            tls_ca_cert_file=authority.file,
            tls_auth_clients=request.param,
        )
        yield port


def url_at(port: int, **options: Path | str) -> str:
    query = "&".join(f"ssl_{name}={quote(str(value), safe='/')}" for name, value in options.items())
    return f"rediss://localhost:{port}/0?{query}"


def url_of(proxy: Terminator, **options: Path | str) -> str:
    return url_at(proxy.port, **options)


async def double(number: int) -> int:
    return 2 * number


async def runs_a_task(url: str, docket_name: str) -> bool:
    """Whether docket, worker, bell, subscriber and the keeper's thread all get through."""
    async with Docket(docket_name, url) as docket, at_work(Worker(docket)) as worker:
        assert await result_of(await docket.add(double, key="k")(21)) == 42
        workers = await docket.workers()
    await retire(urlsplit(url).port)
    return worker.name in {each.name for each in workers}


async def retire(port: int | None) -> None:
    """Returns when no socket to that port is left: TLS says goodbye after its docket is closed."""
    here = psutil.Process()
    await until(
        lambda: (
            not any(each.raddr and each.raddr.port == port for each in here.net_connections("tcp4"))
        )
    )


async def test_a_docket_and_its_worker_run_over_tls(
    plain: Terminator, authority: Authority, docket_name: str
) -> None:
    before = plain.accepted
    assert await runs_a_task(url_of(plain, ca_certs=authority.file), docket_name)
    # The pipeline, the bell, the subscriber and the keeper's thread, each over its own.
    assert plain.accepted - before == 4


async def test_a_docket_and_its_worker_run_over_mutual_tls(
    mutual: Terminator, authority: Authority, docket_name: str
) -> None:
    certificate, key = authority.certificate("client")
    url = url_of(mutual, ca_certs=authority.file, certfile=certificate, keyfile=key)
    assert await runs_a_task(url, docket_name)


async def test_a_docket_and_its_worker_run_on_a_server_that_speaks_tls_itself(
    native: int, authority: Authority, docket_name: str
) -> None:
    certificate, key = authority.certificate("client")
    url = url_at(native, ca_certs=authority.file, certfile=certificate, keyfile=key)
    assert await runs_a_task(url, docket_name)


def test_a_pool_runs_on_a_server_that_speaks_tls_itself(native: int, authority: Authority) -> None:
    certificate, key = authority.certificate("client")
    url = url_at(native, ca_certs=authority.file, certfile=certificate, keyfile=key)
    with supervised(url=url) as pool:
        pool.wait_for("pool ready: 2 of 2")
        assert pool.end() == 0


async def test_a_server_that_speaks_tls_itself_refuses_who_shows_no_certificate(
    native: int, authority: Authority, docket_name: str, request: pytest.FixtureRequest
) -> None:
    url = url_at(native, ca_certs=authority.file)
    if "one-sided" in request.node.name:
        assert await runs_a_task(url, docket_name)
        return
    async with Docket(docket_name, url) as docket:
        # It says so by an alert, or hangs up before that is read.
        with pytest.raises(
            ServerUnavailable, match=r"if it wants a client certificate|CERTIFICATE_REQUIRED"
        ):
            await docket.add(double)(1)
    await retire(native)


async def test_certificates_need_not_be_checked_if_one_says_so(
    plain: Terminator, docket_name: str
) -> None:
    url = url_of(plain, cert_reqs="none", check_hostname="false")
    assert await runs_a_task(url, docket_name)


def test_a_pool_runs_over_mutual_tls(mutual: Terminator, authority: Authority) -> None:
    certificate, key = authority.certificate("client")
    url = url_of(mutual, ca_certs=authority.file, certfile=certificate, keyfile=key)
    with supervised(url=url) as pool:
        pool.wait_for("pool ready: 2 of 2")
        assert pool.end() == 0


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("wrong authority", "certificate verify failed"),
        ("no client certificate", "if it wants a client certificate"),
        ("no tls", "closed by server|broken pipe|connection (lost|reset)"),
        *sets_in_full(
            ("wrong host", "Hostname mismatch|certificate is not valid for 'localhost'"),
            ("expired", "certificate has expired"),
            (
                "client of another authority",
                "unknown ca|closed by server|broken pipe|connection (lost|reset)",
            ),
        ),
    ],
)
async def test_a_connection_that_cannot_be_trusted_is_refused_with_the_reason_and_no_storm(
    server: str,
    authority: Authority,
    other: Authority,
    docket_name: str,
    case: str,
    says: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shown = authority.certificate(
        "elsewhere.example" if case == "wrong host" else "localhost", is_expired=case == "expired"
    )
    wants = authority if "client" in case else None
    with terminating(server, shown, clients_of=wants) as proxy:
        trusted = other if case == "wrong authority" else authority
        url = url_of(proxy, ca_certs=trusted.file)
        if case == "client of another authority":
            certificate, key = other.certificate("client")
            url = url_of(proxy, ca_certs=trusted.file, certfile=certificate, keyfile=key)
        if case == "no tls":
            url = f"redis://localhost:{proxy.port}/0"
        caplog.set_level(logging.WARNING, "docket.store")
        async with Docket(docket_name, url) as docket:
            begun = asyncio.get_running_loop().time()
            with pytest.raises(ServerUnavailable, match=f"(?i){says}"):
                await docket.add(double)(1)
            seconds = asyncio.get_running_loop().time() - begun
        # Also of a handshake that was cut off with the docket.
        await retire(proxy.port)
        # Backing off: 50 ms, doubling up to a second. And one line in the log, not one a try.
        assert proxy.accepted <= 12 + 2 * seconds
        refused = [each for each in caplog.messages if "lost or refused" in each]
        assert len(refused) == 1


def test_a_pool_that_does_not_trust_the_server_ends_with_3_and_the_reason(
    plain: Terminator, other: Authority
) -> None:
    url = url_of(plain, ca_certs=other.file)
    with supervised("--boot-timeout", "3s", url=url) as pool:
        assert pool.code() == 3
        assert "certificate verify failed" in pool.lines[-1]


def test_a_certificate_that_is_not_there_is_told(plain: Terminator, tmp_path: Path) -> None:
    url = url_of(plain, ca_certs=tmp_path / "missing.pem")
    with supervised("--boot-timeout", "3s", url=url) as pool:
        assert pool.code() == 3
        assert "No such file" in pool.lines[-1] or "SSL" in pool.lines[-1]
