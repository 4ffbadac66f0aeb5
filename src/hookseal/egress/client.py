"""The one door out. Deliveries, test posts, key sets and callbacks all go through `GuardedClient`.

It decides nothing about where events go and nothing about retries: one call is one request, sent once. A POST that may
have reached the other side is never sent again by itself, also not when a connection of the pool turned out to be
closed; the delivery's schedule does that, and counts it.

What the other side does ends in a `Reply` or a `Failure`, never in an exception; what ends in neither is a fault of
ours. No redirect is followed, no cookie kept, nothing decompressed, no proxy taken from the environment.
"""

import asyncio
import re
import ssl
from collections.abc import Callable, Sequence

import aiohttp
from yarl import URL

from hookseal.egress.connector import Journey, JudgingConnector, Limits, journey_of_call
from hookseal.egress.headers import is_sendable
from hookseal.egress.names import Lookup, Names, system_lookup
from hookseal.egress.networks import address_of
from hookseal.egress.policy import EgressPolicy, Refusal, Target
from hookseal.egress.port import Failure, Reply
from hookseal.egress.reasons import is_of_writing, reason_of, reason_of_timeout
from hookseal.egress.tls import strict_context
from hookseal.model import AttemptReason

_METHOD = re.compile(r"[A-Z]{3,10}")
_MAX_JUDGED = 1024
_ALWAYS = (("Accept-Encoding", "identity"), ("User-Agent", "hookseal"))


