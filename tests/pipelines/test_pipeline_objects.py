"""What the pipelines declare: inputs, outputs, catalog entries, presets and choices."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from kedro.config import OmegaConfigLoader
from kedro.framework.project import configure_project
from kedro.framework.project import pipelines as projects_pipelines
from kedro.io import DataCatalog
from kedro.pipeline import Node, Pipeline

import labelrepair
from labelrepair import methods, networks, settings
from labelrepair.config import from_dict
from labelrepair.data import SourceSpec
from labelrepair.errors import ConfigError
from labelrepair.estimation import NoiseEstimate
from labelrepair.hooks.parameters import SPECS
from labelrepair.networks.classifier import build_from_spec, classifier_spec
from labelrepair.noise import OF_FEATURES, NoiseSpec, build_transition
from labelrepair.pipeline_registry import register_pipelines
from labelrepair.pipelines import create_pipeline
from labelrepair.training import Network
from labelrepair.training.probe import ProbeSpec
from labelrepair.workflow import EstimationConfig, choose_preset

ROOT = Path(labelrepair.__file__).parents[2]

BASE = ROOT / "conf/base"
PRESETS = sorted((BASE / "parameters_presets").rglob("*.yml"))
# Shape, dtype and classes of what a preset of this data set is made for.
SHAPES = {
    "clothing1m": ((3, 64, 64), torch.uint8, 14),
    "cifar100": ((3, 32, 32), torch.uint8, 100),
    "cifar10": ((3, 32, 32), torch.uint8, 10),
    "digits": ((1, 8, 8), torch.uint8, 10),
    "mnist": ((1, 28, 28), torch.uint8, 10),
    "imdb": ((400,), torch.int32, 2),
}
# A user's own, which belong there as well (docs/your_data.md), are of other data.
DATASETS = [
    file
    for file in sorted((BASE / "parameters_datasets").rglob("*.yml"))
    if any(data in file.stem for data in SHAPES)
]


STEPS = [
    "ingestion",
    "estimation",
    "training",
    "refinement",
    "repair",
    "evaluation",
    "report",
]


@pytest.fixture(scope="module")
def pipelines():
    configure_project("labelrepair")
    return register_pipelines()


@pytest.fixture(scope="module")
def whole(pipelines):
    return pipelines["__default__"]


@pytest.fixture(scope="module")
def catalog_config():
    return loader()["catalog"]


@pytest.fixture(scope="module")
def parameters():
    return loader()["parameters"]


def loader(conf=ROOT / "conf", **runtime_params):
    return OmegaConfigLoader(
        str(conf), runtime_params=runtime_params, **settings.CONFIG_LOADER_ARGS
    )


def upstream(whole: Pipeline, names: set[str]) -> set[str]:
    """Return every dataset from which ``names`` are made."""
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        for node in whole.nodes:
            if name in node.outputs:
                waiting |= set(node.inputs) - found
    return found


def test_the_default_chains_the_steps(pipelines, whole):
    steps = [node.name for step in STEPS for node in pipelines[step].nodes]

    assert sorted(steps) == sorted(node.name for node in whole.nodes)
    assert len(steps) == 13


@pytest.mark.parametrize("name", ["estimation", "training", "refinement", "repair"])
def test_no_true_labels_before_evaluation(pipelines, whole, name):
    pipeline = pipelines[name]

    assert "true_labels" not in pipeline.inputs() | pipeline.datasets()
    assert not {d for d in pipeline.datasets() if "true" in d}
    # Only the two steps of a study may look at the truth: injected noise and drawn trusted rows.
    made_from = upstream(whole, pipeline.inputs())
    readers = [n.name for n in whole.nodes if "true_labels" in n.inputs]
    assert set(readers) == {"add_noise", "choose_curated", "evaluate_repair", "write_report"}
    assert not {"metrics", "evaluation", "summary", "plots"} & made_from


def test_training_takes_nothing_that_only_the_truth_can_tell(pipelines, whole):
    """The trusted rows reach training through the estimate alone, the truth not at all."""
    inputs = {name for name in pipelines["training"].inputs() if not name.startswith("params:")}

    assert inputs == {"features", "label_table", "class_names", "input_format", "noise_estimate"}
    by_truth = {"true_labels", "injected_noise", "curated_labels"}
    assert not by_truth & inputs
    # The truth feeds label_table through the injection, and nothing else that training reads.
    without_study = whole.filter(
        node_names=[n.name for n in whole.nodes if n.name not in ("add_noise", "choose_curated")]
    )
    assert "true_labels" not in upstream(without_study, pipelines["training"].inputs())


def test_only_the_report_reads_what_evaluation_makes(pipelines, whole):
    last = pipelines["evaluation"] + pipelines["report"]

    assert not last.all_outputs() & (whole - last).all_inputs()
    assert not pipelines["report"].all_outputs() & whole.all_inputs()


def test_nodes_are_named_and_importable(pipelines):
    for node in sum(pipelines.values(), start=Pipeline([])).nodes:
        assert node.name == node._name, f"{node} has no name of its own"
        module = importlib.import_module(node.func.__module__)
        assert getattr(module, node.func.__name__) is node.func
        assert node.func.__doc__


def test_training_report_is_saved_last(pipelines):
    (node,) = pipelines["training"].nodes

    assert node.outputs[-1] == "training_report"  # its save removes the checkpoint


def test_every_dataset_is_in_the_catalog(pipelines, catalog_config):
    every = sum(pipelines.values(), start=Pipeline([]))
    used = {name for name in every.datasets() if not name.startswith("params:")}
    # The one that never crosses a pipeline: an object in memory.
    assert used - set(catalog_config) == {"evaluation"}
    listed = {name for name in catalog_config if not name.startswith("_")}
    assert listed - used == set()


def test_the_catalog_builds(catalog_config):
    catalog = DataCatalog.from_config(catalog_config)

    assert len(list(catalog.keys())) == len([n for n in catalog_config if not n.startswith("_")])


def test_the_catalog_moves_with_the_workspace():
    moved = loader(workspace="elsewhere")["catalog"]

    paths = [str(v) for entry in moved.values() if isinstance(entry, dict) for v in entry.values()]
    assert any("elsewhere/03_primary" in path for path in paths)
    assert not any(path.startswith("data/") for path in paths)


def test_label_tables_are_checked_at_the_catalog(catalog_config):
    schemas = {
        "source_table": "LabelTable",
        "label_table": "LabelTable",
        "true_labels": "TrueLabels",
        "curated_labels": "TrueLabels",
        "repaired_table": "RepairedTable",
    }
    for name, schema in schemas.items():
        assert catalog_config[name]["validator"] == f"labelrepair.schemas.{schema}"


def test_every_structured_parameter_is_checked_before_a_run(pipelines, parameters):
    """A mapping that a node reads is a mapping that the hook reads first."""
    structured = set()
    for name in sum(pipelines.values(), start=Pipeline([])).inputs():
        if name.startswith("params:") and name != "params:benchmark":
            value = parameters
            for key in name.removeprefix("params:").split("."):
                value = value[key]
            if isinstance(value, dict):
                structured.add(name.removeprefix("params:"))

    assert structured == {*SPECS, "recipe", "places"}


# -- presets and data sets --------------------------------------------------------------------


def only_entry(file: Path, top: str) -> dict:
    content = yaml.safe_load(file.read_text())
    assert list(content) == [top], file
    (name,) = content[top]
    assert name == file.stem
    return content[top][name]


def shape_of(preset: str):
    (found,) = [SHAPES[k] for k in sorted(SHAPES, key=len, reverse=True) if k in preset][:1]
    return found


def no_download(network: Network) -> dict[str, None]:
    """Weights that torchvision would fetch are left out."""
    return {"weights": None} if "weights" in network.options else {}


def estimate(classes: int) -> NoiseEstimate:
    transition = np.full((classes, classes), 0.2 / (classes - 1))
    np.fill_diagonal(transition, 0.8)
    prior = np.full(classes, 1 / classes)
    return NoiseEstimate(transition, 0.2, (0.18, 0.22), "confident_joint", prior)


def test_files_were_found():
    """Enumerations that find nothing pass every test."""
    assert len(PRESETS) == len(list((BASE / "parameters_presets").rglob("*.*"))) >= 38
    assert len(DATASETS) >= 12
    assert {only_entry(file, "presets")["method"] for file in PRESETS} == set(methods.available())


@pytest.mark.parametrize("file", PRESETS, ids=lambda file: file.stem)
def test_preset_builds(file):
    preset = choose_preset(only_entry(file, "presets"), file.stem)
    shape, dtype, classes = shape_of(file.stem)

    stages = methods.plan(preset.method, preset.options, preset.training, estimate(classes))

    assert sum(stage.schedule.epochs for stage in stages) >= 10
    assert preset.source, "a preset says where its numbers come from"
    options = dict(preset.training.network.options) | no_download(preset.training.network)
    if dtype == torch.int32:
        options["vocabulary_size"] = 5000
    network = preset.training.network.name
    spec = classifier_spec(network, options, shape, classes, stages[-1].networks)
    batch = torch.zeros(2, *shape, dtype=torch.long if dtype == torch.int32 else torch.float32)
    assert build_from_spec(spec).eval()(batch).shape == (2, classes)


@pytest.mark.parametrize("file", PRESETS, ids=lambda file: file.stem)
def test_preset_with_a_typo_is_refused(file):
    recipe = only_entry(file, "presets")
    known = next(iter(recipe.get("options") or {}), None)
    wrong = f"{known}x" if known else "lamda"
    options = {**(recipe.get("options") or {}), wrong: 1}

    with pytest.raises(ConfigError, match=rf"options\.{wrong}: unknown option") as error:
        choose_preset({**recipe, "options": options}, file.stem)
    assert known is None or f"did you mean '{known}'" in str(error.value)


@pytest.mark.parametrize("file", DATASETS, ids=lambda file: file.stem)
def test_dataset_parses(file, parameters):
    entry = parameters["datasets"][file.stem]
    assert set(entry) == set(only_entry(file, "datasets")) == {"source", "noise", "probe"}

    source = from_dict(SourceSpec, entry["source"])
    noise = from_dict(NoiseSpec, entry["noise"])
    probe = from_dict(ProbeSpec, {"training": entry["probe"]})

    shape, dtype, classes = shape_of(file.stem)
    assert source.kind in ("digits", "torchvision", "huggingface", "clothing1m", "open_set")
    elsewhere = source.kind in ("clothing1m", "open_set") or noise.kind == "pseudo_label"
    assert (0 < noise.rate < 1) != elsewhere
    if noise.kind not in OF_FEATURES:
        assert build_transition(noise, classes).shape == (classes, classes)
    assert probe.training.network.name in networks.available()
    options = {"vocabulary_size": 5000} if dtype == torch.int32 else {}
    networks.build(probe.training.network.name, shape, classes, **options)


# -- choosing ---------------------------------------------------------------------------------


def test_defaults(parameters):
    assert parameters["recipe"]["name"] == parameters["preset"] == "auto_digits"
    assert parameters["ingestion"]["source"] == {"kind": "digits"}
    assert parameters["places"]["plots"] == "data/08_reporting/plots"
    from_dict(EstimationConfig, parameters["estimation"])


def test_choosing_by_params():
    parameters = loader(preset="jocor_mnist", dataset="mnist", data_root="/sets", seed=3)[
        "parameters"
    ]

    assert parameters["recipe"]["name"] == parameters["preset"] == "jocor_mnist"
    assert parameters["ingestion"]["source"]["root"] == "/sets"
    assert parameters["ingestion"]["noise"]["rate"] == 0.5
    assert parameters["estimation"]["probe"]["training"]["schedule"]["epochs"] == 8
    assert parameters["seed"] == 3


def test_every_preset_can_be_chosen(parameters):
    """As Kedro reads the files, all at once: no file replaces what is in another."""
    assert set(parameters["presets"]) == {file.stem for file in PRESETS}
    for name, recipe in parameters["presets"].items():
        assert choose_preset(recipe, name).name == name


@pytest.mark.parametrize(
    ("choice", "nearest"),
    [
        ({"preset": "jocor_minst"}, "'jocor_minst' under 'presets'; did you mean 'jocor_mnist'"),
        ({"dataset": "mnst"}, "'mnst' under 'datasets'; did you mean 'mnist'"),
        ({"table": "jocor_table_2"}, "under 'benchmarks'; did you mean 'jocor_table2'"),
    ],
)
def test_an_unknown_choice_is_refused_with_the_nearest(choice, nearest):
    with pytest.raises(Exception, match=nearest):
        loader(**choice)["parameters"]


def test_an_inconsistent_choice_is_refused(tmp_path):
    """A preset set in an environment's parameters leaves the old recipe in place: refuse it."""
    base = {
        "parameters.yml": {"preset": "${runtime_params:preset,a}"},
        "presets.yml": {"presets": {n: {"name": n, "method": "jocor"} for n in "ab"}},
        "parameters_training.yml": {"recipe": "${presets.${preset}}"},
    }
    for folder, files in {"base": base, "local": {"parameters.yml": {"preset": "b"}}}.items():
        (tmp_path / folder).mkdir()
        for name, content in files.items():
            target = "parameters_presets.yml" if name == "presets.yml" else name
            (tmp_path / folder / target).write_text(yaml.safe_dump(content))
    parameters = loader(tmp_path)["parameters"]
    assert (parameters["preset"], parameters["recipe"]["name"]) == ("b", "a")

    with pytest.raises(ConfigError, match="'b' was asked for, but the recipe loaded is 'a'"):
        choose_preset(parameters["recipe"], parameters["preset"])


