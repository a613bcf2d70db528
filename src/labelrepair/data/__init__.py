"""Data sources to arrays with stable ids.

``read_source(SourceSpec(...))`` is the way in; there is one module per family of sources:
``builtin`` (digits, torchvision), ``image_folder``, ``manifest`` (CSV, Parquet), ``huggingface``,
``npz``, ``clothing1m`` and ``overlay`` (CIFAR-N). Everything is checked here, once, before anything
is written. ``splits`` chooses test and validation rows, ``store`` keeps features on disk.
"""

from labelrepair.data.samples import Samples
from labelrepair.data.sources import SourceSpec, read_source

__all__ = ["Samples", "SourceSpec", "read_source"]
