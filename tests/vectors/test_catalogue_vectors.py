"""Every provider of the catalogue is what its vectors say, and refuses what lies next to them."""

import base64
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from hookseal import catalogue
from hookseal.catalogue.reader import FOLDER
from hookseal.catalogue.trial import ACCEPT, Failure, trial, trial_of_folder
from hookseal.catalogue.vectors import Vector, Vectors, read_vectors, vectors_beside
from hookseal.cli import main
from hookseal.errors import CatalogueError
from hookseal.schemes.jwk import parse
from hookseal.schemes.verdict import Keys, Proven, SigningKeys

# Written out: a provider that loses vectors, or its file, is noticed.
VECTORS = {"bankid_antifraud": 42, "idenfy": 28, "seal_id": 51, "standard_webhooks": 17, "zignsec": 37}


def vectors_of(id: str) -> Vectors:
    vectors = vectors_beside(FOLDER / f"{id}.toml")
    assert vectors is not None
    return vectors


def accepted_of(id: str) -> list[Vector]:
    return [vector for vector in vectors_of(id).vectors if vector.accepted]


@pytest.mark.parametrize("id", catalogue.ids())
def test_provider_keeps_every_vector_and_every_case_made_of_it(id: str) -> None:
    assert trial(catalogue.provider(id), vectors_of(id)) == []


@pytest.mark.parametrize("id", VECTORS)
def test_no_vector_is_lost(id: str) -> None:
    assert len(vectors_of(id).vectors) >= VECTORS[id]


@pytest.mark.parametrize("id", catalogue.ids())
def test_every_refused_vector_names_its_reason(id: str) -> None:
    assert [vector.id for vector in vectors_of(id).vectors if not vector.accepted and vector.reason is None] == []


@pytest.mark.parametrize(
    ("id", "vector", "header", "value"),
    [
        ("zignsec", "ZS-1", "X-ZignSec-Hmac-SHA256", "z0wip7nwBtCQm45baZjn5nnoggKiFXOapaUiNvk9ay0="),
        ("zignsec", "ZS-6", "X-ZignSec-Hmac-SHA256", "Pc1GN/b/uPmxsWXcdxdsoje3W8zaUVIk5OGMypT/ogo="),
        ("idenfy", "ID-1", "Idenfy-Signature", "1e5c7a1c3fb9d10f2a4aa91cd1c28af80ae74e26aaafc82ca38b1ca3ad98c43f"),
        (
            "seal_id",
            "SL-1",
            "ubiid-notification-signature",
            "rYvy6HA8+NGoCCQoATDhbeLmCeR32w8GXckys6xVRAT1aBlrHFqEAglE42Ka8jy2tzvRElywScJzwSGUo+oSeQ==",
        ),
    ],
)
def test_signing_gives_the_known_value(id: str, vector: str, header: str, value: str) -> None:
    known = next(one for one in accepted_of(id) if one.id == vector)
    headers = catalogue.provider(id).bind({}).sign(known.request, SigningKeys(secret=known.secrets[0]), known.now)
    assert dict(headers)[header] == value


def test_seal_id_sends_both_spellings_with_equal_values() -> None:
    known = next(one for one in accepted_of("seal_id") if one.id == "SL-1")
    headers = (
        catalogue.provider("seal_id").bind({}).sign(known.request, SigningKeys(secret=known.secrets[0]), known.now)
    )
    assert [name for name, _ in headers] == [
        "ubiid-notification-signature",
        "ubiid-notification-timestamp",
        "x-ubiid-notification-signature",
        "x-ubiid-notification-timestamp",
    ]
    values = [value for _, value in headers]
    assert values[:2] == values[2:]
    assert values[1] == "20221115T090914Z"


@pytest.mark.parametrize("mode", ["minified", "raw"])
def test_seal_id_dedupes_by_the_minified_body_whatever_form_was_signed(mode: str) -> None:
    scheme = catalogue.provider("seal_id").bind({"mode": mode})
    compact = next(one for one in accepted_of("seal_id") if one.id == "SL-1")
    pretty = json.dumps(json.loads(compact.body), indent=2).encode()
    headers = scheme.sign(replace(compact.request, body=pretty), SigningKeys(secret=compact.secrets[0]), compact.now)
    signed = tuple((name.encode(), value.encode()) for name, value in headers)
    verdict = scheme.verify(
        replace(compact.request, body=pretty, headers=signed), Keys(secrets=compact.secrets), compact.now
    )
    assert isinstance(verdict, Proven)
    assert verdict.content == compact.body


