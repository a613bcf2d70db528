"""The model card: what someone who takes the model over has to know, in Markdown."""

from collections.abc import Mapping
from typing import Any

TEMPLATE = """\
# {{ r.name }}, version {{ r.version }}

{% if g.passed and r.champion != r.version -%}
Was `champion`; now {{ "version " ~ r.champion if r.champion else "no version" }} is.
{%- elif r.champion == r.version and not g.passed -%}
`champion`, set by hand; the rule said: {{ g.reasons | map("escaped") | join("; ") }}.
{%- elif g.passed and g.compared_with in ("champion", "the same model") -%}
Took over as `champion` from version {{ r.parent_version }}.
{%- elif g.passed -%}
Became `champion`.
{%- else -%}
Not `champion`: {{ g.reasons | map("escaped") | join("; ") }}.
{%- endif %}

## Data

- Label table `{{ r.labels_md5 }}`: {{ f.rows.train }} training, {{ f.rows.validation }} \
validation, {{ f.rows.test }} test rows.
- Classes ({{ f.class_names | length }}): {{ f.class_names | map("escaped") | join(", ") }}.
- Input: {{ f.input }}.

## Noise

Share of wrong given labels: {{ r.noise_rate | percent }} \
({{ r.noise_interval[0] | percent }} to {{ r.noise_interval[1] | percent }}), \
estimated by `{{ f.noise_method }}`. The interval covers sampling error only.

## Method

`{{ r.method }}`{{ " (chosen by " ~ f.chosen_by ~ ")" if f.chosen_by }}, \
preset `{{ r.preset }}`{{ ": " ~ f.source if f.source }}. \
{{ f.networks }} network(s), {{ f.parameters }} parameters, {{ f.epochs }} epochs.
{%- if f.training_page %} Trained in MLflow run [{{ f.training_run_id }}]({{ f.training_page }}).
{%- elif f.training_run_id %} Trained in MLflow run `{{ f.training_run_id }}`.
{%- endif %}

## Metrics

| | value | low | high |
|---|---|---|---|
{%- for name, e in estimates %}
| {{ name | escaped }} | {{ e.value | number }} | {{ e.low | number }} | {{ e.high | number }} |
{%- endfor %}
{%- for name, value in f.metrics.items() if value is not none %}
| {{ name | escaped }} | {{ value | number }} | | |
{%- endfor %}

Intervals at {{ r.rule.level | percent }} on {{ g.rows }} {{ g.rows_from or "" }} rows that \
neither model was trained on{{ " (" ~ g.left_out_as_trained_on ~ " left out)" \
if g.left_out_as_trained_on }}; labels: {{ g.labels or "not used" }}. \
{{ g.audited_rows or 0 }} audited rows. \
T is estimated; the intervals cover the ends of the noise rate's interval, not a T of another shape.

{% if shifts -%}
## By class

| class | lead over the champion | low | high |
|---|---|---|---|
{%- for name, e in shifts %}
| {{ name | escaped }} | {{ e.value | number }} | {{ e.low | number }} | {{ e.high | number }} |
{%- endfor %}

{% endif -%}
## Limits

- It knows the classes above and always names one of them, also for inputs of none of them.
- Its probabilities are those of a network trained on partly wrong labels; they are not calibrated.
- Labels of the kind that the noise estimate missed (wrong in the same way as the features) are \
neither repaired nor seen by the gate.
- It was judged on rows of the same source as its training rows; on others nothing is known.
"""


def render(record: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Return the card.

    Args:
        record: of the handoff, see :func:`labelrepair.registry.hand_over`.
        facts: rows per split, class_names, input, noise_method, source, networks, parameters,
            epochs, metrics (name -> number or None), test_accuracy; perhaps training_run_id,
            training_page and chosen_by.
    """
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415
    from jinja2.filters import FILTERS  # noqa: PLC0415

    gate = {"labels": None, "rows_from": None, "left_out_as_trained_on": 0, **record["gate"]}
    gate = {"audited_rows": 0, "compared_with": None, **gate}
    environment = Environment(undefined=StrictUndefined, autoescape=False)
    environment.filters = FILTERS | {"percent": _percent, "number": _number, "escaped": _escaped}
    names = {
        "accuracy on clean labels": gate.get("challenger_accuracy"),
        "the same, compared model": gate.get("champion_accuracy"),
        "accuracy by the given labels of the test split": facts["test_accuracy"],
        "lead": gate.get("overall"),
        "lead on audited rows": gate.get("audited"),
    }
    estimates = [(name, found) for name, found in names.items() if found]
    # A constant guess, which the first version is compared with, says nothing by class.
    leads = gate.get("per_class", []) if gate["compared_with"] == "champion" else []
    shifts = list(zip(facts["class_names"], leads, strict=False))
    template = environment.from_string(TEMPLATE)
    facts = {"training_run_id": "", "training_page": "", "chosen_by": "", **facts}
    return template.render(r=record, g=gate, f=facts, estimates=estimates, shifts=shifts) + "\n"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _number(value: int | float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _escaped(text: str) -> str:
    """Return text that cannot break a table or add markup: names come from users' data."""
    safe = "".join(f"\\{sign}" if sign in "\\`*_[]<>|#" else sign for sign in str(text))
    return " ".join(safe.split())
