"""How a visual signature looks: the drawing itself, as a form of a PDF, the same on a page and in a signature field.

    the image, if any      fitted into the box, in the middle, first in the content: it lies under the text
    the name, if any       semi-bold, the larger line, in the middle
    the time               regular, in the middle, always

The text is as large as the box allows and never leaves it. Glyphs are embedded as subsets with a map back to Unicode,
so that names beyond ASCII are shown, searched and copied everywhere.
"""

from dataclasses import dataclass, field
from io import BytesIO

from PIL import Image
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.content import ResourceType
from pyhanko.pdf_utils.font.opentype import GlyphAccumulator
from pyhanko.pdf_utils.images import pil_image
from pyhanko.pdf_utils.layout import BoxConstraints
from pyhanko.pdf_utils.writer import BasePdfFileWriter
from pyhanko.stamp.base import BaseStamp, BaseStampStyle

from hookseal.errors import Invalid
from hookseal.stamp.fonts import Fonts, open_sans

MAX_FONT_POINTS, MIN_FONT_POINTS = 14.0, 4.0

_TIME_TO_NAME = 0.72
"""How large the time is beside the name."""
_LEADING = 1.3
"""From one baseline to the next, in sizes of the lower line."""
_ASCENT, _DESCENT = 0.78, 0.24
"""Of Open Sans, in em, accents of capitals apart; they may rise into the padding."""
_INK, _FAINT = (0.09, 0.12, 0.20), (0.27, 0.31, 0.39)
"""Dark enough to stay readable on most images (and 7:1 against white)."""


@dataclass(frozen=True)
class Style(BaseStampStyle):
    """What is drawn, in the shape in which pyHanko asks for the appearance of a signature field.

    width, height  of the box as it is read, in points.
    turned         degrees that the page is turned clockwise when shown; the drawing is turned back.
    """

    width: float = 0.0
    height: float = 0.0
    turned: int = 0
    time: str = ""
    name: str | None = None
    image: Image.Image | None = None
    fonts: Fonts = field(default_factory=open_sans)

    def create_stamp(self, writer: BasePdfFileWriter, box: BoxConstraints, text_params: object) -> "Drawing":
        return Drawing(writer, self)


class Drawing(BaseStamp):
    """Total for a style whose texts the fonts can show; Invalid at `/box` when the text would be too small to read."""

    def __init__(self, writer: BasePdfFileWriter, style: Style) -> None:
        super().__init__(writer, style)
        self._style = style
        self._file = writer

    def as_form_xobject(self) -> generic.StreamObject:
        style = self._style
        content = self.render()
        form = {
            generic.pdf_name("/Type"): generic.pdf_name("/XObject"),
            generic.pdf_name("/Subtype"): generic.pdf_name("/Form"),
            generic.pdf_name("/BBox"): _numbers(0, 0, style.width, style.height),
            generic.pdf_name("/Matrix"): _numbers(*_upright(style.turned, style.width, style.height)),
            generic.pdf_name("/Resources"): self.resources.as_pdf_object(),
        }
        made = generic.StreamObject(form, stream_data=content)
        made.compress()
        return made

    def render(self) -> bytes:
        style = self._style
        parts = [b"q"]
        if style.image is not None:
            parts.append(self._image(style.image))
        parts += self._text()
        parts.append(b"Q")
        return b"\n".join(parts)

    def _image(self, image: Image.Image) -> bytes:
        """Fitted into the box with its own proportions, in the middle."""
        style = self._style
        scale = min(style.width / image.width, style.height / image.height)
        width, height = image.width * scale, image.height * scale
        self.set_resource(ResourceType.XOBJECT, generic.pdf_name("/Image"), pil_image(image, self._file))
        left, bottom = (style.width - width) / 2, (style.height - height) / 2
        return b"q %.3f 0 0 %.3f %.3f %.3f cm /Image Do Q" % (width, height, left, bottom)

    def _text(self) -> list[bytes]:
        style = self._style
        lines = [_Line(self._file, style.time, style.fonts.time, 1.0, _INK, "/Time", "/timestamp")]
        if style.name is not None:
            lines = [
                _Line(self._file, style.name, style.fonts.name, 1.0, _INK, "/Name", "/signer/name"),
                _Line(self._file, style.time, style.fonts.time, _TIME_TO_NAME, _FAINT, "/Time", "/timestamp"),
            ]
        for line in lines:
            self.set_resource(ResourceType.FONT, generic.pdf_name(line.font), line.glyphs.as_resource())
        padding = min(4.0, style.height * 0.1)
        depth = lines[0].size * _ASCENT + sum(line.size * _LEADING for line in lines[1:]) + lines[-1].size * _DESCENT
        size = min(
            MAX_FONT_POINTS,
            (style.height - 2 * padding) / depth,
            *((style.width - 2 * padding) / (line.width * line.size) for line in lines),
        )
        if size * lines[-1].size < MIN_FONT_POINTS:
            raise Invalid("/box", "is too small for the text")
        made = []
        baseline = style.height / 2 + depth * size / 2 - lines[0].size * _ASCENT * size
        for number, line in enumerate(lines):
            if number:
                baseline -= line.size * _LEADING * size
            left = (style.width - line.width * line.size * size) / 2
            made.append(
                b"BT %.3f %.3f %.3f rg %s %.3f Tf %.3f %.3f Td %s ET"
                % (*line.colour, line.font.encode(), line.size * size, left, baseline, line.operators)
            )
        return made


class _Line:
    """One line, shaped. size: relative to the first line's. width: in em."""

    def __init__(
        self,
        writer: BasePdfFileWriter,
        text: str,
        file: bytes,
        size: float,
        colour: tuple[float, float, float],
        font: str,
        place: str,
    ) -> None:
        try:
            # The size that it asks for moves accents that are placed apart, which a text in NFC hardly has.
            self.glyphs = GlyphAccumulator(writer, BytesIO(file), 10)
            known = self.glyphs.tt.getBestCmap()
            if all(ord(one) in known for one in text):
                shaped = self.glyphs.shape(text)
                self.operators, self.width = shaped.graphics_ops, shaped.x_advance
            else:
                self.operators = b""
        except (Invalid, MemoryError):
            raise
        except Exception as error:  # fontTools and HarfBuzz raise whatever a broken table leads them to
            raise Invalid("/font", "is not a TrueType or OpenType font that can be used") from error
        if not self.operators:
            raise Invalid(place, "has a character that the font does not have")
        self.size, self.colour, self.font = size, colour, font


def _upright(turned: int, width: float, height: float) -> tuple[float, float, float, float, float, float]:
    """The matrix that turns the drawing against the page, its lower left corner at the origin of the page's axes."""
    return {
        0: (1, 0, 0, 1, 0, 0),
        90: (0, 1, -1, 0, height, 0),
        180: (-1, 0, 0, -1, width, height),
        270: (0, -1, 1, 0, 0, width),
    }[turned]


def _numbers(*values: float) -> generic.ArrayObject:
    return generic.ArrayObject([generic.FloatObject(f"{value:.3f}") for value in values])