def test_seal_id_stripped_gives_blanks_in_strings_no_say_in_the_dedupe_key() -> None:
    """In this mode `Anna Maria` and `AnnaMaria` share a signature, so nothing that is kept apart may be made of them."""
    scheme = catalogue.provider("seal_id").bind({"mode": "stripped"})
    known = next(one for one in accepted_of("seal_id") if one.id == "SL-R6-stripped")
    contents = set()
    for body in (known.body, known.body.replace(b" ", b""), known.body.replace(b" ", b"\t\n")):
        verdict = scheme.verify(replace(known.request, body=body), Keys(secrets=known.secrets), known.now)
        assert isinstance(verdict, Proven)
        contents.add(verdict.content)
    assert len(contents) == 1


def test_known_bodies_are_the_known_bytes() -> None:
    digests = {one.id: hashlib.sha256(one.body).hexdigest() for id in ("zignsec", "seal_id") for one in accepted_of(id)}
    assert digests["ZS-1"] == "a8a797d780ea1104c270e45ded54c94dade449c1cb71c3b21f7f1132d22f3918"
    assert len(next(one for one in accepted_of("seal_id") if one.id == "SL-1").body) == 419


# --- the trial itself can find something


def test_trial_finds_a_wrong_column_at_once() -> None:
    right = catalogue.provider("idenfy")
    wrong = replace(right, scheme_table={**right.scheme_table, "encoding": "hex_upper"})
    failures = trial(wrong, vectors_of("idenfy"))
    assert Failure("ID-1", "as written", ACCEPT, "signature_mismatch") in failures
    assert Failure("ID-N-uppercase-hex", "as written", "signature_mismatch", ACCEPT) in failures


def test_trial_finds_a_body_that_is_not_signed() -> None:
    scheme = catalogue.provider("standard_webhooks").bind({})
    entry = catalogue.provider("standard_webhooks")
    table = {**entry.scheme_table, "signed": "{id}.{timestamp}"}
    known = accepted_of("standard_webhooks")[0]
    loose = replace(entry, scheme_table=table).bind({})
    headers = loose.sign(known.request, SigningKeys(secret=known.secrets[0], id="msg_1"), known.now)
    vector = replace(known, headers=tuple((name.encode(), value.encode()) for name, value in headers))
    failures = trial(replace(entry, scheme_table=table), Vectors(place="here", vectors=(vector,)))
    assert {failure.case for failure in failures} >= {"body byte 0 flipped", "body longer", "body cut"}
    assert scheme != loose


def test_trial_finds_a_tolerance_that_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from hookseal.schemes.keyed_hash import KeyedHash

    entry, known = catalogue.provider("standard_webhooks"), accepted_of("standard_webhooks")[0]
    monkeypatch.setattr(KeyedHash, "limited", lambda scheme, _: replace(scheme, tolerance_s=10**9))
    failures = trial(entry, Vectors(place="here", vectors=(known,)))
    assert Failure(known.id, "301 s old", "timestamp_stale", ACCEPT) in failures


def test_trial_compares_the_event_where_a_vector_names_one() -> None:
    known = replace(accepted_of("idenfy")[0], event={"type": "a", "subject": "b"})
    vectors = Vectors(place="here", vectors=(known,))
    failures = trial(catalogue.provider("idenfy"), vectors, lambda _, __: {"type": "a", "subject": "c"})
    assert failures == [Failure(known.id, "event.subject", "'b'", "'c'")]


def test_entry_without_an_accepting_vector_has_shown_nothing() -> None:
    assert trial(catalogue.provider("idenfy"), Vectors(place="here", vectors=())) != []


ACME = """
id      = "acme"
name    = "Acme Identity"
docs    = "https://docs.acme.example/webhooks/signing"
checked = 2026-11-21

[scheme]
kind           = "hmac"
header         = "acme-signature"
pairs          = ","
pair_timestamp = "t"
pair_signature = "v1"
signed         = "{timestamp}.{body}"
tolerance_s    = 300

[secret]
label = "Signing secret"
where = "Console → Webhooks → your endpoint → Reveal"

[event]
id      = "json:/id"
type    = "json:/type"
time    = "json:/created"
subject = "json:/data/user/id"

[event.types]
"user.created" = "account.changed"
"""
ACME_VECTORS = {
    "notes": {"Computed": "made by us from the documented recipe"},
    "vectors": [
        {
            "id": 1,
            "comment": "user created",
            "flags": ["Computed"],
            "now": 1760000000,
            "secrets": ["acme-test-secret"],
            "headers": [
                ["acme-signature", "t=1760000000,v1=a0e8f61152de54b807341fe9e7340ea5596f09678dc8646383a973c9f0490172"]
            ],
            "body": '{"id":"evt_1","type":"user.created","created":"2025-10-09T08:53:20Z","data":{"user":{"id":"u_7"}}}',
            "result": "accept",
            "event": {"id": "evt_1", "type": "account.changed", "subject": "u_7"},
        }
    ],
}


