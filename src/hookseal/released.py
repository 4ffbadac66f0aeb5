"""The date of this release, as a lower bound of the present time.

The date is a constant in the source, so that a build is reproducible. A release sets it. A test requires that it is not
older than the newest `checked` date of the catalog.
"""

from typing import Final

from hookseal.clock import Instant, parse_rfc3339, plus

RELEASED: Final = "2026-11-21"

# The day began up to 14 hours earlier in some time zones. One day covers that.
NOT_BEFORE: Final[Instant] = plus(parse_rfc3339(f"{RELEASED}T00:00:00Z"), -86_400.0)
"""No correct clock shows an earlier time than this."""
