import threading

import pytest
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from hookseal import sealing
from hookseal.errors import SealBroken
from hookseal.sealing import Keyring, Sealer

OLD = Keyring((("k1", bytes(range(32))),))
ROTATED = Keyring((("k2", bytes(range(32, 64))), ("k1", bytes(range(32)))))
LABEL = "request|0199"


@given(st.binary(max_size=4096))
def test_what_was_sealed_opens_to_the_same_bytes(plain: bytes) -> None:
    assert Sealer(OLD).unseal(Sealer(OLD).seal(plain, LABEL), LABEL) == plain


def test_a_large_value_opens_again() -> None:
    plain = bytes(16 * 1024 * 1024)
    assert Sealer(OLD).unseal(Sealer(OLD).seal(plain, LABEL), LABEL) == plain


def test_a_sealed_value_shows_nothing_of_the_plain_one() -> None:
    plain = b"4711-very-personal"
    sealed = Sealer(OLD).seal(plain, LABEL)
    assert plain not in sealed
    assert zstandard.compress(plain) not in sealed


def test_the_same_value_is_never_sealed_alike() -> None:
    sealer = Sealer(OLD)
    assert len({sealer.seal(b"same", LABEL) for _ in range(100)}) == 100


def test_sealing_adds_what_the_docstring_says() -> None:
    plain = b"x" * 1000
    sealed = Sealer(OLD).seal(plain, LABEL)
    assert len(sealed) == len(zstandard.compress(plain)) + 90 + len("k1")


def test_every_altered_byte_breaks_the_seal() -> None:
    sealer = Sealer(OLD)
    sealed = sealer.seal(b"a body of some length, so that there is something to alter", LABEL)
    for index in range(len(sealed)):
        for bit in (0x01, 0x80):
            altered = sealed[:index] + bytes((sealed[index] ^ bit,)) + sealed[index + 1 :]
            with pytest.raises(SealBroken):
                sealer.unseal(altered, LABEL)


def test_every_cut_value_breaks_the_seal() -> None:
    sealer = Sealer(OLD)
    sealed = sealer.seal(b"a body", LABEL)
    for length in range(len(sealed)):
        with pytest.raises(SealBroken):
            sealer.unseal(sealed[:length], LABEL)
    with pytest.raises(SealBroken):
        sealer.unseal(sealed + b"\0", LABEL)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_seal_broken(junk: bytes) -> None:
    for start in (b"", b"\x01\x02k1"):
        with pytest.raises(SealBroken):
            Sealer(OLD).unseal(start + junk, LABEL)


@pytest.mark.parametrize("other", ["", "request|0198", "refusal|0199", "request|0199 "])
def test_a_value_does_not_open_in_the_place_of_another(other: str) -> None:
    with pytest.raises(SealBroken):
        Sealer(OLD).unseal(Sealer(OLD).seal(b"a body", LABEL), other)


def test_a_wrapped_key_does_not_fit_the_body_of_another_value() -> None:
    sealer = Sealer(OLD)
    one, two = sealer.seal(b"one", LABEL), sealer.seal(b"two", LABEL)
    wrapped = 4 + 60
    with pytest.raises(SealBroken):
        sealer.unseal(one[:wrapped] + two[wrapped:], LABEL)


def test_after_rotation_old_values_open_and_new_ones_use_the_new_key() -> None:
    old = Sealer(OLD).seal(b"sealed before", LABEL)
    rotated = Sealer(ROTATED)
    assert rotated.unseal(old, LABEL) == b"sealed before"
    assert rotated.seal(b"sealed after", LABEL)[2:4] == b"k2"
    with pytest.raises(SealBroken):
        Sealer(OLD).unseal(rotated.seal(b"sealed after", LABEL), LABEL)


def test_another_key_under_the_same_id_opens_nothing() -> None:
    other = Sealer(Keyring((("k1", bytes(32)),)))
    with pytest.raises(SealBroken):
        other.unseal(Sealer(OLD).seal(b"a body", LABEL), LABEL)


def test_a_value_that_claims_to_expand_beyond_all_bounds_is_not_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "_MAX_PLAIN_BYTES", 1000)
    sealer = Sealer(OLD)
    assert sealer.unseal(sealer.seal(bytes(1000), LABEL), LABEL) == bytes(1000)
    with pytest.raises(SealBroken):
        sealer.unseal(sealer.seal(bytes(1001), LABEL), LABEL)


def test_one_sealer_serves_many_threads() -> None:
    sealer = Sealer(OLD)
    wrong: list[bytes] = []

    def work(number: int) -> None:
        for turn in range(200):
            plain = f"{number}:{turn}".encode() * 20
            if sealer.unseal(sealer.seal(plain, LABEL), LABEL) != plain:
                wrong.append(plain)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_format_stands_still() -> None:
    """A value made by hand from the words of the module head opens: stores of yesterday can be read tomorrow."""
    kek, dek = bytes(range(32)), bytes(range(100, 132))
    wrap_nonce, nonce = b"w" * 12, b"n" * 12
    wrapped = AESGCM(kek).encrypt(wrap_nonce, dek, b"dek|v1|k1|" + LABEL.encode())
    body = AESGCM(dek).encrypt(nonce, zstandard.compress(b"a body of yesterday"), b"val|v1|" + LABEL.encode())
    assert Sealer(OLD).unseal(b"\x01\x02k1" + wrap_nonce + wrapped + nonce + body, LABEL) == b"a body of yesterday"


def test_a_keyring_file_is_read_as_it_is_written() -> None:
    assert Keyring.parse(ROTATED.dump()) == ROTATED
    assert Keyring.parse("# the active key first\n\n" + OLD.dump().replace("\n", "  # since May\n")) == OLD


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing",
        "k1",
        "k1:",
        "k1:AAAA",
        "k1:!!!!",
        f"k1:{'A' * 43}=\nk1:{'A' * 43}=",
        f"k 1:{'A' * 43}=",
        f"{'k' * 33}:{'A' * 43}=",
    ],
)
def test_a_broken_keyring_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError) as refusal:
        Keyring.parse(text)
    assert "AAAA" not in str(refusal.value)


def test_a_keyring_hides_its_keys_when_shown() -> None:
    assert repr(ROTATED) == "Keyring(k2, k1)"


def test_fingerprints_tell_keys_apart_and_stay() -> None:
    assert OLD.fingerprint("k1") == ROTATED.fingerprint("k1") != ROTATED.fingerprint("k2")
    assert len(OLD.fingerprint("k1")) == 32
