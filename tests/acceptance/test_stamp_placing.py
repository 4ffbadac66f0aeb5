"""A visual signature on a PDF: what is shown, where, over what; and the signature that may come with it.

Oracles: text and pixels as PDFium gives them; the operators of the file; pyHanko's validation of signatures.
"""

import io
import random
import zlib

import pytest
from pyhanko.pdf_utils.misc import PdfDecodeLimitError
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import SignatureCoverageLevel, validate_pdf_signature
from pyhanko_certvalidator import ValidationContext
from stamp_parts import (
    BOX,
    GREY,
    HEIGHT,
    RED,
    WIDTH,
    a_key,
    a_pdf,
    an_encrypted_pdf,
    an_image,
    content_of_mark,
    dark,
    seen,
    shown,
    with_shared_content,
)

from hookseal.clock import Instant, from_unix, parse_rfc3339
from hookseal.errors import ConfigurationError, Invalid
from hookseal.stamp.appearance import MAX_FONT_POINTS
from hookseal.stamp.element import VisualSignature
from hookseal.stamp.picture import MAX_PIXELS
from hookseal.stamp.placing import place
from hookseal.stamp.signing import signing_key

NOW: Instant = from_unix(1_763_712_000)
NAMES = [
    "Åse Öström-Šimić",
    "Łukasz Żółć",
    "Νίκος Παπαδόπουλος",
    "Оксана Їжак",
    "José Nuñez",
    "O'Brien fi ffl",
    "Nguyễn Thị",
]


def refused(document: bytes, pointer: str, **more: object) -> Invalid:
    with pytest.raises(Invalid) as caught:
        place(document, shown(**more))  # type: ignore[arg-type]
    assert caught.value.pointer == pointer
    return caught.value


# --- what is shown ----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("L19")
@pytest.mark.parametrize(
    ("at", "zone", "text"),
    [
        ("2022-11-15T09:09:14Z", "UTC", "15.11.2022, 09:09:14"),
        ("2022-11-05T21:04:03Z", "UTC", "05.11.2022, 21:04:03"),
        ("2022-11-15T09:09:14Z", "Europe/Oslo", "15.11.2022, 10:09:14"),
        ("2022-07-15T22:30:00Z", "Europe/Oslo", "16.07.2022, 00:30:00"),
    ],
)
def test_the_page_shows_the_time_in_the_zone_that_was_asked_for(at: str, zone: str, text: str) -> None:
    assert seen(place(a_pdf(), shown(at, zone))).text == ["page 1", text]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_read_from_the_page_as_it_was_given(name: str) -> None:
    page = seen(place(a_pdf(), shown(name=name)))
    assert page.text == ["page 1", name, "15.11.2022, 09:09:14"]
    assert page.ink(BOX, dark) > 500


def test_a_signer_without_a_name_leaves_the_time_alone() -> None:
    assert seen(place(a_pdf(), shown(name=None))).text == ["page 1", "15.11.2022, 09:09:14"]


@pytest.mark.parametrize("name", NAMES[:3])
def test_letters_stand_as_close_as_the_font_wants_them(name: str) -> None:
    """pyHanko writes widths in units of the font: unscaled, a line would be twice as long as it measures."""
    from fontTools.ttLib import TTFont

    from hookseal.stamp.fonts import open_sans

    font = TTFont(io.BytesIO(open_sans().name))
    widths, letters = font["hmtx"], font.getBestCmap()
    em = sum(widths[letters[ord(one)]][0] for one in name) / 1000
    box = (20.0, 60.0, 400.0, 120.0)
    page = seen(place(a_pdf(), shown(name=name, box=box)))
    inked = page.pixels.convert("L").point(lambda value: 255 * (value < 100)).crop((0, 360, 840, 424)).getbbox()
    assert inked is not None
    assert (inked[2] - inked[0]) / 2 / MAX_FONT_POINTS == pytest.approx(em, abs=0.4)


@pytest.mark.parametrize("name", ["王小明", "Имя 𓀀", "🙂"])
def test_a_name_that_the_font_has_no_letters_for_is_refused(name: str) -> None:
    refused(a_pdf(), "/signer/name", name=name)


