"""What is printed for people."""

import sys

from rich.console import Console


def terminal(width: int | None = None) -> Console:
    """Return a console that prints names as they are: no markup, no emoji, no colours of its own.

    A terminal that cannot show a character (one set to ASCII, say) gets its number, no error.

    Args:
        width: columns; None = the terminal's.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True, width=width)
