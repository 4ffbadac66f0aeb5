"""How a request is proven. One line for each method; a provider file names it as `kind` in its `[scheme]` table."""

from collections.abc import Mapping
from typing import Any

from hookseal.schemes.jwt_bearer import JwtBearer
from hookseal.schemes.keyed_hash import KeyedHash

SCHEMES: Mapping[str, type[Any]] = {
    "hmac": KeyedHash,
    "jwt_bearer": JwtBearer,
}
