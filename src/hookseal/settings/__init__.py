"""The effective settings: one table of rows, read from `hookseal.toml`, the environment and the command line.

    model.py      the values that everyone else is handed
    table.py      the rows: name, kind, unit, help; defaults are the model's
    kinds.py      what a value may look like, and how it is read
    tables.py     kinds that are tables: options, headers, signing, retry
    secrets.py    `env:NAME`, `file:PATH` or the text itself
    reading.py    file + environment + command line → Settings, with every fault found
    shown.py      the effective settings with secrets masked
    reference.py  docs/settings.md

What can be judged without knowing a provider, a scheme, an address policy or a retry policy is judged here. The rest
is `hookseal.manage.configuration`, which is also where a caller loads settings that are fit to run.
"""

from hookseal.settings.model import (
    ApiSettings,
    EgressSettings,
    EndpointSettings,
    HandshakeSettings,
    RetrySettings,
    ServerSettings,
    Settings,
    SigningSettings,
    SourceSettings,
    StoreSettings,
)
from hookseal.settings.reading import Overrides, Reading, read

__all__ = [
    "ApiSettings",
    "EgressSettings",
    "EndpointSettings",
    "HandshakeSettings",
    "Overrides",
    "Reading",
    "RetrySettings",
    "ServerSettings",
    "Settings",
    "SigningSettings",
    "SourceSettings",
    "StoreSettings",
    "read",
]
