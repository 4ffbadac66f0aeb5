"""PDFs, images, keys and a renderer for the tests of visual signatures. Shared by `test_stamp_*.py` and the API's."""

import datetime as dt
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pypdfium2 as pdfium
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from PIL import Image
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.pdf_utils.writer import PageObject, PdfFileWriter

from hookseal.clock import parse_rfc3339
from hookseal.stamp.element import VisualSignature, box_of, zone_of

WIDTH, HEIGHT = 420, 300
BOX = (40.0, 60.0, 280.0, 120.0)
RED, GREY = (220, 40, 40), (230, 230, 230)


def a_pdf(
    pages: int = 1,
    *,
    rotate: int = 0,
    crop: Sequence[float] | None = None,
    streams: bool = False,
    drawn: bytes | None = None,
    without: Sequence[str] = (),
) -> bytes:
    """Return a PDF with pages of 420 by 300 points, each with a grey bar at the top and its number as text.

    without  Keys that the pages lack, such as `/Contents`.
    """
    writer = PdfFileWriter(stream_xrefs=streams)
    font = generic.DictionaryObject(
        {
            generic.pdf_name("/Type"): generic.pdf_name("/Font"),
            generic.pdf_name("/Subtype"): generic.pdf_name("/Type1"),
            generic.pdf_name("/BaseFont"): generic.pdf_name("/Helvetica"),
        }
    )
    for number in range(1, pages + 1):
        text = b"0.9 g 20 260 380 20 re f 0 g BT /F1 12 Tf 30 265 Td (page %d) Tj ET" % number
        page = PageObject(
            contents=writer.add_object(generic.StreamObject(stream_data=text if drawn is None else drawn)),
            media_box=_numbers(0, 0, WIDTH, HEIGHT),
            resources=generic.DictionaryObject(
                {generic.pdf_name("/Font"): generic.DictionaryObject({generic.pdf_name("/F1"): font})}
            ),
        )
        if rotate:
            page["/Rotate"] = generic.NumberObject(rotate)
        if crop is not None:
            page["/CropBox"] = _numbers(*crop)
        for key in without:
            del page[key]
        writer.insert_page(page)
    made = io.BytesIO()
    writer.write(made)
    return made.getvalue()


def with_shared_content(document: bytes) -> bytes:
    """Return the document with one array of content streams, to which all of its pages refer."""
    writer = IncrementalPdfFileWriter(io.BytesIO(document))
    shared: Any = None
    for number in range(int(writer.root["/Pages"]["/Count"])):
        reference, _ = writer.find_page_for_modification(number)
        page = reference.get_object()
        if shared is None:
            shared = writer.add_object(generic.ArrayObject([page.raw_get("/Contents")]))
        page["/Contents"] = shared
        writer.mark_update(reference)
    made = io.BytesIO()
    writer.write(made)
    return made.getvalue()


def an_encrypted_pdf(password: str) -> bytes:
    from pyhanko.pdf_utils.writer import copy_into_new_writer

    writer = copy_into_new_writer(PdfFileReader(io.BytesIO(a_pdf())))
    writer.encrypt(password, password)
    made = io.BytesIO()
    writer.write(made)
    return made.getvalue()


def an_image(width: int = 120, height: int = 60, kind: str = "PNG", colour: Any = RED, mode: str = "RGB") -> bytes:
    made = io.BytesIO()
    Image.new(mode, (width, height), colour).save(made, kind)
    return made.getvalue()


def shown(
    at: str = "2022-11-15T09:09:14Z",
    zone: str = "UTC",
    box: tuple[float, float, float, float] = BOX,
    **more: Any,
) -> VisualSignature:
    return VisualSignature(at=parse_rfc3339(at), zone=zone_of(zone), box=box_of(*box), **more)


@dataclass(frozen=True)
class Page:
    """One page as a reader sees it. text: lines. pixels: RGB at two pixels a point."""

    text: list[str]
    pixels: Image.Image

    def at(self, x: float, y: float) -> tuple[int, ...]:
        """The colour at a place, in points from the lower left corner."""
        pixel = self.pixels.getpixel((round(x * 2), self.pixels.height - 1 - round(y * 2)))
        assert isinstance(pixel, tuple)
        return pixel

    def ink(self, box: tuple[float, float, float, float], of: Any) -> int:
        """How many pixels in a box are as `of` says."""
        left, bottom, right, top = box
        high = self.pixels.height
        part = self.pixels.crop((round(left * 2), high - round(top * 2), round(right * 2), high - round(bottom * 2)))
        return sum(count for count, colour in part.getcolors(1 << 20) or () if of(colour))


def seen(document: bytes, page: int = 0) -> Page:
    """Rendered by PDFium, which knows nothing of the library that wrote it."""
    opened = pdfium.PdfDocument(document)
    try:
        opened.init_forms()  # or signature fields are not drawn
        one = opened[page]
        drawn = one.render(scale=2, may_draw_forms=True).to_pil().convert("RGB")
        return Page(text=one.get_textpage().get_text_range().split("\r\n"), pixels=drawn)
    finally:
        opened.close()


def content_of_mark(document: bytes, page: int = 0) -> bytes:
    """The operators of the drawing on a page, from the file itself."""
    found = PdfFileReader(io.BytesIO(document)).find_page_for_modification(page)[0].get_object()
    marks = [form for name, form in found["/Resources"]["/XObject"].items() if name.startswith("/HooksealMark")]
    data: bytes = marks[-1].get_object().data
    return data


def dark(colour: tuple[int, ...]) -> bool:
    return sum(colour) < 250


def a_key(
    *, passphrase: bytes | None = None, valid: tuple[str, str] = ("2020-01-01", "2120-01-01")
) -> tuple[bytes, bytes]:
    """(private key, certificate) of a signer, PEM."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hookseal test signer")])
    starts, ends = (dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC) for day in valid)
    usage = dict.fromkeys(
        ("key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign"), False
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(7)
        .not_valid_before(starts)
        .not_valid_after(ends)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, content_commitment=True, encipher_only=False, decipher_only=False, **usage
            ),
            critical=True,
        )
        .sign(private, hashes.SHA256())
    )
    sealed: serialization.KeySerializationEncryption = (
        serialization.NoEncryption() if passphrase is None else serialization.BestAvailableEncryption(passphrase)
    )
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealed)
    return pem, certificate.public_bytes(serialization.Encoding.PEM)


def _numbers(*values: float) -> generic.ArrayObject:
    return generic.ArrayObject([generic.FloatObject(value) for value in values])
