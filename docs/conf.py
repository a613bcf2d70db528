"""The documentation site: pages, notebooks and docstrings; nothing is fetched from elsewhere."""

import os
import shutil
from pathlib import Path

import labelrepair

DOCS = Path(__file__).parent
# Sphinx wants its sources below one folder; the notebooks' home is their own.
shutil.copytree(DOCS.parent / "notebooks", DOCS / "notebooks", dirs_exist_ok=True)

project = "labelrepair"
author = "the labelrepair team"
release = labelrepair.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
# The site makes its own list of decisions; results/*.md are the sections of results.md.
exclude_patterns = ["decisions/README.md", "results/*"]
html_theme = "furo"
html_title = f"labelrepair {release}"
html_static_path: list[str] = []

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
# Pages that the benchmark writes begin at level two; links into the source are for the repository.
suppress_warnings = ["myst.header", "myst.xref_missing"]

# The walk-throughs run when the site is built; MNIST only where its data are.
nb_execution_mode = "cache"
nb_execution_timeout = 1800
nb_execution_raise_on_error = True
nb_execution_excludepatterns = [] if os.environ.get("LABELREPAIR_DATA") else ["notebooks/mnist*"]
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say shapes and ranges, which types cannot
autoclass_content = "class"
napoleon_use_ivar = True
napoleon_use_rtype = False
strip_signature_backslash = True  # else classes_ loses its underscore
