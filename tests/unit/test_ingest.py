import dataclasses
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch

from labelrepair.data import Samples
from labelrepair.errors import ConfigError, DataError
from labelrepair.ingest import CuratedSpec, SplitSpec, collect_curated, inject_noise, tabulate
from labelrepair.label_table import check_label_table, content_hashes
from labelrepair.networks.classifier import (
    Classifier,
    Normalizer,
    build_from_spec,
    classifier_spec,
)
from labelrepair.networks.penultimate import model_features
from labelrepair.noise import NoiseSpec

ROWS, NAMES = 100, ("a", "b")


def samples(**changes):
    """Return 100 vectors of two classes; the labels are known to be true."""
    labels = (np.arange(ROWS) % 2).astype(np.int64)
    made = Samples(
        sample_ids=np.array([f"s{row:03d}" for row in range(ROWS)]),
        features=np.arange(2 * ROWS, dtype=np.float32).reshape(ROWS, 2),
        labels=labels,
        splits=np.full(ROWS, "train"),
        class_names=NAMES,
        true_labels=labels.copy(),
    )
    return dataclasses.replace(made, **changes)


@pytest.fixture
def ingested():
    _, table, truth, _ = tabulate(samples(), SplitSpec(test_fraction=0.2))
    return table, truth


# -- tabulate ---------------------------------------------------------------------------------


def test_tabulate():
    features, table, truth, names = tabulate(samples(), SplitSpec(test_fraction=0.2))

    check_label_table(table, 2)
    assert names == ["a", "b"]
    assert table["given_label"].tolist() == [0, 1] * 50
    assert table["content_hash"].tolist() == content_hashes(features)
    assert truth["sample_id"].tolist() == table["sample_id"].tolist()
    assert truth["true_label"].tolist() == [0, 1] * 50
    test = table[table["split"] == "test"]
    assert test["given_label"].value_counts().to_dict() == {0: 10, 1: 10}


def test_a_source_with_a_test_split_keeps_it():
    splits = np.where(np.arange(ROWS) < 7, "test", "train")

    _, table, _, _ = tabulate(samples(splits=splits), SplitSpec(test_fraction=0.5))

    assert table["split"].tolist() == splits.tolist()


def test_no_test_split_is_made_at_fraction_zero():
    _, table, _, _ = tabulate(samples(), SplitSpec(test_fraction=0.0))

    assert set(table["split"]) == {"train"}


def test_a_validation_split_survives_beside_a_new_test_split():
    splits = np.where(np.arange(ROWS) < 20, "validation", "train")

    _, table, _, _ = tabulate(samples(splits=splits), SplitSpec(test_fraction=0.25))

    assert table["split"].value_counts().to_dict() == {"train": 60, "validation": 20, "test": 20}


def test_the_split_seed_matters():
    tables = [tabulate(samples(), SplitSpec(0.2, seed))[1] for seed in (0, 0, 1)]

    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])


def test_unknown_truth_is_a_table_without_rows():
    _, _, truth, _ = tabulate(samples(true_labels=None), SplitSpec())

    assert len(truth) == 0
    assert list(truth) == ["sample_id", "true_label"]
    assert truth.dtypes["true_label"] == np.int64
    assert pd.api.types.is_string_dtype(truth["sample_id"])


def test_a_class_without_training_samples_is_named():
    with pytest.raises(DataError, match=r"class 'c': no training sample \(1 such of 3 classes\)"):
        tabulate(samples(class_names=("a", "b", "c")), SplitSpec())


def test_a_class_with_test_samples_only_is_empty():
    splits = np.where(np.arange(ROWS) % 2, "test", "train")

    with pytest.raises(DataError, match="class 'b': no training sample"):
        tabulate(samples(splits=splits), SplitSpec())


def test_grey_pictures_read_as_colours_are_told_of(caplog):
    grey = np.random.default_rng(0).integers(0, 256, (ROWS, 1, 4, 4)).astype(np.uint8)
    tabulate(samples(features=grey), SplitSpec())
    coloured = np.repeat(grey, 3, axis=1)
    coloured[3, 0, 0, 0] ^= 1
    tabulate(samples(features=coloured), SplitSpec())
    assert not caplog.records
    tabulate(samples(features=np.repeat(grey, 3, axis=1)), SplitSpec())
    assert "the first 64 pictures are grey" in caplog.text
    assert "mode: L in the source" in caplog.text


