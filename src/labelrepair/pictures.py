"""The report's drawings as PNG: the same SVG, coloured by the page's own style sheet."""

import io
import re
from collections.abc import Mapping
from functools import cache

from PIL import Image

from labelrepair.fonts import FAMILY, missing, own_files
from labelrepair.report.render import TEMPLATES

ZOOM = 1.5  # pixels per unit of the drawing: 1,290 across; with 2 a report takes a second longer
_VARIABLE = re.compile(r"--([\w-]+): light-dark\((#\w+),")
_RULE = re.compile(r"(?<=[}\s])(\.(?:chart|flow) [^{:]+\{[^}]*\})")  # of what is inside a drawing
_TITLE = ".chart .title { font-size: 17px; font-weight: bold; }"


def png(svg: str) -> Image.Image:
    """Return a drawing of :func:`labelrepair.report.drawings.drawings` as a picture, light theme.

    Args:
        svg: a whole document.

    Raises:
        ValueError: it is no SVG.
    """
    import resvg_py  # noqa: PLC0415

    content = resvg_py.svg_to_bytes(
        svg_string=svg,
        style_sheet=style_sheet(),
        background=_variables()["card"],
        zoom=ZOOM,
        skip_system_fonts=not missing([svg]),  # reading them takes longer than drawing
        font_files=own_files(),
        font_family=FAMILY,
        sans_serif_family=FAMILY,
    )
    return Image.open(io.BytesIO(content))


def pngs(drawn: Mapping[str, str]) -> dict[str, Image.Image]:
    """Return :func:`png` of each drawing."""
    return {name: png(svg) for name, svg in drawn.items()}


@cache
def style_sheet() -> str:
    """Return the rules for drawings of the page's style sheet, with the light theme's colours."""
    colours = _variables()
    rules = "\n".join(_RULE.findall(_style()))
    # The renderer knows neither variables nor the reader's system font.
    plain = re.sub(r"var\(--([\w-]+)\)", lambda found: colours[found[1]], rules)
    return plain.replace("system-ui, sans-serif", f"'{FAMILY}'") + f"\n{_TITLE}"


@cache
def _variables() -> dict[str, str]:
    return dict(_VARIABLE.findall(_style()))


@cache
def _style() -> str:
    return (TEMPLATES / "report.css").read_text("utf-8")
