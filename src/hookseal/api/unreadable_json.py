"""Say why a body was not read as JSON: it is broken, or it is legal JSON that the API does not accept.

Runs only after the parser has refused the body. Nothing of the body is put into the answer.
"""

import json
from typing import NoReturn

from hookseal.api.problem import Problem, ProblemCode, problem

_TOO_DEEP = "The body is nested deeper than this API reads. Write flat objects."
_SURROGATE = (
    "A text holds half of a surrogate pair (\\ud800 to \\udfff), which has no form in UTF-8. Write the whole character."
)
_NUMBER = "A number is beyond a 64-bit float, or has more than 4300 digits. Write it as text, or as a smaller number."


def unreadable(body: bytes) -> Problem:
    try:
        # Numbers stay text, so that no number is too large here.
        tree = json.loads(body.decode(), parse_int=str, parse_float=str, parse_constant=_refuse)
    except RecursionError:
        return problem(ProblemCode.UNSUPPORTED_JSON, detail=_TOO_DEEP)
    except ValueError:
        return problem(ProblemCode.MALFORMED_JSON)
    try:
        json.dumps(tree, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return problem(ProblemCode.UNSUPPORTED_JSON, detail=_SURROGATE)
    except RecursionError:
        return problem(ProblemCode.UNSUPPORTED_JSON, detail=_TOO_DEEP)
    return problem(ProblemCode.UNSUPPORTED_JSON, detail=_NUMBER)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
