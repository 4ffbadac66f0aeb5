"""`hookseal simulate`: one provider, played against a URL. What it sends and how it takes an answer is `simulate`."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AsyncExitStack

    from rich.console import Console

    from hookseal.catalogue import Provider
    from hookseal.simulate.cases.sender import Sender
    from hookseal.simulate.faults import Fault
    from hookseal.simulate.provider import Consent, Simulator, Try


_VISITS = 3
"""How often a receiver that has to fetch our key set first may ask to come again."""


def register(app: typer.Typer) -> None:
    app.command("simulate")(simulate)


def simulate(
    provider: Annotated[str, typer.Argument(help="An id of `hookseal providers`.")],
    to: Annotated[str | None, typer.Option("--to", metavar="URL", help="The receiver.")] = None,
    secret: Annotated[
        str | None, typer.Option(help="What signs, exactly as given; a private key in PEM for tokens.")
    ] = None,
    secret_file: Annotated[str | None, typer.Option(metavar="PATH", help="A file with exactly the secret.")] = None,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Sign nothing, where the provider has products that send so.")
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of the provider; @FILE reads a file."),
    ] = None,
    event: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which example; --list shows them. Default: the first.")
    ] = None,
    variants: Annotated[
        bool, typer.Option("--variants", help="Every example: all statuses, kinds and odd bodies that --list shows.")
    ] = False,
    count: Annotated[int, typer.Option(min=1, help="How many new events of it, or of each.")] = 1,
    rate: Annotated[float | None, typer.Option(help="At most so many requests a second.")] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Send again what is not acknowledged, as the provider does. May take days.")
    ] = False,
    speed: Annotated[float, typer.Option(help="Makes the waits between tries so many times shorter.")] = 1.0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help="Send this fault instead of good traffic, and say how it was answered; may be repeated. "
            "A wrong KIND lists them.",
        ),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where the issuer's key set is served. Default: a free port."),
    ] = None,
    assess: Annotated[
        bool, typer.Option("--assess", help="Judge the receiver over all cases that a correct one handles.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="With --assess: the report as one JSON document.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Show what the provider can send.")] = False,
) -> None:
    """Behave as the provider does: handshake, signature, format. Exits 0 when everything was acknowledged.

    Each event is sent once; with --retry it is sent again by the provider's policy until it is acknowledged.

    With --fault or --assess it exits 0 when every answer was that of a correct receiver.
    """
    from hookseal import catalogue
    from hookseal.cli import given
    from hookseal.errors import ConfigurationError
    from hookseal.model import ProviderId

    entry = catalogue.provider(ProviderId(provider))
    if list_:
        _show_examples(entry)
        return
    if to is None:
        raise ConfigurationError(given.PLACE, "--to", "give the URL of the receiver")
    if (rate is not None and not 0 < rate <= 1_000_000) or not 0 < speed <= 1_000_000:
        raise ConfigurationError(given.PLACE, "--speed" if rate is None else "--rate", "give a number above 0")
    if assess and (fault or event is not None or variants or count != 1):
        raise ConfigurationError(
            given.PLACE, "--assess", "sends what it needs; leave out --fault, --event, --variants and --count"
        )
    if variants and event is not None:
        raise ConfigurationError(given.PLACE, "--variants", "sends every example; leave out --event")
    if json_ and not assess:
        raise ConfigurationError(given.PLACE, "--json", "goes with --assess; leave it out")
    secrets = given.secrets([secret] if secret is not None else [], [secret_file] if secret_file is not None else [])
    if len(secrets) > 1:
        raise ConfigurationError(given.PLACE, "--secret", "give it once, as text or as a file")

    import asyncio

    plan = _Plan(
        entry,
        to,
        secret=secrets[0] if secrets else None,
        unsigned=unsigned,
        options=given.options(set_ or ()),
        events=_all_of(entry) if variants else [] if event is None else [event],
        count=count,
        rate=rate,
        retry=retry,
        speed=speed,
        listen=listen,
    )
    faults = plan.faults(fault or ())
    try:
        done = asyncio.run(plan.assess(json_) if assess else plan.play(faults) if faults else plan.run())
    except ExceptionGroup as group:  # the reader has left while several events were under way
        if group.subgroup(BrokenPipeError) is None:
            raise
        raise BrokenPipeError from None
    if not done:
        raise typer.Exit(1)


class _Plan:
    """One run, checked before anything is sent."""

    def __init__(
        self,
        entry: "Provider",
        to: str,
        *,
        secret: bytes | None,
        unsigned: bool,
        options: dict[str, object],
        events: "Sequence[str]",
        count: int,
        rate: float | None,
        retry: bool,
        speed: float,
        listen: str | None,
    ) -> None:
        from hookseal.cli import given
        from hookseal.clock import SystemClock
        from hookseal.egress.policy import EgressPolicy, Refusal
        from hookseal.errors import ConfigurationError
        from hookseal.schemes.jose import private_key_of
        from hookseal.schemes.verdict import SigningKeys
        from hookseal.simulate.examples import examples_of
        from hookseal.simulate.issuer import Issuer
        from hookseal.simulate.unsigned import Unsigned

        # The operator types the URL, so no address is denied; the grammar of URLs stays.
        self.policy = EgressPolicy(allow=("0.0.0.0/0", "::/0"), allow_http=True)
        judged = self.policy.judge_url(to)
        if isinstance(judged, Refusal):
            raise ConfigurationError(given.PLACE, "--to", judged.message)
        self.target = judged
        examples = examples_of(entry)
        for event in events:
            if event not in examples:
                raise ConfigurationError(given.PLACE, "--event", f"there is no {event!a}; choose {', '.join(examples)}")
        self.examples = [examples[event] for event in events or list(examples)[:1]]
        if unsigned:
            self._check_unsigned(entry, secret)
        try:
            self.scheme = Unsigned() if unsigned else entry.bind(options)
        except ConfigurationError as error:
            raise ConfigurationError(given.PLACE, f"--set {error.key}", error.remedy) from error
        self.issuer: Issuer | None = None
        if unsigned:
            self.keys = SigningKeys()
        elif entry.scheme_kind == "jwt_bearer":
            self.issuer = Issuer() if secret is None else Issuer(private_key_of(secret))
            self.keys = self.issuer.keys
        elif secret is None:
            or_none = ", or --unsigned for a product that sends unsigned" if entry.sending.unsigned else ""
            raise ConfigurationError(
                given.PLACE, "--secret", f"give the {entry.secret.label or 'secret'} that the receiver has{or_none}"
            )
        else:
            self.keys = SigningKeys(secret=secret)
        self.clock = SystemClock()
        self.retry = retry
        self.entry, self.to, self.count, self.rate, self.speed, self.listen = entry, to, count, rate, speed, listen

    @staticmethod
    def _check_unsigned(entry: "Provider", secret: bytes | None) -> None:
        from hookseal.cli import given
        from hookseal.errors import ConfigurationError

        if not entry.sending.unsigned:
            raise ConfigurationError(given.PLACE, "--unsigned", f"{entry.name} proves all its requests; leave it out")
        if secret is not None:
            raise ConfigurationError(given.PLACE, "--unsigned", "signs nothing; leave out --secret")

    def faults(self, asked: "Sequence[str]") -> "list[Fault]":
        """The faults of these names. ConfigurationError, naming those that make sense here, for any other."""
        from hookseal.cli import given
        from hookseal.errors import ConfigurationError
        from hookseal.schemes.verdict import SigningKeys
        from hookseal.simulate.faults import ABOUT, faults_of

        known = faults_of(self.scheme)
        for name in asked:
            if name not in known:
                here = self.entry.id if self.keys != SigningKeys() else f"an unsigned {self.entry.id}"
                why = f"makes no sense for {here}" if name in tuple(ABOUT) else "is unknown"
                raise ConfigurationError(given.PLACE, "--fault", f"{name!a} {why}; choose {', '.join(known)}")
        return [fault for name in asked for fault in known if fault == name]

    async def run(self) -> bool:
        """Send good traffic, with the provider's retries if they are asked for."""
        import os
        from contextlib import AsyncExitStack

        from hookseal.cli.printing import say
        from hookseal.simulate.examples import calls_of

        _say_whose_waits(self.entry)
        printed = _Printed(self.speed)
        async with AsyncExitStack() as stack:
            simulator = await self._simulator(stack, printed)
            done = await simulator.play(
                (lambda one=example: calls_of(self.entry, one, self.clock.now(), os.urandom))  # type: ignore[misc]
                for example in self.examples
                for _ in range(self.count)
            )
        say(printed.summary)
        return done

    async def play(self, faults: "Sequence[Fault]") -> bool:
        """Each fault, with a new event each time. Without consent nothing is sent, as ever."""
        import random
        from contextlib import AsyncExitStack

        from hookseal.cli.printing import console
        from hookseal.cli.simulate_report import FaultLines
        from hookseal.simulate.assess import Assessor
        from hookseal.simulate.faults import FaultPlayer
        from hookseal.simulate.wire import SocketWire

        _say_whose_waits(self.entry)
        async with AsyncExitStack() as stack:
            simulator = await self._simulator(stack, _Printed(self.speed))
            if not await simulator.subscribe():
                return False
            wire = SocketWire(self.target, self.clock)
            if self.issuer is not None:  # our key set is served from now on only: let the receiver fetch it first
                await Assessor(self._sender, wire, self.clock).ready(_say_waiting)
            player = FaultPlayer(
                sender=self._sender,
                wire=wire,
                clock=self.clock,
                rate=simulator.rate,
                jitter=random.random,
                told=FaultLines(console(), self.entry.name).played,
                speed=self.speed,
            )
            done = [
                await player.play(fault, example.name)
                for fault in faults
                for example in self.examples
                for _ in range(self.count)
            ]
        return all(done)

    async def assess(self, as_json: bool) -> bool:
        """All cases, and the report."""
        from contextlib import AsyncExitStack

        from hookseal.cli.printing import print_json
        from hookseal.cli.simulate_report import Report, report_console, report_json
        from hookseal.simulate.assess import Assessor
        from hookseal.simulate.wire import SocketWire

        findings = []
        report = Report(report_console())
        async with AsyncExitStack() as stack:
            await self._serve_keys(stack)
            wire = SocketWire(self.target, self.clock)
            assessor = Assessor(self._sender, wire, self.clock, per_second=self.rate)
            await assessor.ready(_say_waiting)
            if not as_json:
                report.begins(self.entry.name, self.to)
            async for finding in assessor.findings():
                findings.append(finding)
                if not as_json:
                    report.found(finding)
        if as_json:
            print_json(report_json(self.entry.id, self.to, findings))
        else:
            report.ended(findings)
        return all(finding.ok for finding in findings)

    @property
    def _sender(self) -> "Sender":
        import os

        from hookseal.simulate.cases.sender import Sender

        return Sender(provider=self.entry, scheme=self.scheme, keys=self.keys, url=self.to, random_bytes=os.urandom)

    async def _simulator(self, stack: "AsyncExitStack", printed: "_Printed") -> "Simulator":
        import random

        from hookseal.egress.client import GuardedClient
        from hookseal.simulate.provider import Simulator

        egress = GuardedClient(self.policy)
        stack.push_async_callback(egress.close)
        await self._serve_keys(stack)
        return Simulator(
            provider=self.entry,
            scheme=self.scheme,
            keys=self.keys,
            url=self.to,
            egress=egress,
            clock=self.clock,
            watcher=printed,
            jitter=random.random,
            retries=self.retry,
            visits=0 if self.issuer is None else _VISITS,
            speed=self.speed,
            per_second=self.rate,
        )

    async def _serve_keys(self, stack: "AsyncExitStack") -> None:
        """Publish the issuer's key set while the stack lasts, where the provider has an issuer."""
        from hookseal.cli import given
        from hookseal.cli.printing import say
        from hookseal.web.server import serving

        if self.issuer is not None:
            listen = self.listen or "127.0.0.1:0"
            address = await stack.enter_async_context(serving(self.issuer, listen, place=given.PLACE, key="--listen"))
            say("the receiver's options for these tokens:")
            say(f'  issuer = "{getattr(self.scheme, "issuer", "")}"')
            say(f'  jwks_url = "{self.issuer.jwks_url(address.url)}"')
        elif self.listen is not None:
            say(f"{self.entry.id} has no key set: nothing is served on {self.listen}")