def test_the_machines_own_globals_win(project):
    (project / "conf/local/globals.yml").write_text("seed: 7\npreset: jocor_digits\n")

    parameters = loader(project / "conf")["parameters"]

    assert parameters["seed"] == 7
    assert parameters["preset"] == parameters["recipe"]["name"] == "jocor_digits"
    assert parameters["dataset"] == "small"  # the rest of the file of conf/base still holds
    assert loader(project / "conf", preset="small")["parameters"]["recipe"]["name"] == "small"


def test_single_values_are_tuned_by_params():
    tuned = {"preset": "jocor_digits", "recipe": {"options": {"co_lambda": 0.5}}}
    parameters = loader(**tuned)["parameters"]

    assert parameters["recipe"]["options"]["co_lambda"] == 0.5
    assert parameters["recipe"]["name"] == "jocor_digits"


def test_a_pipeline_in_a_namespace(pipelines):
    """Another project mounts a pipeline under its own names."""
    training = Pipeline(pipelines["training"], namespace="repairing", inputs={"features"})

    assert "features" in training.inputs()
    assert "repairing.label_table" in training.inputs()
    assert "params:repairing.recipe" in training.inputs()
    assert isinstance(training.nodes[0], Node)


def test_parts_without_the_ingestion_take_the_hosts_data():
    names = {"features": "pixels", "label_table": "labels"}
    parts = ("estimation", "training", "refinement", "repair")
    made = create_pipeline("faces", parts=parts, inputs=names)

    needed = {name for name in made.inputs() if not name.startswith("params:")}
    others = ("class_names", "input_format", "curated_labels", "human_decisions", "known_ledger")
    assert needed == {"pixels", "labels", *(f"faces.{name}" for name in others)}


def test_a_repair_needs_the_refinement_of_its_training():
    parts = ("estimation", "training", "repair")
    for inputs in (None, "refined_probs", {"refined_probs", "label_table"}):
        with pytest.raises(ConfigError, match="add 'refinement' to parts, or name both in inputs"):
            create_pipeline("faces", parts=parts, inputs=inputs)

    both = {"refined_probs", "refined_noise"}
    assert both <= create_pipeline("faces", parts=parts, inputs=both).inputs()
    # A stage of its own reads what other stages have written.
    alone = create_pipeline("faces", parts=("repair", "evaluation", "report"))
    assert "faces.refined_probs" in alone.inputs()


@pytest.mark.parametrize("name", ["evaluatio", "evaluatio.n", "evaluati-on"])
def test_a_pipeline_that_there_is_not_is_told_in_one_line(name):
    configure_project("labelrepair")
    projects_pipelines.set_requested([name])
    told = re.escape(f"no pipeline '{name}'; did you mean 'evaluation'")
    try:
        with pytest.raises(ConfigError, match=told):
            register_pipelines()
    finally:
        projects_pipelines.set_requested(None)
