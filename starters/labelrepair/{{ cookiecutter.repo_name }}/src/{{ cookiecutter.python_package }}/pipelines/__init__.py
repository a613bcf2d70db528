"""One sub-package per pipeline; ``labels`` repairs them."""
