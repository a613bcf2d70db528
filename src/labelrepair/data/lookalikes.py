"""Names that people would take for one another: invisible characters and look-alike letters."""

import re
import unicodedata
from collections.abc import Sequence

from labelrepair.errors import DataError, shown

# Letters of other scripts that are drawn like Latin ones (the common part of Unicode's UTS 39).
_TWINS = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0455\u0458\u0501\u04bb\u051b\u051d"
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0423\u0406\u0405\u0408"
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bf"
    "\u03bd\u0131\u2010\u2011\u2013\u2212",
    "aeopcyxisjdhqw" + "ABEKMHOPCTXYISJ" + "ABEZHIKMNOPTYXo" + "vi----",
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_JOINERS = "\u200c\u200d"  # Persian, Indic scripts and emoji need them


def check_names(names: Sequence[str], what: str, where: str) -> None:
    """Refuse names that are no text, or hold invisible characters, and two that look the same.

    ASCII names cost two looks at their joined text; only others are looked at one by one.

    Args:
        names: distinct texts.
        what: what they are ("sample id"), for messages.
        where: the source, to begin messages with.

    Raises:
        DataError: naming the character by its code point, or both names.
    """
    joined = "".join(names)
    if joined.isascii() and not _CONTROL.search(joined):
        return
    odd = [name for name in names if not name.isascii() or _CONTROL.search(name)]
    for name in odd:
        for letter in name:
            if unicodedata.category(letter) == "Cs":  # half a character: no file takes it
                raise DataError(f"{where}: {what} {shown(name)!a} is not valid UTF-8 text")
            if unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp") and letter not in _JOINERS:
                found = f"U+{ord(letter):04X}"
                raise DataError(
                    f"{where}: {what} {shown(name)!a} holds the invisible character {found}; "
                    "remove it"
                )
    seen = {name: name for name in names if name.isascii()}
    for name in odd:
        other = seen.setdefault(skeleton(name), name)
        if other != name:
            raise DataError(
                f"{where}: {what} '{shown(name)}' ({shown(name)!a}) looks like '{shown(other)}' "
                f"({shown(other)!a}); make them one, or rename one of them"
            )


def skeleton(name: str) -> str:
    """Return what two names share that look the same (NFKC, look-alike letters, joiners left out).

    An ASCII name is its own skeleton.
    """
    plain = unicodedata.normalize("NFKC", name).translate(_TWINS)
    return "".join(letter for letter in plain if letter not in _JOINERS)