class GuardedClient:
    """An `Egress` for one event loop.

    policy         may be replaced with `use`.
    tls            makes the TLS context, once, when the first https URL is called.
    limits         deadlines of the steps, and how many connections.
    most_s         no call takes longer, whatever its `timeout_s`: deliveries are leased for longer than that.
    body_s         how long after its head an answer's body is waited for.
    lookup         the resolver; blocking, called on a thread.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        tls: Callable[[], ssl.SSLContext] = strict_context,
        limits: Limits = Limits(),  # noqa: B008 — frozen
        most_s: float = 30.0,
        body_s: float = 5.0,
        lookup: Lookup = system_lookup,
    ) -> None:
        self._policy = policy
        self._make_tls = tls
        self._tls: ssl.SSLContext | None = None
        self._limits = limits
        self._most_s = most_s
        self._body_s = body_s
        self._names = Names(lookup, limits.name_s)
        self._pool: _Pool | None = None
        self._retired: set[_Pool] = set()
        self._closed = False

    @property
    def policy(self) -> EgressPolicy:
        return self._policy

    async def use(self, policy: EgressPolicy) -> None:
        """From now on call under this policy. Calls under way end as they are; no connection of theirs is used again."""
        self._policy = policy
        if self._pool is not None:
            pool, self._pool = self._pool, None
            self._retired.add(pool)
            await self._close_if_idle(pool)

    async def close(self) -> None:
        """Break off what is under way and let go of all connections."""
        self._closed = True
        pools = [*self._retired, *([self._pool] if self._pool is not None else [])]
        self._retired.clear()
        self._pool = None
        for pool in pools:
            await pool.session.close()

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        timeout_s: float = 30.0,
        max_bytes: int = 65536,
    ) -> Reply | Failure:
        """See `egress.port.Egress.call`."""
        if self._closed:
            return Failure(reason=AttemptReason.CONFIG_ERROR, detail="the client is closed")
        pool = self._pool = self._pool or self._open()
        target = pool.judge(url)
        if isinstance(target, Refusal):
            return Failure(reason=target.reason, detail=target.message)
        if not _METHOD.fullmatch(method) or not is_sendable(headers):
            return Failure(reason=AttemptReason.CONFIG_ERROR, detail="the method or a header cannot be sent")
        journey = Journey(target=target[0], max_bytes=max_bytes)
        token = journey_of_call.set(journey)
        pool.under_way += 1
        try:
            return await self._exchange(pool, journey, method, target[1], headers, body, timeout_s)
        finally:
            pool.under_way -= 1
            journey_of_call.reset(token)
            if pool in self._retired:
                await self._close_if_idle(pool)

    async def _exchange(
        self,
        pool: "_Pool",
        journey: Journey,
        method: str,
        url: URL,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        timeout_s: float,
    ) -> Reply | Failure:
        response: aiohttp.ClientResponse | None = None
        parts: list[bytes] = []
        complete = False
        limit = asyncio.timeout(min(timeout_s, self._most_s))
        try:
            async with limit:
                response = await pool.session.request(
                    method, url, headers=[*headers, *_missing(headers)], data=body or None, allow_redirects=False
                )
                if refused := _refused_answer(response):
                    is_redirect = refused is AttemptReason.REDIRECT_REFUSED
                    return Failure(reason=refused, status=response.status if is_redirect else None)
                _shorten(limit, self._body_s)
                complete = await _read(response, parts, journey.max_bytes)
        except Exception as error:  # noqa: BLE001 — whatever a hostile answer brings out of the library is a value here
            if response is None:
                if isinstance(error, TimeoutError) and limit.expired():
                    return Failure(reason=reason_of_timeout(journey.phase))
                if is_of_writing(error):
                    await journey.end()
                return Failure(
                    reason=reason_of(journey.broken or error, journey.phase), detail=getattr(error, "detail", "")
                )
        finally:
            if response is not None and not complete:
                response.close()
        return Reply(
            status=response.status,
            headers=_headers(response),
            body=b"".join(parts)[: journey.max_bytes],
            complete=complete,
        )

    def _open(self) -> "_Pool":
        connector = JudgingConnector(self._policy, self._names, self._tls_once, self._limits)
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            raise_for_status=False,
            # All deadlines are ours: the library's do not tell which step it was that took too long.
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            skip_auto_headers=("Accept", "Content-Type", "User-Agent"),
            max_line_size=8190,
            max_field_size=8190,
            max_headers=100,
            read_bufsize=65_536,
        )
        session._retry_connection = False  # one call, one request: it would send a GET, PUT or DELETE twice
        return _Pool(self._policy, session)

    def _tls_once(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = self._make_tls()
        return self._tls

    async def _close_if_idle(self, pool: "_Pool") -> None:
        if pool.under_way == 0:
            self._retired.discard(pool)
            await pool.session.close()


class _Pool:
    """The connections made under one policy, and the URLs that it judged."""

    def __init__(self, policy: EgressPolicy, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.under_way = 0
        self._policy = policy
        self._judged: dict[str, tuple[Target, URL] | Refusal] = {}

    def judge(self, url: str) -> tuple[Target, URL] | Refusal:
        judged = self._judged.get(url)
        if judged is None:
            target = self._policy.judge_url(url)
            judged = target if isinstance(target, Refusal) else _agreed(target)
            if len(self._judged) >= _MAX_JUDGED:
                self._judged.clear()
            self._judged[url] = judged
        return judged


def _agreed(target: Target) -> tuple[Target, URL] | Refusal:
    """The library's URL, if the library reads in it what the policy has judged."""
    try:
        url = URL(target.url, encoded=True)
        host = (url.raw_host or "").lower()
        same = (url.scheme, url.port, url.user, url.password) == (target.scheme, target.port, None, None)
        if same and (host == target.host or (target.address is not None and address_of(host) == target.address)):
            return target, url
    except ValueError:
        pass
    return Refusal(reason=AttemptReason.CONFIG_ERROR, message="the URL can be read in two ways")


def _missing(headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    given = {name.lower() for name, _ in headers}
    return [header for header in _ALWAYS if header[0].lower() not in given]


def _refused_answer(response: aiohttp.ClientResponse) -> AttemptReason | None:
    """Heads that are no answer. 101 is none: we never ask to change the protocol. Nor is a version that we do not speak."""
    if response.version is None or response.version.major != 1 or not 200 <= response.status <= 599:
        return AttemptReason.RESPONSE_HEADERS_INVALID
    return AttemptReason.REDIRECT_REFUSED if 300 <= response.status <= 399 else None


def _shorten(limit: asyncio.Timeout, seconds: float) -> None:
    due = asyncio.get_running_loop().time() + seconds
    if (when := limit.when()) is not None and due < when:
        limit.reschedule(due)


async def _read(response: aiohttp.ClientResponse, parts: list[bytes], max_bytes: int) -> bool:
    """Collect the body; True when it is all there and within its bound."""
    size = 0
    while part := await response.content.readany():
        parts.append(part)
        size += len(part)
        if size > max_bytes:
            return False
    return True


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Names in lower case; the values of a repeated one joined with a comma (RFC 9110 §5.3). Latin-1: never fails."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.raw_headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
