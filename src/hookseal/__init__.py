"""hookseal, the gateway for identity events.

    event = hookseal.verify("idenfy", body, headers, secrets=[secret])
    pairs = hookseal.sign("zignsec", body, secret=secret)
    gateway = hookseal.Gateway("hookseal.toml")

Nothing is loaded before it is used: `verify` with a shared secret loads no server, no database and no HTTP client.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hookseal.errors import CannotDecide, ConfigurationError, HooksealError, Refused
    from hookseal.model import Event
    from hookseal.offline import sign, verify, verify_all
    from hookseal.web.app import Gateway

_WHERE = {
    "CannotDecide": "hookseal.errors",
    "ConfigurationError": "hookseal.errors",
    "HooksealError": "hookseal.errors",
    "Refused": "hookseal.errors",
    "Event": "hookseal.model",
    "sign": "hookseal.offline",
    "verify": "hookseal.offline",
    "verify_all": "hookseal.offline",
    "Gateway": "hookseal.web.app",
}

__all__ = [
    "CannotDecide",
    "ConfigurationError",
    "Event",
    "Gateway",
    "HooksealError",
    "Refused",
    "sign",
    "verify",
    "verify_all",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _WHERE:
        raise AttributeError(f"module 'hookseal' has no attribute {name!r}")
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
