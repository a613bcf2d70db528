"""Elements, scales and axes of small SVG drawings that take their colours from the page.

Nothing here names a colour: elements carry classes, and the style sheet knows both themes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup, escape

TEXT_WIDTH = 7.0  # of an average character at the font size of the drawings


def tag(name: str, *children: Any, **attributes: Any) -> Markup:
    """Return an element; children and attribute values are escaped unless they are Markup.

    Attribute names lose a trailing underscore (``class_``) and get hyphens for the others.
    """
    parts = [
        f' {key.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    ]
    inner = Markup("").join(children)
    return Markup(f"<{name}{''.join(parts)}>{inner}</{name}>")


def picture(width: float, height: float, title: str, *children: Any, class_: str = "") -> Markup:
    """Return the ``<svg>`` with its alternative text."""
    return tag(
        "svg",
        *children,
        class_=f"chart {class_}".strip(),
        viewBox=f"0 0 {_plain(width)} {_plain(height)}",
        role="img",
        aria_label=title,
        style=f"max-width:{_plain(width * 1.25)}px",
    )


def path_of(points: Iterable[tuple[float, float]]) -> str:
    """Return the ``d`` of a line through points."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers within [low, high], at about ``count`` of them."""
    if high <= low:
        return [low]
    raw = (high - low) / count
    unit = 10.0 ** np.floor(np.log10(raw))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw * 0.999)
    first = np.ceil(low / step - 1e-9)
    last = np.floor(high / step + 1e-9)
    return [float(round(step * k, 12)) + 0.0 for k in np.arange(first, last + 1)]  # no -0


@dataclass(frozen=True)
class Axes:
    """A rectangle with two linear scales: data (x, y) in ``x_range`` and ``y_range``."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    width: float = 440
    height: float = 270
    left: float = 52
    right: float = 24
    top: float = 12
    bottom: float = 42

    def x(self, value: float) -> float:
        """Return the horizontal place of a value."""
        low, high = self.x_range
        share = (value - low) / ((high - low) or 1.0)
        return self.left + share * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        """Return the vertical place of a value; larger is higher."""
        low, high = self.y_range
        share = (value - low) / ((high - low) or 1.0)
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)

    def grid(
        self,
        x_ticks: Sequence[tuple[float, str]],
        y_ticks: Sequence[tuple[float, str]],
        x_label: str,
        y_label: str,
    ) -> Markup:
        """Return grid lines, tick labels and axis labels (y: or none); ticks are (place, text)."""
        floor, right = self.height - self.bottom, self.width - self.right
        parts = []
        for value, text in y_ticks:
            y = self.y(value)
            parts.append(tag("line", class_="grid", x1=self.left, x2=right, y1=y, y2=y))
            parts.append(tag("text", text, class_="tick end", x=self.left - 7, y=y + 4))
        for value, text in x_ticks:
            parts.append(tag("text", text, class_="tick middle", x=self.x(value), y=floor + 17))
        parts.append(tag("line", class_="axis", x1=self.left, x2=right, y1=floor, y2=floor))
        across, down = (self.left + right) / 2, (self.top + floor) / 2
        parts.append(tag("text", x_label, class_="label middle", x=across, y=self.height - 5))
        if y_label:
            turned = f"rotate(-90 12 {_plain(down)})"
            parts.append(
                tag("text", y_label, class_="label middle", x=12, y=down, transform=turned)
            )
        return Markup("").join(parts)


def _plain(value: Any) -> Any:
    """Return floats with one decimal at most."""
    if isinstance(value, (float, np.floating)):
        return f"{value:.1f}".removesuffix(".0")
    return value
