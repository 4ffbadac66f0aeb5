"""What each of the providers sends: its examples, a file for each provider, the provider's own printed one first.

The bodies lie in `payloads/`, byte for byte as the provider's documents print them where they print one; a comment
beside an example says where it is ours. The persons in them are invented.
"""

from collections.abc import Mapping
from typing import Final

from hookseal.simulate.example import Example
from hookseal.simulate.repertoire import bankid_antifraud, idenfy, seal_id, standard_webhooks, zignsec

EXAMPLES: Final[Mapping[str, tuple[Example, ...]]] = {
    "zignsec": zignsec.EXAMPLES,
    "bankid_antifraud": bankid_antifraud.EXAMPLES,
    "seal_id": seal_id.EXAMPLES,
    "idenfy": idenfy.EXAMPLES,
    "standard_webhooks": standard_webhooks.EXAMPLES,
}
