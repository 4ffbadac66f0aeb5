"""Who sends, as data: `providers/<id>.toml` and its vectors. `provider("zignsec").bind({})` gives a scheme to judge with."""

from hookseal.catalogue.entry import Answers, Example, Handshake, Option, OptionKind, Provider, SecretHelp, Sending
from hookseal.catalogue.reader import ids, provider, providers, read

__all__ = [
    "Answers",
    "Example",
    "Handshake",
    "Option",
    "OptionKind",
    "Provider",
    "SecretHelp",
    "Sending",
    "ids",
    "provider",
    "providers",
    "read",
]
