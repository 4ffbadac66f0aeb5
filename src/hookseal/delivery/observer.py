"""What the engine tells whoever counts: the seam of metrics and logs. No body, no header, no message ever passes here."""

from typing import Protocol

from hookseal.model import DeliveryId, DeliveryState, EndpointId


class Observer(Protocol):
    """Called on the event loop; must be quick and must not raise."""

    def attempted(
        self, endpoint: EndpointId, delivery: DeliveryId, state: DeliveryState, reason: str | None, seconds: float
    ) -> None:
        """One try was made and recorded. state: where it left the delivery; reason: None when it delivered."""
        ...

    def ended(self, endpoint: EndpointId, delivery: DeliveryId, state: DeliveryState, reason: str) -> None:
        """A delivery ended without an attempt that could say so."""
        ...

    def isolated(self, endpoint: EndpointId, delivery: DeliveryId) -> None:
        """A crash suspect is about to be attempted, with nothing else in flight."""
        ...

    def fenced(self, endpoint: EndpointId, delivery: DeliveryId) -> None:
        """A result was refused: the lease had gone to another, or the delivery had been cancelled."""
        ...

    def unrecorded(self, endpoint: EndpointId, delivery: DeliveryId) -> None:
        """A result could not be written while the lease lasted: the delivery will be tried again."""
        ...

    def broke(self, endpoint: EndpointId | None, what: str, error: str) -> None:
        """Something of ours failed. what: which part; error: the class of the exception, never its text."""
        ...


class Silence:
    """Nobody counts."""

    def attempted(
        self, endpoint: EndpointId, delivery: DeliveryId, state: DeliveryState, reason: str | None, seconds: float
    ) -> None:
        pass

    def ended(self, endpoint: EndpointId, delivery: DeliveryId, state: DeliveryState, reason: str) -> None:
        pass

    def isolated(self, endpoint: EndpointId, delivery: DeliveryId) -> None:
        pass

    def fenced(self, endpoint: EndpointId, delivery: DeliveryId) -> None:
        pass

    def unrecorded(self, endpoint: EndpointId, delivery: DeliveryId) -> None:
        pass

    def broke(self, endpoint: EndpointId | None, what: str, error: str) -> None:
        pass
