"""Places a visual signature on a PDF, and signs it when a key is given. Bytes in, bytes out; no file, no network.

What is written is an incremental update: the given document stands unchanged at the start of the made one. Without a
key the drawing is added to the page's content. With a key it is the appearance of a new signature field, and the
signature is a PAdES baseline B-B one (ETSI EN 319 142-1) by pyHanko, which covers the document and the drawing.

A document may come from anybody. It is read under limits on what its streams may unpack to; encrypted ones are
refused, and so are signed ones when no key is given, for changing a page would break the signature that is there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from io import BytesIO
from typing import Any

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.decode_limits import DecodeLimits, DocumentDecodeBudget
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign.fields import SigFieldSpec, SigSeedSubFilter
from pyhanko.sign.signers.pdf_signer import PdfSignatureMetadata, PdfSigner, PdfSigningSession

from hookseal.clock import to_datetime
from hookseal.errors import HooksealError, Invalid
from hookseal.stamp.appearance import Drawing, Style
from hookseal.stamp.element import VisualSignature
from hookseal.stamp.fonts import of_file, open_sans
from hookseal.stamp.page import Spot, spot
from hookseal.stamp.picture import picture
from hookseal.stamp.signing import SigningKey

_UNPACKED = DocumentDecodeBudget(base_allowance=64 * 1024 * 1024, max_ratio=16)
"""What all streams that are read may unpack to: page contents and images are never unpacked, only the tables of the
file and the objects packed together."""
_MAX_FIELDS = 10_000


def place(
    document: bytes, shown: VisualSignature, *, key: SigningKey | None = None, font: bytes | None = None
) -> bytes:
    """The document with the visual signature on it.

    key   signs the document; the time that the signature claims is the key's, the time shown is that of `shown`.
    font  a TrueType or OpenType file for both lines, for names that Open Sans has no letters for.
    Raises Invalid with a JSON pointer: `/document`, `/page`, `/box`, `/image`, `/signer/name`, `/timestamp`, `/font`.
    """
    image = None if shown.image is None else picture(shown.image, shown.box.width, shown.box.height)
    fonts = open_sans() if font is None else of_file(font)
    with _of_anybody():
        writer = _opened(document, signs=key is not None)
        where = spot(writer, shown.page, shown.box)
        style = Style(
            width=shown.box.width,
            height=shown.box.height,
            turned=where.turned,
            time=shown.time_text,
            name=shown.name,
            image=image,
            fonts=fonts,
        )
        if key is None:
            return _drawn(writer, style, where)
        return _signed(writer, style, where, key)


@contextmanager
def _of_anybody() -> Iterator[None]:
    """pyHanko raises its own errors for files that it sees to be wrong, and KeyError, TypeError, RecursionError and
    others where a wrong file surprises it. To whoever gave the file all of them mean the same."""
    try:
        yield
    except (HooksealError, MemoryError):
        raise
    except Exception as error:
        raise Invalid("/document", "is not a PDF that can be read and added to") from error


def _opened(document: bytes, *, signs: bool) -> IncrementalPdfFileWriter:
    if b"%PDF-" not in document[:1024]:
        raise Invalid("/document", "is not a PDF")
    # Not strict: many writers break small rules, and readers show their files all the same.
    writer = IncrementalPdfFileWriter(
        BytesIO(document), strict=False, decode_limits=DecodeLimits(document_budget=_UNPACKED)
    )
    if writer.prev.encrypted or "/Encrypt" in writer.prev.trailer:
        raise Invalid("/document", "is encrypted; remove its protection first")
    if not signs and writer.prev.embedded_signatures:
        raise Invalid("/document", "is signed already, and a mark on its page would break that signature; sign it too")
    return writer


def _drawn(writer: IncrementalPdfFileWriter, style: Style, where: Spot) -> bytes:
    left, bottom, _, _ = where.rectangle
    drawing = Drawing(writer, style).register()
    name = f"/HooksealMark{drawing.idnum}"  # unlike that of a mark that the page has from an earlier run
    # What the page's own content does to the axes ends with its `Q`, and does not move the drawing.
    before = generic.StreamObject(stream_data=b"q\n")
    after = b"\nQ\nq 1 0 0 1 %.3f %.3f cm %s Do Q\n" % (left, bottom, name.encode())
    resources = generic.DictionaryObject(
        {generic.pdf_name("/XObject"): generic.DictionaryObject({generic.pdf_name(name): drawing})}
    )
    _begin_content(writer, where.index, before)
    writer.add_stream_to_page(where.index, writer.add_object(generic.StreamObject(stream_data=after)), resources)
    made = BytesIO()
    writer.write(made)
    return made.getvalue()


def _begin_content(writer: IncrementalPdfFileWriter, page: int, first: generic.StreamObject) -> None:
    """Give the page a content array of its own that begins with `first`.

    pyHanko's `add_stream_to_page` expects content, which an empty page lacks, and adds to an array that other pages may
    refer to as well.
    """
    reference, _ = writer.find_page_for_modification(page)
    found = reference.get_object()
    content: Any = found.raw_get("/Contents") if "/Contents" in found else generic.NullObject()
    direct = content.get_object()
    if isinstance(direct, generic.ArrayObject):
        streams = [direct.raw_get(number) for number in range(len(direct))]
    else:
        streams = [] if isinstance(direct, generic.NullObject) else [content]
    found["/Contents"] = writer.add_object(generic.ArrayObject([writer.add_object(first), *streams]))
    writer.mark_update(reference)


def _signed(writer: IncrementalPdfFileWriter, style: Style, where: Spot, key: SigningKey) -> bytes:
    name = _free_name(writer)
    signer = _Signer(
        PdfSignatureMetadata(field_name=name, md_algorithm="sha256", subfilter=SigSeedSubFilter.PADES),
        key.signer,
        stamp_style=style,
        new_field_spec=SigFieldSpec(name, on_page=where.index, box=where.rectangle),  # type: ignore[arg-type]
    )
    signer.at = to_datetime(key.at)
    made = BytesIO()
    signer.sign_pdf(writer, output=made)
    return made.getvalue()


class _Signer(PdfSigner):
    """Takes the time instead of asking for it; pyHanko's own would also tell the zone in which this machine stands."""

    at: datetime

    def init_signing_session(self, *arguments: Any, **named: Any) -> PdfSigningSession:
        session = super().init_signing_session(*arguments, **named)
        session.system_time = self.at
        return session


def _free_name(writer: IncrementalPdfFileWriter) -> str:
    """A name that no field of the document's form has."""
    try:
        fields = writer.root["/AcroForm"]["/Fields"]
    except KeyError:
        fields = ()
    taken = {str(one.get_object().get("/T")) for one in list(fields)[:_MAX_FIELDS]}
    return next(name for number in range(1, _MAX_FIELDS + 2) if (name := f"Signature{number}") not in taken)
