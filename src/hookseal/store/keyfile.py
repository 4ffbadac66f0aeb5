"""The file that holds the keyring: read with care, made only together with a new, empty store, and changed only whole.

A store whose key file is missing is not given a new one: nothing in it would open again, and the operator would learn
of it only when an event is wanted. What is in a store, this file does not know.
"""

import os
import stat
from collections.abc import Collection
from pathlib import Path

from hookseal.errors import ConfigurationError, StoreMismatch
from hookseal.sealing import Keyring

_KEY = "store.keyring"
_MAX_BYTES = 65536


def load_or_create(keyfile: Path, store_exists: bool) -> Keyring:
    """The keyring of `keyfile`; a new one in a new file, mode 0600, when neither file nor store is there.

    StoreMismatch when the store is there and the file is not; ConfigurationError when the file cannot be used or made.
    """
    try:
        return _load(keyfile)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ConfigurationError(str(keyfile), _KEY, f"make the key file readable ({error.strerror})") from error
    if store_exists:
        raise StoreMismatch(f"{keyfile}: {_KEY}: the key file of this store is missing; put it back from its backup")
    try:
        return _create(keyfile)
    except FileExistsError:
        # Another process was quicker. It has just written the whole file under another name and linked it here.
        return _load(keyfile)
    except OSError as error:
        raise ConfigurationError(str(keyfile), _KEY, f"make its folder writable ({error.strerror})") from error


def read(keyfile: Path) -> Keyring:
    """The keyring of a file that must be there. ConfigurationError when it cannot be used."""
    try:
        return _load(keyfile)
    except OSError as error:
        raise ConfigurationError(str(keyfile), _KEY, f"make the key file readable ({error.strerror})") from error


def add_key(keyfile: Path) -> Keyring:
    """A new key in front of the others, durable when this returns; values are sealed under it from then on.

    At any moment the name stands for the whole old file or the whole new one. ConfigurationError when it cannot be used.
    """
    keyring = read(keyfile)
    fresh = Keyring.generate(keyring.next_kid())
    _replace(keyfile, fresh.dump() + keyfile.read_text(encoding="utf-8"))
    return read(keyfile)


def drop_keys(keyfile: Path, kids: Collection[str]) -> Keyring:
    """The keyring without these keys. The first one cannot be dropped: ValueError."""
    keyring = read(keyfile)
    if keyring.active in kids:
        raise ValueError("the active key is needed")
    lines = keyfile.read_text(encoding="utf-8").splitlines(keepends=True)
    left = [line for line in lines if line.split("#", 1)[0].partition(":")[0].strip() not in kids]
    _replace(keyfile, "".join(left))
    return read(keyfile)


def _replace(keyfile: Path, text: str) -> None:
    Keyring.parse(text)
    place = keyfile.resolve()  # a link stays a link
    try:
        draft = _write_draft(place, text)
        try:
            os.replace(draft, place)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        _sync_folder(place.parent)
    except OSError as error:
        raise ConfigurationError(str(keyfile), _KEY, f"make its folder writable ({error.strerror})") from error


def _load(keyfile: Path) -> Keyring:
    # O_NONBLOCK: opening a named pipe would wait for ever for someone to write to it.
    with open(os.open(keyfile, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ConfigurationError(str(keyfile), _KEY, "give a regular file")
        if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigurationError(str(keyfile), _KEY, f"take it from group and others: chmod 600 {keyfile}")
        content = file.read(_MAX_BYTES + 1)
    try:
        if len(content) > _MAX_BYTES:
            raise ValueError("too large")
        return Keyring.parse(content.decode("utf-8"))
    except ValueError as error:
        # UnicodeDecodeError would show bytes of the file, which may be a key: only our own sentences are repeated.
        why = "it is not text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise ConfigurationError(str(keyfile), _KEY, f"give one `kid:base64 of 32 bytes` a line ({why})") from None


def _create(keyfile: Path) -> Keyring:
    """Write beside, sync, then link: the name appears only with a whole key behind it, and never replaces another."""
    keyring = Keyring.generate()
    draft = _write_draft(keyfile, keyring.dump())
    try:
        os.link(draft, keyfile)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(keyfile.parent)
    return keyring


def _write_draft(keyfile: Path, text: str) -> Path:
    """A file beside the key file, whole and synced, for its owner only."""
    draft = keyfile.with_name(f"{keyfile.name}.{os.urandom(6).hex()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return draft


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