def test_a_long_name_stays_in_its_box() -> None:
    name = "Maria Wilhelmina Antoinette von und zu Hohenstein-Österreich"
    page = seen(place(a_pdf(), shown(name=name)))
    around = page.ink((0, 0, WIDTH, 250), dark)
    assert page.ink(BOX, dark) == around > 500


def test_a_name_that_could_only_be_tiny_is_refused() -> None:
    refused(a_pdf(), "/box", name="x" * 200, box=(10, 10, 80, 30))


# --- the image --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_image_lies_under_the_text(kind: str) -> None:
    made = place(a_pdf(), shown(name="Lars Åkesson", image=an_image(400, 100, kind)))
    drawn = content_of_mark(made)
    assert drawn.count(b" Do") == 1
    assert drawn.index(b"/Image Do") < drawn.index(b"BT") < drawn.index(b"TJ")
    page = seen(made)
    assert page.ink(BOX, dark) > 500, "the text is covered"
    assert page.ink(BOX, lambda one: all(abs(a - b) < 12 for a, b in zip(one, RED, strict=True))) > 20_000


def test_text_and_image_are_in_the_middle_of_a_wide_box() -> None:
    """The text began at the left edge, beside an image in the middle, which is to lie behind it."""
    box = (20.0, 60.0, 400.0, 120.0)
    page = seen(place(a_pdf(), shown(name="Åse Öström", box=box)))
    left, right = (page.ink(half, dark) for half in ((20, 60, 210, 120), (210, 60, 400, 120)))
    assert page.ink((20, 60, 140, 120), dark) == page.ink((280, 60, 400, 120), dark) == 0
    assert 0.7 < left / right < 1.4
    imaged = seen(place(a_pdf(), shown(name="Åse Öström", box=box, image=an_image(120, 60))))
    assert imaged.ink((150, 60, 270, 120), dark) == imaged.ink(box, dark) > 200, "all of the text is on the image"


def test_an_image_keeps_its_shape_and_stands_in_the_middle() -> None:
    page = seen(place(a_pdf(), shown(image=an_image(60, 60), box=(40, 60, 280, 120))))
    assert page.at(160, 62) == page.at(160, 118) == RED
    assert page.at(120, 115) == page.at(200, 115) == (255, 255, 255)


def test_what_an_image_leaves_clear_shows_the_page() -> None:
    clear = an_image(120, 60, mode="RGBA", colour=(0, 0, 0, 0))
    assert seen(place(a_pdf(), shown(image=clear, box=(20, 255, 400, 285)))).at(390, 262) == GREY


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_png_can_be_shown(mode: str) -> None:
    made = place(a_pdf(), shown(image=an_image(mode=mode, colour=0)))
    assert seen(made).text[-1] == "15.11.2022, 09:09:14"


def test_a_picture_turned_by_its_camera_stands_upright() -> None:
    from PIL import Image

    tall = Image.new("RGB", (100, 200), RED)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    tall.save(file, "JPEG", exif=exif)
    page = seen(place(a_pdf(), shown(image=file.getvalue(), box=(40, 60, 280, 120))))
    assert page.at(110, 115)[0] > 180 > page.at(110, 115)[1], "it is 120 wide when upright"


