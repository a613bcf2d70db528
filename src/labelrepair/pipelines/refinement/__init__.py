"""The refinement pipeline."""

from labelrepair.pipelines.refinement.pipeline import create_pipeline

__all__ = ["create_pipeline"]
