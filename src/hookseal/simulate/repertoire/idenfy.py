"""What iDenfy sends: results of identifications, and all other kinds of its web hooks.

The signing page prints no payload; the fields are those of https://documentation.idenfy.com/api-reference/webhooks, and
where a kind's body is not documented, only the references that all have. `Idenfy-Event-Type` names the kind; it is not
signed.
"""

from typing import Final

from hookseal.model import EventType as Type
from hookseal.model import Outcome
from hookseal.simulate.example import Draft, Example, Expected, Form

_SCAN_REF = "00000000-0000-4000-8000-000000000001"
_MANUAL = "IDENTIFICATION_MANUAL_FINISHED"
_FRESH: Final = {
    _SCAN_REF: Form.UUID,
    "1554726960": Form.UNIX,
    "1554727002": Form.UNIX,
    "2019-04-08T12:36:42.000000Z": Form.RFC3339,
}


def _draft(file: str, kind: str, type: Type, outcome: Outcome, mark: str = _SCAN_REF) -> Draft:
    return Draft(file=f"{file}.json", headers=(("Idenfy-Event-Type", kind),), expected=(Expected(mark, type, outcome),))


def _one(name: str, about: str, type: Type, outcome: Outcome, kind: str) -> Example:
    return Example(name=name, about=about, drafts=(_draft(name, kind, type, outcome),), fresh=_FRESH)


def _variant(
    name: str, about: str, type: Type, outcome: Outcome, kind: str, *, file: str = "", mark: str = _SCAN_REF
) -> Example:
    drafts = (_draft(file or name, kind, type, outcome, mark),)
    return Example(name=name, about=about, drafts=drafts, fresh=_FRESH, is_variant=True)


EXAMPLES: Final = (
    _one("approved", "approved", Type.VERIFICATION_COMPLETED, Outcome.APPROVED, _MANUAL),
    _one("denied", "denied", Type.VERIFICATION_COMPLETED, Outcome.DECLINED, _MANUAL),
    _one("suspected", "suspected", Type.VERIFICATION_COMPLETED, Outcome.REVIEW, _MANUAL),
    Example(
        name="manual-review",
        about="suspected by the machine, then approved by a person: two web hooks with one scanRef",
        drafts=(
            _draft("auto-finished", "IDENTIFICATION_AUTO_FINISHED", Type.VERIFICATION_UPDATED, Outcome.REVIEW),
            _draft("manual-finished", _MANUAL, Type.VERIFICATION_COMPLETED, Outcome.APPROVED),
        ),
        fresh=_FRESH,
    ),
    _one("expired", "nobody finished in time", Type.VERIFICATION_COMPLETED, Outcome.EXPIRED, "IDENTIFICATION_EXPIRED"),
    _one(
        "document-expiration",
        "an identity document runs out",
        Type.DOCUMENT_UPDATED,
        Outcome.UNKNOWN,
        "DOCUMENT_EXPIRATION",
    ),
    # --- identifications that are not the usual ones
    _variant("non-ascii", "approved, a name beyond ASCII", Type.VERIFICATION_COMPLETED, Outcome.APPROVED, _MANUAL),
    _variant("sparse", "approved, nearly every field missing", Type.VERIFICATION_COMPLETED, Outcome.APPROVED, _MANUAL),
    _variant(
        "legacy",
        "the one kind that older registrations have",
        Type.VERIFICATION_COMPLETED,
        Outcome.DECLINED,
        "IDENTIFICATION",
    ),
    _variant("cancelled", "the person gave up", Type.VERIFICATION_UPDATED, Outcome.UNKNOWN, "IDENTIFICATION_CANCELLED"),
    _variant(
        "resubmitted", "begun once more", Type.VERIFICATION_UPDATED, Outcome.PENDING, "IDENTIFICATION_RESUBMITTED"
    ),
    # --- the other kinds about a person
    *(
        _variant(name, about, Type.VERIFICATION_UPDATED, Outcome.UNKNOWN, kind, file="scan")
        for name, about, kind in (
            ("video-call", "a video call has ended", "VIDEO_CALL_FINISHED"),
            ("age-estimation", "an age was estimated", "AGE_ESTIMATION"),
            ("bank-card", "a bank card was verified", "BANK_CARD_VERIFICATION_COMPLETED"),
            ("account-check", "an account was checked", "ACCOUNT_CHECK"),
        )
    ),
    _variant(
        "bank-verification", "a bank told who it is", Type.VERIFICATION_UPDATED, Outcome.UNKNOWN, "BANK_VERIFICATION"
    ),
    # its only reference is the token of the session, which is no subject
    _variant(
        "facial-authentication",
        "a face was recognised",
        Type.AUTHENTICATION_COMPLETED,
        Outcome.UNKNOWN,
        "FACIAL_AUTHENTICATION",
        mark="",
    ),
    _variant(
        "facial-authentication-failed",
        "a face was not recognised",
        Type.AUTHENTICATION_COMPLETED,
        Outcome.DECLINED,
        "FACIAL_AUTHENTICATION",
        mark="",
    ),
    _variant("aml-monitoring", "a person is on a new list", Type.SCREENING_UPDATED, Outcome.REVIEW, "AML_MONITORING"),
    _variant(
        "aml-monitoring-accepted", "that was somebody else", Type.SCREENING_UPDATED, Outcome.APPROVED, "AML_MONITORING"
    ),
    _variant(
        "aml-monitoring-expiration",
        "the monitoring ends",
        Type.SCREENING_UPDATED,
        Outcome.UNKNOWN,
        "AML_MONITORING_EXPIRATION",
    ),
    _variant(
        "gov-ordered-document",
        "a register's document came",
        Type.DOCUMENT_UPDATED,
        Outcome.UNKNOWN,
        "GOV_ORDERED_DOCUMENT",
        file="scan",
    ),
    _variant("sos-report", "a report of a registry came", Type.OTHER, Outcome.UNKNOWN, "SOS_REPORT", file="scan"),
    # --- companies
    _variant("company-submit", "a company's form came in", Type.COMPANY_UPDATED, Outcome.UNKNOWN, "COMPANY_SUBMIT"),
    _variant("company-review", "a company was approved", Type.COMPANY_COMPLETED, Outcome.APPROVED, "COMPANY_REVIEW"),
    _variant("company-denied", "a company was denied", Type.COMPANY_COMPLETED, Outcome.DECLINED, "COMPANY_REVIEW"),
    _variant(
        "company-aml-review", "a company is on a list", Type.SCREENING_UPDATED, Outcome.REVIEW, "COMPANY_AML_REVIEW"
    ),
    _variant(
        "company-info-request",
        "a company was asked for more",
        Type.COMPANY_UPDATED,
        Outcome.PENDING,
        "COMPANY_INFO_REQUEST",
    ),
    *(
        _variant(
            f"company-{verb}", about, Type.COMPANY_UPDATED, Outcome.UNKNOWN, f"COMPANY_{verb.upper()}", file="company"
        )
        for verb, about in (("expiration", "a company's verification ran out"), ("delete", "a company was deleted"))
    ),
)
