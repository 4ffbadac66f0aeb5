"""Secrets that we make: 32 random bytes, in the form that the scheme reads."""

import base64
import secrets

from hookseal.catalogue import Provider

BYTES = 32


def new_secret(provider: Provider) -> str | None:
    """A secret for requests that are proven as this provider's are; None when it has no shared secret.

    `whsec_` and base64 for Standard Webhooks, hex or base64 where the provider's secret is that, else 43 characters
    that need no escaping anywhere.
    """
    if not provider.secret.label:
        return None
    noise = secrets.token_bytes(BYTES)
    table = provider.scheme_table
    if prefix := table.get("key_prefix"):
        return str(prefix) + (noise.hex() if table.get("prefixed_key") == "hex" else base64.b64encode(noise).decode())
    match table.get("key"):
        case "hex":
            return noise.hex()
        case "base64":
            return base64.b64encode(noise).decode()
        case _:
            return base64.urlsafe_b64encode(noise).rstrip(b"=").decode()