class _Printed:
    """One line for each request."""

    def __init__(self, speed: float) -> None:
        from hookseal.cli.printing import console

        self._console: Console = console()
        self._speed = speed
        self._acknowledged = 0
        self._ended = 0

    def consented(self, consent: "Consent") -> None:
        rate = "any rate" if consent.rate_per_min is None else f"{consent.rate_per_min} requests a minute"
        said = f"consent to {rate}" if consent.granted else f"no consent: {consent.problem}; nothing is sent"
        self._line("handshake", consent.status, consent.reason, said, "green" if consent.granted else "red")

    def tried(self, attempt: "Try") -> None:
        from hookseal.cli.printing import duration
        from hookseal.simulate.provider import Fate

        call = attempt.call
        mark = call.expected[0].mark[:8] if call.expected else ""
        what = " ".join(part for part in (call.example, mark, f"#{call.number}" if call.number > 1 else "") if part)
        match attempt.fate:
            case Fate.ACKNOWLEDGED:
                said, style = f"acknowledged in {attempt.seconds * 1000:.0f} ms", "green"
            case Fate.AGAIN if attempt.is_last:
                said, style = f"would try again in {duration(attempt.wait_s or 0)}; --retry waits for it", "yellow"
            case Fate.AGAIN if attempt.is_visit:
                said, style = f"the receiver asks to come again in {duration(attempt.wait_s or 0)}", "yellow"
            case Fate.AGAIN:
                wait_s, rest_s = ((seconds or 0) / self._speed for seconds in (attempt.wait_s, attempt.rest_s))
                said = f"tries again in {duration(wait_s)}, for at most {duration(rest_s)}; --speed shortens it"
                style = "yellow"
            case Fate.GIVEN_UP:
                said, style = "would not try again: the event is lost", "red"
        if attempt.title:
            said = f"{attempt.title}; {said}"
        if attempt.number > 1:
            said += f" (try {attempt.number})"
        if attempt.fate is not Fate.AGAIN or attempt.is_last:
            self._ended += 1
            self._acknowledged += attempt.fate is Fate.ACKNOWLEDGED
        self._line(what, attempt.status, attempt.reason, said, style)

    @property
    def summary(self) -> str:
        return f"{self._acknowledged} of {self._ended} acknowledged" if self._ended else "nothing was sent"

    def _line(self, what: str, status: int | None, reason: str | None, said: str, style: str) -> None:
        from rich.markup import escape

        answer = str(status) if status is not None else reason or "no answer"
        try:
            self._console.print(f"{escape(what):<36}  [{style}]{escape(answer):>3}[/]  {escape(said)}")
        except SystemExit:  # rich's way to say that the reader has left; inside a task it would tear the loop down
            raise BrokenPipeError from None


def _say_whose_waits(entry: "Provider") -> None:
    from hookseal.cli.printing import say

    if not entry.publishes_waits:
        say(f"{entry.name} publishes no waits between its tries; those of `{entry.retry}` are hookseal's own")


def _say_waiting(wait_s: float) -> None:
    from hookseal.cli.printing import say

    say(f"the receiver asks to come again in {wait_s:.0f} s")


def _all_of(entry: "Provider") -> list[str]:
    from hookseal.simulate.examples import examples_of

    return list(examples_of(entry))


def _show_examples(entry: "Provider") -> None:
    from hookseal.cli.printing import print_text
    from hookseal.simulate.examples import examples_of

    examples = examples_of(entry)
    width = max(map(len, examples))
    print_text("\n".join(f"{name:<{width}}  {example.about}" for name, example in examples.items()))
