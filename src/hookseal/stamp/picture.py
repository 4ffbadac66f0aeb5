"""The image behind the text: from a PNG or JPEG file of anybody's to pixels that are safe to put into a PDF.

Its size is judged from its head, before a pixel is decoded: some hundred bytes can claim to be gigabytes.
"""

from io import BytesIO

from PIL import Image, ImageOps

from hookseal.errors import Invalid

MAX_PIXELS = 16_000_000
"""A photograph of a signature has 12 million; decoded, 16 million are 64 MB."""
MAX_BYTES = 2 * 1024 * 1024
PIXELS_PER_POINT = 4.0
"""288 per inch: what is finer than that is not seen in print, and would only swell the document."""

_PLACE = "/image"


def picture(file: bytes, width: float, height: float) -> Image.Image:
    """The image in mode RGB or RGBA, upright, no larger than a box of these points needs. Invalid for all else."""
    if len(file) > MAX_BYTES:
        raise Invalid(_PLACE, f"is larger than {MAX_BYTES} bytes")
    try:
        with Image.open(BytesIO(file), formats=("PNG", "JPEG")) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise Invalid(_PLACE, f"has more than {MAX_PIXELS} pixels")
            upright = ImageOps.exif_transpose(opened)
            made = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    except (Invalid, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise SyntaxError, struct.error, zlib.error and more on broken files
        raise Invalid(_PLACE, "is not a PNG or JPEG that can be read") from error
    made.thumbnail((max(1, round(width * PIXELS_PER_POINT)), max(1, round(height * PIXELS_PER_POINT))))
    return made
