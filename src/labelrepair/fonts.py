"""Fonts of the pictures: matplotlib's own, and what the machine has for other scripts."""

import logging
from collections.abc import Iterable
from functools import cache
from pathlib import Path

logger = logging.getLogger(__name__)

FAMILY = "DejaVu Sans"  # comes with matplotlib: a server often has no fonts


@cache
def own_files() -> list[str]:
    """Return the files of :data:`FAMILY`, regular and bold."""
    import matplotlib  # noqa: PLC0415

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return [str(folder / f"DejaVuSans{kind}.ttf") for kind in ("", "-Bold")]


def missing(texts: Iterable[str]) -> set[str]:
    """Return the characters that :data:`FAMILY` cannot draw (Chinese, Japanese, Korean, emoji)."""
    used = set().union(*texts)
    return {c for c in used - _characters(own_files()[0]) if c.isprintable()}


def families(texts: Iterable[str]) -> list[str]:
    """Return the font families that matplotlib needs for some texts, :data:`FAMILY` first.

    Logs a warning where no font of this machine has some: a picture shows boxes in their place.
    """
    return _families(frozenset(missing(texts)))


@cache
def _families(wanted: frozenset[str]) -> list[str]:
    found, left = [FAMILY], set(wanted)
    if left:
        from matplotlib import font_manager  # noqa: PLC0415

        # Not the manager's own list: it may be older than a font that was installed for this.
        for file in sorted(font_manager.findSystemFonts()):
            if left & _characters(file):
                left -= _characters(file)
                font_manager.fontManager.addfont(file)
                found.append(font_manager.get_font(file).family_name)
    if left:
        logger.warning(
            "No font of this machine has %s: the plots show boxes in their place (the report page "
            "uses its reader's fonts). On Debian, fonts-noto-cjk has Chinese, Japanese and Korean",
            ", ".join(sorted(left)[:10]) + (" and others" if len(left) > 10 else ""),
        )
    return found


@cache
def _characters(file: str) -> frozenset[str]:
    from matplotlib.ft2font import FT2Font  # noqa: PLC0415

    try:
        return frozenset(map(chr, FT2Font(file).get_charmap()))
    except (OSError, RuntimeError):  # no font after all
        return frozenset()