def test_operators_own_folder_is_tried_like_ours(tmp_path: Path) -> None:
    (tmp_path / "acme.toml").write_text(ACME, encoding="utf-8")
    (tmp_path / "acme.vectors.json").write_text(json.dumps(ACME_VECTORS), encoding="utf-8")
    assert trial_of_folder(tmp_path) == {"acme": []}
    (tmp_path / "acme.toml").write_text(ACME.replace("= 300", "= 200"), encoding="utf-8")
    assert trial_of_folder(tmp_path) == {"acme": []}
    (tmp_path / "acme.toml").write_text(ACME.replace('"{timestamp}.{body}"', '"{timestamp}{body}"'), encoding="utf-8")
    assert trial_of_folder(tmp_path)["acme"] == [Failure("1", "as written", ACCEPT, "signature_mismatch")]


def test_vectors_event_is_compared_by_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "acme.toml").write_text(ACME, encoding="utf-8")
    (tmp_path / "acme.vectors.json").write_text(json.dumps(ACME_VECTORS), encoding="utf-8")
    assert main(["providers", "--check", str(tmp_path)]) == 0
    (tmp_path / "acme.toml").write_text(ACME.replace("json:/id", "json:/type"), encoding="utf-8")
    assert main(["providers", "--check", str(tmp_path)]) == 1
    assert "event.id: expected 'evt_1', got 'user.created'" in " ".join(capsys.readouterr().out.split())


def test_folder_must_hold_providers_with_vectors(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="holds no provider"):
        trial_of_folder(tmp_path)
    (tmp_path / "acme.toml").write_text(ACME, encoding="utf-8")
    with pytest.raises(CatalogueError, match=r"acme\.toml: has no vectors"):
        trial_of_folder(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vectors": {}}, "must be an object with a list"),
        ({"vektors": []}, "vektors: is unknown"),
        ({"vectors": [{"id": "x", "result": "accepted"}]}, "result must be"),
        ({"vectors": [{"id": "x", "result": "accept"}]}, "lacks now"),
        ({"vectors": [{"id": "x", "result": "refuse", "now": 1, "reason": "bad"}]}, "wrong kind"),
        ({"vectors": [{"id": "x", "result": "refuse", "now": 1, "body_base64": "*"}]}, "wrong kind"),
        ({"vectors": [{"id": "x", "result": "refuse", "now": 1, "secret": "s"}]}, "is unknown"),
        ({"vectors": [{"id": "x", "result": "refuse", "now": 1}] * 2}, "stands twice"),
        ({"vectors": [], "key_set": {"keys": []}}, "no key that can check"),
    ],
)
def test_faulty_vectors_are_named(tmp_path: Path, change: dict[str, object], said: str) -> None:
    (tmp_path / "acme.toml").write_text(ACME, encoding="utf-8")
    (tmp_path / "acme.vectors.json").write_text(json.dumps({**ACME_VECTORS, **change}), encoding="utf-8")
    with pytest.raises(CatalogueError, match=said):
        trial_of_folder(tmp_path)


def test_vectors_that_are_no_json_are_named(tmp_path: Path) -> None:
    path = tmp_path / "acme.vectors.json"
    for junk in (b"", b"\xff", b"[" * 100_000):
        path.write_bytes(junk)
        with pytest.raises(CatalogueError, match=r"acme\.vectors\.json"):
            read_vectors(path)


def test_bankid_vectors_hold_the_handshake_tables_and_the_key_set() -> None:
    vectors = vectors_of("bankid_antifraud")
    assert {row["id"] for row in vectors.handshake_receiver} >= {"HR-ok", "HR-no-auth", "HR-foreign", "HR-crlf"}
    assert len(vectors.handshake_sender) == 21
    assert vectors.key_set is not None
    assert set(parse(vectors.key_set)) == {"test-key-1"}


def test_no_leeway_refuses_the_token_that_lives_on_it() -> None:
    vectors = vectors_of("bankid_antifraud")
    late = next(one for one in vectors.vectors if one.id == "JW-exp-leeway")
    scheme = replace(catalogue.provider("bankid_antifraud").bind(late.options), leeway_s=0)  # type: ignore[type-var]
    assert vectors.key_set is not None
    verdict = scheme.verify(late.request, Keys(key_set=parse(vectors.key_set)), late.now)
    assert not isinstance(verdict, Proven)


def test_seal_ids_published_signature_is_a_raw_digest() -> None:
    """The FAQ's own sample, whose secret nobody published: 64 bytes, neither text nor hex."""
    published = "ZAnC8ytlYUn3xUojxg6xVsFb1HHUIkM4cBOD4NJUcdk83DHWSAvHXLEnJiVZASQHAVjgTs+VuaQAaGKxGZvlIg=="
    known = next(one for one in accepted_of("seal_id") if one.id == "SL-1")
    ours = dict(catalogue.provider("seal_id").bind({}).sign(known.request, SigningKeys(secret=b"x"), known.now))
    assert len(base64.b64decode(published, validate=True)) == 64
    assert len(ours["ubiid-notification-signature"]) == len(published) == 88
