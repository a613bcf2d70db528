"""The page: one HTML file that needs nothing from outside."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from labelrepair.report.context import build_context
from labelrepair.report.spec import ReportSpec, Sources

TEMPLATES = Path(__file__).parent / "templates"
DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


def render(sources: Sources, spec: ReportSpec | None = None) -> str:
    """Return the report of one run as HTML.

    Names, ids and texts of the data are escaped; the page's security policy forbids every
    connection and every script but its own.

    Raises:
        DataError: a true label belongs to an unknown sample.
    """
    return render_context(build_context(sources, spec or ReportSpec()))


def render_context(context: Mapping[str, Any]) -> str:
    """Return the page for the variables of :func:`labelrepair.report.context.build_context`."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "number": number, "signed": signed}
    style, script = (
        (TEMPLATES / name).read_text("utf-8").strip() for name in ("report.css", "report.js")
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html.j2").render(
        **context,
        style=Markup(style),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
    )


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share in percent, a dash where there is none."""
    return DASH if share is None else f"{100 * share:.{digits}f} %"


def number(value: float | None) -> str:
    """Return a whole number with separators, a dash where there is none."""
    return DASH if value is None else f"{value:,.0f}"


def signed(share: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", MINUS)