def test_a_rare_class_is_named_with_what_it_may_have_been(caplog):
    labels = (np.arange(ROWS) % 2).astype(np.int64)
    labels[[0, 2]] = 2, 3
    made = samples(labels=labels, class_names=("cat", "dog", "Cat", "axolotl"))

    tabulate(made, SplitSpec(test_fraction=0.0))

    assert [record.getMessage() for record in caplog.records] == [
        "class 'Cat' has 1 training sample; did its labels mean 'cat'?",
        "class 'axolotl' has 1 training sample",
    ]


def test_a_fraction_outside_the_unit_interval():
    with pytest.raises(ConfigError, match=r"test_fraction: must lie in \[0, 1\]"):
        SplitSpec(test_fraction=1.5)


# -- inject_noise -----------------------------------------------------------------------------


def test_noise_spares_the_test_split_and_the_input(ingested):
    table, truth = ingested
    before = table.copy()

    noisy, record = inject_noise(table, truth, 2, NoiseSpec("symmetric", 0.5, seed=1))

    changed = noisy["given_label"] != truth["true_label"]
    test = noisy["split"] == "test"
    assert not changed[test].any()
    assert 0.3 < changed[~test].mean() < 0.7
    assert record["actual_rate"] == changed[~test].mean()
    assert record["transition"] == [[0.5, 0.5], [0.5, 0.5]]
    assert (record["kind"], record["mode"], record["seed"]) == ("symmetric", "bernoulli", 1)
    pd.testing.assert_frame_equal(table, before)
    pd.testing.assert_frame_equal(
        noisy.drop(columns="given_label"), before.drop(columns="given_label")
    )


def test_noise_reaches_the_validation_rows():
    """They choose models: a validation split with true labels would be knowledge of the truth."""
    splits = np.where(np.arange(ROWS) < 40, "validation", "train")
    _, table, truth, _ = tabulate(samples(splits=splits), SplitSpec(0))

    noisy, _ = inject_noise(table, truth, 2, NoiseSpec("symmetric", 0.5))

    changed = noisy["given_label"] != truth["true_label"]
    assert changed[table["split"] == "validation"].any()


