"""Whether the libraries that placing takes are here: they come with the extra `stamp`, and nothing else needs them."""

from importlib.util import find_spec

from hookseal.errors import ConfigurationError

REMEDY = "install what it takes: pip install 'hookseal[stamp]'"
_LIBRARIES = ("pyhanko", "PIL", "fontTools", "uharfbuzz", "ttf_opensans")


def is_installed() -> bool:
    return all(find_spec(library) is not None for library in _LIBRARIES)


def require() -> None:
    """ConfigurationError when a library is missing."""
    if not is_installed():
        raise ConfigurationError("visual signatures", "", REMEDY)
