"""What the delivery engine tells, counted and, where something of ours went wrong, written to the log."""

from hookseal.delivery.observer import Observer
from hookseal.logs import get_logger
from hookseal.model import DeliveryId, DeliveryState, EndpointId

log = get_logger(__name__)


class Told:
    """An observer that passes everything on, and logs what an operator should see without looking at figures."""

    def __init__(self, counted: Observer) -> None:
        self._counted = counted

    def attempted(
        self, endpoint: EndpointId, delivery: DeliveryId, state: DeliveryState, reason: str | None, seconds: float
    ) -> None:
        self._counted.attempted(endpoint, delivery, state, reason, seconds)
        if state is DeliveryState.DEAD:
            log.warning("delivery is dead", endpoint=endpoint, delivery_id=delivery, reason=reason)

    def ended(self, endpoint: EndpointId, delivery: DeliveryId, state: DeliveryState, reason: str) -> None:
        self._counted.ended(endpoint, delivery, state, reason)
        log.warning("delivery is dead", endpoint=endpoint, delivery_id=delivery, reason=reason)

    def isolated(self, endpoint: EndpointId, delivery: DeliveryId) -> None:
        self._counted.isolated(endpoint, delivery)
        # If the process ends now, this is the last line that names the delivery.
        log.warning("crash suspect attempted alone", endpoint=endpoint, delivery_id=delivery)

    def fenced(self, endpoint: EndpointId, delivery: DeliveryId) -> None:
        self._counted.fenced(endpoint, delivery)
        log.info("result of a lost lease refused", endpoint=endpoint, delivery_id=delivery)

    def unrecorded(self, endpoint: EndpointId, delivery: DeliveryId) -> None:
        self._counted.unrecorded(endpoint, delivery)
        log.warning("result not recorded, it will be sent again", endpoint=endpoint, delivery_id=delivery)

    def broke(self, endpoint: EndpointId | None, what: str, error: str) -> None:
        self._counted.broke(endpoint, what, error)
        log.error("delivery failed within us", endpoint=endpoint, step=what, error_type=error)
