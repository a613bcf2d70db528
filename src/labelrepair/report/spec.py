"""What a report is made from, and what can be chosen about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from labelrepair.config import positive, require

LINK_STARTS = ("http://", "https://", "mailto:")


@dataclass(frozen=True)
class ReportSpec:
    """What can be chosen about a report.

    Attributes:
        title: heading of the page and of its tab.
        gallery_size: samples per gallery.
        image_pixels: longest side of a picture in a gallery; larger ones are reduced.
        text_words: words of a text that a gallery shows.
        vector_values: values of a vector that a gallery shows, the most unusual first.
        vector_image: (height, width) when vectors are really pictures, else None.
        flow_classes: classes that the flow diagram draws apart; the others are drawn as one.
        links: name -> address of further pages, such as a ticket or a dashboard.
    """

    title: str = "Label repair"
    gallery_size: int = 24
    image_pixels: int = 96
    text_words: int = 60
    vector_values: int = 6
    vector_image: tuple[int, int] | None = None
    flow_classes: int = 12
    links: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ConfigError for a value out of range or an address that is not a web address."""
        positive(
            gallery_size=self.gallery_size,
            image_pixels=self.image_pixels,
            text_words=self.text_words,
            vector_values=self.vector_values,
            flow_classes=self.flow_classes,
        )
        for name, address in self.links.items():
            start = " or ".join(LINK_STARTS)
            require(
                address.startswith(LINK_STARTS),
                f"links.{name}: must begin with {start}, found '{address}'",
            )


@dataclass(frozen=True, eq=False)
class Sources:
    """Everything that a report tells about.

    Attributes:
        table: the repaired label table, M rows.
        true_labels: ``sample_id`` and ``true_label`` (-1 = unknown, -2 = of no class), of all, some
            or no rows.
        noise: see :func:`labelrepair.workflow.noise_to_dict`.
        metrics: ``Evaluation.metrics``.
        frames: the numbers behind the plots, see :func:`labelrepair.plots.plot_data`.
        features: (M, ...) uint8 images (ch, H, W), integer tokens (L,) or float vectors (D,).
        class_names: C names.
        vocabulary: for texts, the word of each token id; may be empty.
        columns: for vectors, the names of the numbers; may be empty.
        training: see :class:`labelrepair.workflow.TrainedParts`, its report.
        facts: where the run comes from: ``dataset`` and what
            :class:`labelrepair.provenance.RunFactsDataset` finds; any of it may be absent.
        ab: a plain network retrained on the given and on the repaired labels: ``rows``, each with
            ``name``, ``mean_difference`` (repaired minus given), its ``low`` and ``high`` (shares,
            0.01 = one point) and ``seeds`` (a number or a list); perhaps ``labels_hash``, see
            :func:`labelrepair.label_table.repaired_hash`. May be empty.
        policy: threshold in force, and why, see :func:`labelrepair.thresholds.choose`; may be
            empty.
    """

    table: pd.DataFrame
    true_labels: pd.DataFrame
    noise: Mapping[str, Any]
    metrics: Mapping[str, Any]
    frames: Mapping[str, pd.DataFrame]
    features: NDArray[Any]
    class_names: Sequence[str]
    vocabulary: Sequence[str] = ()
    columns: Sequence[str] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    ab: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)

    @property
    def level(self) -> float:
        """Return the coverage of the intervals in ``noise``; earlier versions did not note it."""
        return float(self.noise.get("level", 0.95))
