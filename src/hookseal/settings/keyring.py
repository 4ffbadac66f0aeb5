"""The keyring as it is configured: read and judged, never made. Making one belongs to making a new store."""

import os
import stat

from hookseal.sealing import Keyring
from hookseal.settings.model import StoreSettings
from hookseal.settings.secrets import Unfit, read_small

_MAX_BYTES = 65_536


def read_keyring(store: StoreSettings) -> Keyring | None:
    """The keyring, or None when it is a file that is not there. Unfit when it is there and cannot be used."""
    path = store.key_path
    if path is None:
        return _parsed(store.keyring, "the keyring")
    if not os.path.lexists(path):
        return None
    content, mode = read_small(path, _MAX_BYTES)
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise Unfit("the key file is open to every user of this machine; `chmod 600` it")
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError:
        raise Unfit("the key file is not a keyring; restore it from a backup") from None
    return _parsed(text, "the key file")


def _parsed(text: str, what: str) -> Keyring:
    try:
        return Keyring.parse(text)
    except ValueError:
        raise Unfit(f"{what} is not a keyring (`kid:base64 of 32 bytes` a line); restore it from a backup") from None
