"""Everything that the page draws, as SVG files of their own: with title, legend and samples."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from labelrepair.report.galleries import Card, Gallery
from labelrepair.report.svg import TEXT_WIDTH, tag

WIDTH, HEAD, LINE = 860.0, 34.0, 16.0
CARD_WIDTH, CARD_GAP, COLUMNS = 136.0, 8.0, 6
SIDE = 96.0  # of a sample's picture
WORDS = 17  # characters in a line of a card


def drawings(context: Mapping[str, Any]) -> dict[str, Markup]:
    """Return the drawings of a page by name.

    Args:
        context: from :func:`labelrepair.report.context.build_context`.

    Returns:
        Whole SVG documents that name no colour but by the classes of ``report.css``.
    """
    actions = [(f"{a['text']}: {a['count']:,}", a["key"]) for a in context["actions"]]
    drawn = {
        "actions": _framed("What was done", _stack(context["actions"]), 40, actions),
        "flows": _framed("Given to repaired labels", *_drawing(context["flow_wide"]), actions),
    }
    for item in context["truth_flows"]:
        drawn[_name(item["title"])] = _framed(item["title"], *_drawing(item["svg"]), item["legend"])
    for item in (*context["evidence"], *context["training_charts"]):
        chart = item["chart"]
        drawn[_name(item["title"])] = _framed(item["title"], *_drawing(chart.svg), chart.legend)
    for gallery in context["galleries"]:
        if gallery.cards:
            drawn[f"gallery_{gallery.key}"] = _gallery(gallery)
    if context["ab"]:
        drawn["retraining"] = _intervals(context["ab"])
    return drawn


def _name(title: str) -> str:
    return "_".join("".join(c if c.isalnum() else " " for c in title.lower()).split())


def _document(height: float, *children: Markup) -> Markup:
    return tag(
        "svg",
        *children,
        xmlns="http://www.w3.org/2000/svg",
        class_="chart",
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        width=WIDTH,
        height=height,
    )


def _drawing(svg: Markup) -> tuple[Markup, float]:
    """Return an inline drawing placed below a title over the whole width, and its height."""
    text, known = str(svg), 'viewBox="0 0 '
    start = text.index(known) + len(known)
    width, height = map(float, text[start : text.index('"', start)].split())
    share = min(1.0, WIDTH / width) if width > WIDTH / 2 else WIDTH / 2 / width
    place = f'x="{(WIDTH - share * width) / 2:.1f}" y="{HEAD:g}"'
    size = f'width="{share * width:.1f}" height="{share * height:.1f}"'
    return Markup(text.replace("<svg ", f"<svg {place} {size} ", 1)), share * height


def _framed(title: str, inner: Markup, height: float, legend: Sequence[tuple[str, str]]) -> Markup:
    """Return a drawing with its title above and what its colours mean below."""
    parts = [tag("text", title, class_="title", x=16, y=22), inner]
    x, y = 16.0, HEAD + height + 22
    for name, style in legend if len(legend) > 1 else ():
        width = 30 + TEXT_WIDTH * len(name)
        if x + width > WIDTH:
            x, y = 16.0, y + LINE + 4
        parts.append(tag("rect", class_=f"fill {style}", x=x, y=y - 10, width=12, height=12))
        parts.append(tag("text", name, x=x + 18, y=y))
        x += width + 14
    return _document(y + 12, *parts)


def _stack(actions: Sequence[Mapping[str, Any]]) -> Markup:
    """Return the bar of what was done with all rows."""
    parts, x = [], 16.0
    for action in actions:
        width = action["share"] * (WIDTH - 32)
        parts.append(
            tag("rect", class_=f"fill {action['key']}", x=x, y=HEAD + 6, width=width, height=28)
        )
        x += width
    return Markup("").join(parts)


def _intervals(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Return the differences of the retraining with their intervals, around zero."""
    reach = max(0.001, *(abs(row[end]) for row in rows for end in ("low", "high")))
    middle, scale = 0.5 * WIDTH, 0.42 * WIDTH / reach
    floor = HEAD + 46.0 * len(rows) + 8
    parts = [tag("line", class_="axis", x1=middle, x2=middle, y1=HEAD, y2=floor)]
    for number, row in enumerate(rows):
        y = HEAD + 46.0 * number + 34
        low, high, mean = (middle + scale * row[key] for key in ("low", "high", "mean"))
        style = {"worse": "wrong", "better": "accent"}.get(row["verdict"], "muted")
        numbers = " to ".join(f"{100 * row[key]:+.1f}" for key in ("low", "high"))
        text = f"{row['name']}: {100 * row['mean']:+.1f} points ({numbers}), {row['verdict']}"
        parts.append(tag("text", text, x=16, y=y - 14))
        parts.append(
            tag("path", class_=f"line {style}", d=f"M{low:.1f} {y:.1f}L{high:.1f} {y:.1f}")
        )
        parts.append(tag("circle", class_=f"dot {style}", cx=mean, cy=y, r=5.0))
    title = "Retraining: repaired minus given labels (left worse, right better)"
    return _framed(title, Markup("").join(parts), floor - HEAD, ())


def _gallery(gallery: Gallery) -> Markup:
    """Return the samples of a gallery in rows."""
    cards = [_card(card) for card in gallery.cards]
    height = max(size for _, size in cards) + 12
    parts = []
    for number, (inner, _) in enumerate(cards):
        x = 16 + number % COLUMNS * (CARD_WIDTH + CARD_GAP)
        y = HEAD + 8 + number // COLUMNS * height
        parts.append(tag("g", inner, transform=f"translate({x:g} {y:g})"))
    lines = -(-len(cards) // COLUMNS)
    title = f"{gallery.title}: {len(cards)} of {gallery.total:,}"
    return _framed(title, Markup("").join(parts), 8 + lines * height, ())


def _card(card: Card) -> tuple[Markup, float]:
    """Return one sample and its height."""
    parts, y = [], 0.0
    view = card.view
    if view.uri:
        size = SIDE / max(view.width, view.height)
        box = {"width": size * view.width, "height": size * view.height}
        style = "image-rendering:pixelated" if view.width <= SIDE / 2 else None
        parts.append(tag("image", href=view.uri, x=0, y=0, style=style, **box))
        y = box["height"]
    else:
        shown = [f"{name} {value}" for name, value, _ in view.values] or textwrap.wrap(
            view.words, WORDS, max_lines=8, placeholder=" …"
        )
        for line in shown:
            y += LINE
            parts.append(tag("text", line, x=0, y=y, class_="strong"))
    same = card.given == card.suggested
    texts = [card.given, "as given" if same else f"→ {card.suggested}"]
    texts.append(f"{100 * card.confidence:.1f} % sure")
    if card.true is not None:
        texts.append("✓ right" if card.verdict == "right" else f"✗ truly {card.true}")
    texts.append(card.sample_id)
    for text in texts:
        y += LINE
        parts.append(tag("text", _short(text), x=0, y=y))
    return Markup("").join(parts), y


def _short(text: str) -> str:
    return text if len(text) <= WORDS else f"{text[: WORDS - 1]}…"
