"""From a function to the files that it uses, name by name."""

import pytest

from labelrepair.stages.sources import SourceTree

FILES = {
    "__init__": "",
    "pipelines/a/__init__": "",
    "pipelines/a/pipeline": "",
    "pipelines/a/nodes": """
from demo import steps, plots
from demo.tools import tool
import numpy as np

def train(x): return steps.train(x)
def score(x): return tool(x) + np.pi
def draw(x):
    from demo.late import late
    return late(plots)
def later(x): return steps.annotated
""",
    "steps": """
from demo.methods import load
from demo.policy import Policy
from .tables import COLUMNS

def train(x): return load(x, [COLUMNS])
def repair(x, policy: Policy): return policy
if True:
    annotated: "int" = repair
""",
    "methods/__init__": "import importlib\ndef load(name): return importlib.import_module(name)",
    "methods/one": "from demo.losses import loss\ndef stages(): return loss",
    "losses": "def loss(): pass",
    "policy": "class Policy: pass",
    "tables": "COLUMNS = 1",
    "tools/__init__": "from demo.tools.one import tool\nfrom demo.tools.two import other",
    "tools/one": "def tool(x): return helper\ndef helper(): pass",
    "tools/two": "def other(x): pass",
    "plots": "def plot(): pass",
    "late": "def late(x): pass",
}


@pytest.fixture
def tree(tmp_path):
    for name, content in FILES.items():
        file = tmp_path / f"demo/{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return tmp_path


@pytest.mark.parametrize(
    ("function", "used"),
    [
        # methods are loaded by name: all of them, and what they use; not policy
        ("train", ["losses.py", "methods", "pipelines/a", "steps.py", "tables.py"]),
        ("score", ["pipelines/a", "tools/__init__.py", "tools/one.py"]),
        ("draw", ["late.py", "pipelines/a", "plots.py"]),
        ("later", ["pipelines/a", "policy.py", "steps.py"]),
    ],
)
def test_used(tree, function, used):
    nodes = tree / "demo/pipelines/a/nodes.py"

    found = SourceTree(tree).used_by([(nodes, function)])

    assert [path.relative_to(tree / "demo").as_posix() for path in found] == used


def test_an_unknown_name_takes_the_whole_file(tree):
    nodes = tree / "demo/pipelines/a/nodes.py"
    tree_of = SourceTree(tree)

    found = tree_of.used_by([(nodes, "<partial>")])

    every = tree_of.used_by([(nodes, name) for name in ("train", "score", "draw", "later")])
    assert found == every