def a_bomb(width: int, height: int) -> bytes:
    """A PNG of some hundred bytes that claims to be this large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "image",
    [
        b"",
        b"not an image",
        an_image()[:60],
        an_image(kind="GIF"),
        an_image(kind="BMP"),
        a_bomb(50_000, 50_000),
        a_bomb(1, MAX_PIXELS + 1),
        a_bomb(500, 500),
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='http://127.0.0.1/'/></svg>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ],
)
def test_an_image_that_is_none_or_too_much_is_refused(image: bytes) -> None:
    refused(a_pdf(), "/image", image=image)


def test_a_large_image_does_not_swell_the_document() -> None:
    from PIL import Image

    noise = Image.frombytes("L", (3000, 1500), random.Random(1).randbytes(4_500_000)).resize((3000, 1500))
    file = io.BytesIO()
    noise.save(file, "JPEG", quality=20)
    made = place(a_pdf(), shown(image=file.getvalue(), box=(40, 60, 140, 110)))
    assert len(made) < 600_000


# --- where ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("page", "index"), [(1, 0), (2, 1), (3, 2), (-1, 2), (-3, 0)])
def test_pages_count_from_one_and_from_the_end(page: int, index: int) -> None:
    made = place(a_pdf(3), shown(page=page))
    assert [len(seen(made, number).text) for number in range(3)] == [2 if number == index else 1 for number in range(3)]


@pytest.mark.parametrize("page", [0, 4, -4, 10**9])
def test_a_page_that_is_not_there_is_refused(page: int) -> None:
    refused(a_pdf(3), "/page", page=page)


@pytest.mark.parametrize("box", [(-20, 10, 100, 50), (10, 10, WIDTH + 20, 50), (10, 280, 100, HEIGHT + 20)])
def test_a_box_that_leaves_the_page_is_refused(box: tuple[float, float, float, float]) -> None:
    refused(a_pdf(), "/box", box=box)


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_on_a_turned_page_the_box_is_where_a_reader_sees_it(rotate: int) -> None:
    page = seen(place(a_pdf(rotate=rotate), shown(name="Åse", box=(40, 60, 160, 120), image=an_image(120, 60))))
    assert " ".join(page.text).endswith("Åse 15.11.2022, 09:09:14")
    assert page.at(42, 62) == page.at(158, 118) == RED
    assert page.at(38, 62) != RED
    assert page.at(162, 118) != RED
    upper, lower = page.ink((40, 92, 160, 118), dark), page.ink((40, 62, 160, 80), dark)
    assert upper > lower, "the name, the larger line, is above"


def test_on_a_cropped_page_the_box_counts_from_what_is_shown() -> None:
    page = seen(place(a_pdf(crop=(100, 50, 400, 250)), shown(box=(10, 10, 130, 70), image=an_image(120, 60))))
    assert page.pixels.size == (600, 400)
    assert page.at(12, 12) == RED


@pytest.mark.parametrize("streams", [False, True])
def test_two_visual_signatures_can_stand_on_one_page(streams: bool) -> None:
    once = place(a_pdf(streams=streams), shown(name="Ada"))
    made = place(once, shown(name="Grace", box=(40, 130, 280, 190)))
    assert sorted(seen(made).text) == sorted(["page 1", *["15.11.2022, 09:09:14"] * 2, "Ada", "Grace"])


def test_the_given_document_stands_unchanged_at_the_start_of_the_made_one() -> None:
    given = a_pdf()
    assert place(given, shown()).startswith(given)


def test_a_page_that_moves_its_axes_does_not_move_the_box() -> None:
    given = a_pdf(drawn=b"2 0 0 2 9 9 cm 0 0 1 1 re f")
    page = seen(place(given, shown(image=an_image(240, 60))))
    assert page.at(42, 62) == page.at(278, 118) == RED


@pytest.mark.parametrize("without", [("/Contents",), ("/Contents", "/Resources")])
@pytest.mark.parametrize("signs", [False, True])
def test_an_empty_page_can_be_marked(without: tuple[str, ...], signs: bool) -> None:
    """A page without content is legal (ISO 32000-1, 7.7.3.3, table 30)."""
    document, what = a_pdf(without=without), shown(name="Ada")
    page = seen(signed(document, what, a_key()) if signs else place(document, what))
    assert page.ink(BOX, dark) == page.ink((0, 0, WIDTH, HEIGHT), dark) > 300
    if signs:
        return  # the text of a signature field is not part of the page's text
    assert page.text[-2:] == ["Ada", "15.11.2022, 09:09:14"]


def test_pages_that_share_their_content_are_marked_one_by_one() -> None:
    """Pages may refer to one array of streams. Adding to that array marked all of them."""
    document = with_shared_content(a_pdf(2))
    made = place(document, shown(name="Ada", page=2))
    assert "Ada" not in seen(made, 0).text
    assert "Ada" in seen(made, 1).text


# --- documents of anybody ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"%PDF-1.7\n",
        b"not a PDF",
        a_pdf()[:200],
        a_pdf()[: len(a_pdf()) // 2],
        b"%PDF-1.7\nstartxref\n9\n%%EOF\n",
        b"%PDF-1.7\ntrailer\n<< /Root 1 0 R /Size 2 /Prev 9 >>\nstartxref\n9\n%%EOF\n",
        a_pdf().replace(b"/Kids", b"/Kinds"),
        a_pdf()
        .replace(b"/MediaBox", b"/MediaBax")
        .replace(b"/Type /Pages", b"/Type /Pagos")
        .replace(b"/Count", b"/Cnt"),
    ],
)
def test_a_document_that_cannot_be_read_is_refused(document: bytes) -> None:
    refused(document, "/document")


def test_an_encrypted_document_is_refused_and_said_to_be_so() -> None:
    for password in ("secret", ""):
        assert "encrypted" in refused(an_encrypted_pdf(password), "/document").problem


def looping(body: bytes) -> bytes:
    """A file whose object 2 is this."""
    objects = [b"1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n", b"2 0 obj\n" + body + b"\nendobj\n"]
    made, places = b"%PDF-1.7\n", []
    for one in objects:
        places.append(len(made))
        made += one
    start = len(made)
    rows = b"".join(b"%010d 00000 n \n" % at for at in places)
    made += b"xref\n0 3\n0000000000 65535 f \n" + rows
    return made + b"trailer\n<< /Size 3 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % start


@pytest.mark.parametrize(
    "body",
    [
        b"<< /Type /Pages /Count 1 /Kids [2 0 R] >>",
        b"<< /Type /Pages /Count 1 /Kids [2 0 R] /Parent 2 0 R >>",
        b"<< /Type /Pages /Count 999999999 /Kids [] >>",
        b"<< /Type /Pages /Count 1 /Kids [<< /Type /Page /Parent 2 0 R /MediaBox [0 0 420 (x)] >>] >>",
        b"2 0 R",
        b"[" * 5000 + b"]" * 5000,
    ],
)
def test_a_page_tree_that_leads_nowhere_is_refused(body: bytes) -> None:
    refused(looping(body), "/document")


def test_a_stream_that_unpacks_to_more_than_anybody_needs_is_refused() -> None:
    """A table of the file that has 80 KB and would be 80 MB."""
    packed = zlib.compress(bytes(80 * 1024 * 1024), 9)
    made = b"%%PDF-1.7\n1 0 obj\n<< /Type /XRef /Size 9 /W [1 4 1] /Root 2 0 R /Filter /FlateDecode /Length %d >>\nstream\n"
    made = made % len(packed) + packed + b"\nendstream\nendobj\nstartxref\n9\n%%EOF\n"
    assert isinstance(refused(made, "/document").__cause__, PdfDecodeLimitError)


@pytest.mark.parametrize("streams", [False, True])
def test_whatever_is_broken_in_a_document_the_answer_is_a_refusal_or_a_document(streams: bool) -> None:
    given, dice = a_pdf(2, streams=streams), random.Random(20221115)
    outcomes = set()
    for _ in range(250):
        broken = bytearray(given)
        for _ in range(dice.randint(1, 6)):
            broken[dice.randrange(len(broken))] = dice.choice(b"0123456789 <>[]()/R%\x00\xff")
        try:
            outcomes.add(place(bytes(broken), shown()).startswith(b""))
        except Invalid:
            outcomes.add(False)
    assert outcomes == {True, False}


# --- signed ----------------------------------------------------------------------------------------------------------


def signed(document: bytes, what: VisualSignature, key: tuple[bytes, bytes], passphrase: bytes | None = None) -> bytes:
    return place(document, what, key=signing_key(*key, passphrase, NOW))


def judged(document: bytes, certificate: bytes, number: int = 0):  # type: ignore[no-untyped-def]
    from pyhanko.keys import load_certs_from_pemder_data

    roots = list(load_certs_from_pemder_data(certificate))
    signature = PdfFileReader(io.BytesIO(document)).embedded_signatures[number]
    return signature, validate_pdf_signature(signature, ValidationContext(trust_roots=roots, allow_fetching=False))


def test_with_a_key_the_drawing_is_the_appearance_of_a_signature_that_validates() -> None:
    key = a_key()
    made = signed(a_pdf(2), shown(name="Åse Öström", image=an_image(400, 100), page=1), key)
    signature, status = judged(made, key[1])
    assert status.bottom_line
    assert status.intact
    assert status.coverage == SignatureCoverageLevel.ENTIRE_FILE
    assert signature.sig_object["/SubFilter"] == "/ETSI.CAdES.detached"
    assert parse_rfc3339(signature.self_reported_timestamp.isoformat()) == NOW
    page = seen(made)
    assert page.ink(BOX, dark) > 500
    assert page.ink(BOX, lambda one: all(abs(a - b) < 12 for a, b in zip(one, RED, strict=True))) > 20_000
    drawn = signature.sig_field["/AP"]["/N"].data
    assert drawn.index(b"/Image Do") < drawn.index(b"BT")


@pytest.mark.parametrize("rotate", [90, 270])
def test_a_signed_drawing_is_upright_on_a_turned_page(rotate: int) -> None:
    made = signed(a_pdf(rotate=rotate), shown(box=(40, 60, 160, 120), image=an_image(120, 60)), a_key())
    page = seen(made)
    assert page.at(42, 62) == page.at(158, 118) == RED


def test_a_changed_byte_breaks_the_signature() -> None:
    key = a_key()
    made = signed(a_pdf(), shown(name="Ada"), key)
    _, status = judged(made.replace(b"(page 1)", b"(page 7)"), key[1])
    assert not status.intact


def test_a_second_signature_leaves_the_first_one_valid() -> None:
    key = a_key()
    once = signed(a_pdf(), shown(name="Ada"), key)
    twice = signed(once, shown(name="Grace", box=(40, 130, 280, 190)), key)
    for number in (0, 1):
        signature, status = judged(twice, key[1], number)
        assert status.intact
        assert status.bottom_line, signature.field_name


def test_a_signed_document_is_not_marked_without_a_key() -> None:
    assert "signed" in refused(signed(a_pdf(), shown(), a_key()), "/document", box=(40, 130, 280, 190)).problem


@pytest.mark.parametrize(
    ("key", "certificate", "passphrase", "words"),
    [
        (a_key()[0], a_key()[1], None, "another key"),
        (*a_key(passphrase=b"right"), None, "passphrase"),
        (*a_key(passphrase=b"right"), b"wrong", "does not open"),
        (*a_key(), b"needless", "no passphrase"),
        (*a_key(valid=("2020-01-01", "2021-01-01")), None, "not valid now"),
        (*a_key(valid=("2119-01-01", "2120-01-01")), None, "not valid now"),
        (b"junk", a_key()[1], None, "does not open"),
        (a_key()[0], b"junk", None, "cannot be read"),
    ],
)
def test_a_key_that_would_make_no_good_signature_is_refused(
    key: bytes, certificate: bytes, passphrase: bytes | None, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        signing_key(key, certificate, passphrase, NOW)


def test_a_passphrase_opens_its_key() -> None:
    key = a_key(passphrase=b"right")
    _, status = judged(signed(a_pdf(), shown(), key, b"right"), key[1])
    assert status.bottom_line


def test_no_network_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def forbidden(*arguments: object, **named: object) -> None:
        raise AssertionError("the network was asked")

    key = signing_key(*a_key(), None, NOW)
    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    assert place(a_pdf(), shown(zone="Europe/Oslo", image=an_image()), key=key)


def test_an_own_font_is_used_and_a_broken_one_is_refused() -> None:
    from hookseal.stamp.fonts import open_sans

    assert seen(place(a_pdf(), shown(name="Ada"), font=open_sans().name)).text[1] == "Ada"
    for font in (b"", b"junk", open_sans().name[:5000]):
        with pytest.raises(Invalid) as caught:
            place(a_pdf(), shown(), font=font)
        assert caught.value.pointer == "/font"