def test_noise_has_a_seed_of_its_own(ingested):
    drawn = [
        inject_noise(*ingested, 2, NoiseSpec("symmetric", 0.4, seed=seed))[0][
            "given_label"
        ].tolist()
        for seed in (3, 3, 4)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_no_noise_changes_nothing(ingested):
    table, truth = ingested

    noisy, record = inject_noise(table, truth, 2, NoiseSpec())

    assert noisy is table
    assert record["kind"] == "none"


def test_exact_noise(ingested):
    _, record = inject_noise(*ingested, 2, NoiseSpec("symmetric", 0.25, mode="exact_per_class"))

    assert record["actual_rate"] == 0.25  # 10 of the 40 training rows of each class


@pytest.mark.parametrize("rows", [slice(0), slice(50)], ids=["none", "some"])
def test_noise_on_labels_that_may_be_wrong_already_is_refused(ingested, rows):
    table, truth = ingested

    with pytest.raises(ConfigError, match=r"ingestion.noise.kind: 'symmetric' .* kind: none"):
        inject_noise(table, truth.iloc[rows], 2, NoiseSpec("symmetric", 0.4))


def test_unknown_truth_of_test_rows_does_not_matter(ingested):
    table, truth = ingested
    known = truth[(table["split"] != "test").to_numpy()]

    noisy, _ = inject_noise(table, known, 2, NoiseSpec("symmetric", 0.4))

    assert len(noisy) == ROWS


def test_noise_may_not_empty_a_class(ingested):
    spec = NoiseSpec("transition", transition=((1.0, 0.0), (1.0, 0.0)))

    with pytest.raises(DataError, match="no training row has class 1"):
        inject_noise(*ingested, 2, spec)


@pytest.fixture
def features():
    return tabulate(samples(), SplitSpec(test_fraction=0.2))[0]


def test_noise_that_depends_on_the_features(ingested, features):
    table, truth = ingested
    spec = NoiseSpec("instance_dependent", 0.4, seed=1)

    noisy, record = inject_noise(table, truth, 2, spec, features)

    changed = (noisy["given_label"] != truth["true_label"])[table["split"] != "test"]
    assert record["actual_rate"] == changed.mean() > 0.2
    assert np.allclose(np.mean(record["transition"], axis=0).sum(), 1)
    assert not (noisy["given_label"] != truth["true_label"])[table["split"] == "test"].any()
    with pytest.raises(ConfigError, match="needs the samples' features"):
        inject_noise(table, truth, 2, spec)


def test_pseudo_labels_from_another_networks_features(ingested, features, tmp_path):
    table, truth = ingested
    embedding = truth["true_label"].to_numpy()[:, None] + np.linspace(0, 0.8, ROWS)[:, None]
    np.save(tmp_path / "pool5.npy", embedding)

    by_pixels, _ = inject_noise(table, truth, 2, NoiseSpec("pseudo_label"), features)
    spec = NoiseSpec("pseudo_label", embedding=str(tmp_path / "pool5.npy"))
    _, record = inject_noise(table, truth, 2, spec, features)

    assert (by_pixels["given_label"] != truth["true_label"]).mean() > 0.3
    assert record["actual_rate"] < 0.25
    np.save(tmp_path / "pool5.npy", embedding[1:])
    with pytest.raises(DataError, match=r"pool5\.npy: 99 rows of features for 100 samples"):
        inject_noise(table, truth, 2, spec, features)


def test_pseudo_labels_from_a_model_of_ours(ingested, features, tmp_path):
    table, truth = ingested
    spec = classifier_spec("mlp", {"hidden": [5]}, (2,), 2, 2)
    networks = torch.nn.ModuleList(build_from_spec(spec) for _ in range(2))
    torch.save(Classifier(Normalizer(), networks, spec).state(), tmp_path / "model.pt")

    found = model_features(tmp_path / "model.pt", torch.from_numpy(features))
    by_hand = [network[:3](torch.from_numpy(features)) for network in networks]
    assert torch.equal(found, torch.cat(by_hand, dim=1))
    noise = NoiseSpec("pseudo_label", embedding=str(tmp_path / "model.pt"))
    noisy, _ = inject_noise(table, truth, 2, noise, features)
    again, _ = inject_noise(table, truth, 2, noise, features)
    assert noisy.equals(again)
    with zipfile.ZipFile(tmp_path / "model.pt", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/zeros", bytes(10**6))
    with pytest.raises(DataError, match=r"not a model file .*zeros is compressed, expected"):
        inject_noise(table, truth, 2, noise, features)
    torch.save({"weights": {}}, tmp_path / "model.pt")
    with pytest.raises(DataError, match=r"model\.pt: not a model file of labelrepair"):
        inject_noise(table, truth, 2, noise, features)


def test_samples_of_no_class_keep_their_labels(ingested):
    table, truth = ingested
    chosen = table.index[table["split"] == "train"][:20]
    truth.loc[chosen, "true_label"] = -2

    noisy, record = inject_noise(table, truth, 2, NoiseSpec("symmetric", 0.5))

    assert (noisy["given_label"] == table["given_label"])[chosen].all()
    assert record["actual_rate"] > 0.5  # a quarter of the rows is wrong whatever they are called


# -- collect_curated --------------------------------------------------------------------------


def test_no_trusted_rows_by_default(ingested):
    found = collect_curated(*ingested, NAMES, CuratedSpec())

    assert len(found) == 0
    assert list(found) == ["sample_id", "true_label"]


def test_trusted_rows_drawn_from_the_truth(ingested):
    table, truth = ingested

    found = collect_curated(table, truth, NAMES, CuratedSpec(count=30, seed=2))

    assert len(found) == found["sample_id"].nunique() == 30
    assert found["sample_id"].is_monotonic_increasing
    assert len(found.merge(truth)) == 30
    assert set(found.merge(table)["split"]) == {"train"}
    assert not found.equals(collect_curated(table, truth, NAMES, CuratedSpec(count=30, seed=3)))


@pytest.mark.parametrize("known", [0, 10])
def test_more_trusted_rows_than_truth(ingested, known):
    table, truth = ingested
    truth = truth[(table["split"] == "train").to_numpy()].iloc[:known]

    with pytest.raises(ConfigError, match=rf"count: 30 rows, truth of {known} known"):
        collect_curated(table, truth, NAMES, CuratedSpec(count=30))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_trusted_rows_from_a_file(ingested, tmp_path, suffix):
    file = tmp_path / f"trusted.{suffix}"
    frame = pd.DataFrame({"sample_id": ["s020", "s003"], "true_label": [0, 1], "who": ["x", "y"]})
    frame.to_csv(file, index=False) if suffix == "csv" else frame.to_parquet(file)

    found = collect_curated(*ingested, NAMES, CuratedSpec(path=str(file)))

    assert found["sample_id"].tolist() == ["s003", "s020"]
    assert found["true_label"].tolist() == [1, 0]
    assert found.dtypes["true_label"] == np.int64


@pytest.mark.parametrize(
    ("names", "labels"), [(("1", "2"), ["2", "1"]), (("cat", "dog"), ["dog", "cat"])]
)
def test_trusted_rows_are_named_as_the_source_names_them(ingested, tmp_path, names, labels):
    file = tmp_path / "trusted.csv"
    pd.DataFrame({"sample_id": ["s003", "s020"], "true_label": labels}).to_csv(file, index=False)

    found = collect_curated(*ingested, names, CuratedSpec(path=str(file)))

    assert found["true_label"].tolist() == [1, 0]
    assert found.dtypes["true_label"] == np.int64


@pytest.mark.parametrize(
    ("ids", "labels", "message"),
    [
        (["s001", "s1"], [1, 0], ": sample 's1' is not in the label table"),
        (["s001", "s001"], [1, 1], ": sample 's001' appears more than once"),
        (["s001", "s002"], [1, 2], ".*sample 's002': label 2 outside 0..1"),
        (["s001", "s002"], ["a", "cat"], ".*sample 's002': unknown class 'cat'"),
        (["s001", "s002"], ["a", 1], ".*sample 's002': unknown class '1'"),
        (["s001", "s002"], [1, None], r".*sample 's002' \(row 1\): the label is blank"),
        (["s001", "s002"], [1, 0.5], r".*sample 's001': unknown class '1\.0'"),
    ],
)
def test_bad_trusted_rows(ingested, tmp_path, ids, labels, message):
    file = tmp_path / "trusted.csv"
    pd.DataFrame({"sample_id": ids, "true_label": labels}).to_csv(file, index=False)

    with pytest.raises(DataError, match=rf"trusted\.csv{message}"):
        collect_curated(*ingested, NAMES, CuratedSpec(path=str(file)))


def test_ids_of_trusted_rows_stay_text(tmp_path):
    ids = np.array([f"{row:04d}" for row in range(ROWS)])
    _, table, truth, _ = tabulate(samples(sample_ids=ids), SplitSpec())
    file = tmp_path / "trusted.csv"
    file.write_text("sample_id,true_label\n0001,1\n")

    assert (
        collect_curated(table, truth, NAMES, CuratedSpec(path=str(file)))["sample_id"][0] == "0001"
    )


def test_a_trusted_file_without_labels(ingested, tmp_path):
    file = tmp_path / "trusted.csv"
    file.write_text("sample_id,label\ns001,1\n")

    with pytest.raises(DataError, match=r"trusted\.csv: no column 'true_label'"):
        collect_curated(*ingested, NAMES, CuratedSpec(path=str(file)))


@pytest.mark.parametrize("wrong", [{"count": -1}, {"path": "x.csv", "count": 3}])
def test_curated_spec(wrong):
    with pytest.raises(ConfigError, match="count"):
        CuratedSpec(**wrong)


def test_classes_that_differ_in_case_only_are_named(caplog):
    tabulate(samples(class_names=("Six", "six")), SplitSpec())
    assert "the classes 'Six' and 'six' differ in case only" in caplog.text


def test_copies_with_another_label_are_named(caplog):
    """A file that was copied into another class folder, or a class folder that is a link."""
    made = samples()
    features = made.features.copy()
    features[[1, 3]] = features[0]
    features[4] = features[2]  # copies with the same label contradict nothing

    tabulate(samples(features=features), SplitSpec())

    (record,) = caplog.records
    first, other = (f"'{made.sample_ids[row]}' ({made.class_names[row]})" for row in (0, 1))
    said = "3 samples have the very content of others that are given another label, such as "
    assert record.getMessage().startswith(f"{said}{first} and {other};")
