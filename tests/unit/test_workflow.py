import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch

from labelrepair import workflow
from labelrepair.data.shards import Shards, row_hashes, write_shards
from labelrepair.errors import ConfigError, DataError, TransitionError
from labelrepair.estimation import EstimationSpec, NoiseEstimate
from labelrepair.label_table import content_hashes, make_label_table, text_hashes
from labelrepair.policy import Policy
from labelrepair.refinement import RefinementSpec
from labelrepair.scoring import ScoringSpec
from labelrepair.sealed import check_ingested, seal
from labelrepair.training import Checkpointer, Holdout, Network, Schedule, TrainingConfig, TrainSet
from labelrepair.training.probe import ProbeSpec
from labelrepair.workflow import EstimationConfig, Preset, repairable

ROWS, C = 60, 3
TRAINING = TrainingConfig(
    network=Network("mlp", {"hidden": [8]}), schedule=Schedule(epochs=3, lr=0.01), batch_size=16
)
PRESET = Preset("small", "cross_entropy", training=TRAINING)


def features(rows=ROWS):
    return np.random.default_rng(0).normal(size=(rows, 4)).astype(np.float32)


def table(splits=None, labels=None):
    splits = np.where(np.arange(ROWS) % 5 == 0, "test", "train") if splits is None else splits
    labels = np.arange(ROWS) % C if labels is None else labels
    ids = [f"s{row:02d}" for row in range(ROWS)]
    return make_label_table(ids, labels, splits, content_hashes(features()))


def noise(rate=0.2):
    transition = np.full((C, C), rate / (C - 1))
    np.fill_diagonal(transition, 1 - rate)
    return NoiseEstimate(transition, rate, (rate - 0.1, rate + 0.1), "given", np.full(C, 1 / C))


def train_set(validation_fraction=0.0, seed=0, **changes):
    return workflow.train_set(table(**changes), features(), C, validation_fraction, seed)


# -- check_alignment --------------------------------------------------------------------------


def test_features_that_fit_the_table():
    workflow.check_alignment(table(), features())


def test_swapped_features_are_noticed():
    swapped = features()
    swapped[[7, 8]] = swapped[[8, 7]]

    with pytest.raises(DataError, match=r"row 7 \('s07'\).*run the ingestion pipeline again"):
        workflow.check_alignment(table(), swapped)


def test_another_number_of_features_is_noticed():
    with pytest.raises(DataError, match="feature store has 59 rows, the label table 60"):
        workflow.check_alignment(table(), features()[:-1])


def test_alignment_looks_at_both_ends_of_a_large_table(monkeypatch):
    monkeypatch.setattr(workflow.rows, "SPOT_CHECKS", 4)
    for row in (0, ROWS - 1):
        changed = features()
        changed[row] += 1
        with pytest.raises(DataError, match=f"row {row} "):
            workflow.check_alignment(table(), changed)


def test_alignment_works_on_a_memory_map(tmp_path):
    np.save(tmp_path / "features.npy", features())
    workflow.check_alignment(table(), np.load(tmp_path / "features.npy", mmap_mode="r"))


def test_tokens_are_compared_with_the_hashes_of_their_store(tmp_path):
    """The table's are of the texts."""
    texts = table().assign(content_hash=text_hashes([f"text {row}" for row in range(ROWS)]))
    tokens = np.arange(ROWS * 4, dtype=np.int32).reshape(ROWS, 4)
    workflow.check_alignment(texts, tokens)
    store = write_shards(tmp_path, tokens, 100)
    workflow.check_alignment(texts, store)

    tokens[7] += 1
    np.save(tmp_path / "shard-000000.npy", tokens)  # first and last row are whole
    with pytest.raises(DataError, match=r"row 7 \('s07'\).*run the ingestion pipeline again"):
        workflow.check_alignment(texts, Shards(tmp_path))


@pytest.mark.parametrize("kind", ["resident", "shards"])
def test_every_row_counts(monkeypatch, tmp_path, kind):
    monkeypatch.setattr(workflow.rows, "SPOT_CHECKS", 2)
    for row in range(ROWS):
        changed = features()
        changed[row] += 1
        if kind == "shards":
            changed = write_shards(tmp_path / str(row), changed, 7)
        with pytest.raises(
            DataError, match=rf"^row {row} \('s{row:02d}'\).*ingestion pipeline again"
        ):
            workflow.check_alignment(table(), changed)


@pytest.mark.parametrize("kind", ["resident", "shards"])
def test_every_row_of_tokens_counts_where_the_table_notes_them(tmp_path, kind):
    texts = table().assign(content_hash=text_hashes([f"text {row}" for row in range(ROWS)]))
    texts.attrs = seal(features=row_hashes(features()), class_names=["a", "b"])
    texts.to_parquet(tmp_path / "table.parquet", index=False)
    noted = pd.read_parquet(tmp_path / "table.parquet")
    for row in (None, *range(ROWS)):
        changed = features()
        if row is not None:
            changed[row] += 1
        if kind == "shards":
            changed = write_shards(tmp_path / str(row), changed, 7)
        if row is None:
            workflow.check_alignment(noted, changed)
            continue
        with pytest.raises(DataError, match=r"^features: not what .* beside the label table"):
            workflow.check_alignment(noted, changed)
    check_ingested(noted, class_names=["a", "b"], true_labels=pd.DataFrame())
    with pytest.raises(DataError, match=r"^class_names: .*kedro run --pipelines ingestion$"):
        check_ingested(noted, class_names=["b", "a"])


def test_a_content_hash_that_is_none():
    with pytest.raises(DataError, match="content_hash must be 16 hex digits"):
        workflow.check_alignment(table().assign(content_hash="x"), features())


# -- train_set --------------------------------------------------------------------------------


def test_the_test_split_is_not_trained_on():
    data, test = train_set()
    kept = repairable(table())

    assert kept.sum() == 48
    torch.testing.assert_close(data.features, torch.from_numpy(features()[kept]))
    assert data.given_labels.tolist() == (np.arange(ROWS) % C)[kept].tolist()
    assert data.train_rows.tolist() == list(range(48))
    assert len(data.val_rows) == 0
    torch.testing.assert_close(test.features, torch.from_numpy(features()[~kept]))
    assert test.labels.tolist() == (np.arange(ROWS) % C)[~kept].tolist()


def test_no_field_for_the_truth():
    fields = {field.name for field in dataclasses.fields(TrainSet)}

    assert fields == {"features", "given_labels", "num_classes", "train_rows", "val_rows"}


def test_a_stratified_holdout():
    data, _ = train_set(validation_fraction=0.25)

    rows = torch.cat([data.train_rows, data.val_rows])
    assert rows.sort().values.tolist() == list(range(48))
    assert data.given_labels[data.val_rows].bincount().tolist() == [4, 4, 4]


def test_the_seed_decides_the_holdout():
    chosen = [train_set(0.25, seed)[0].val_rows.tolist() for seed in (0, 0, 1)]

    assert chosen[0] == chosen[1] != chosen[2]


def test_the_tables_own_validation_rows_come_first():
    splits = np.array(["test", "validation", "train"]).repeat(ROWS // 3)

    data, _ = train_set(0.1, splits=splits)

    assert data.val_rows.tolist() == list(range(20))
    assert data.train_rows.tolist() == list(range(20, 40))


def test_without_a_holdout_validation_rows_are_trained_on():
    splits = np.array(["test", "validation", "train"]).repeat(ROWS // 3)

    data, _ = train_set(0.0, splits=splits)

    assert len(data.train_rows) == 40


def test_a_table_without_test_rows():
    data, test = train_set(splits=np.full(ROWS, "train"))

    assert len(data.given_labels) == ROWS
    assert len(test.labels) == 0


# -- networks ---------------------------------------------------------------------------------


def test_a_network_for_each_call():
    build, spec = workflow.network_builder(Network("mlp"), torch.zeros(5, 4), C, 2)

    assert build() is not build()
    assert (spec["in_shape"], spec["num_classes"], spec["count"]) == ([4], C, 2)


def test_the_vocabulary_covers_words_of_the_test_split():
    """A rare word, cut off every training text, may have the largest number of all."""
    tokens = torch.tensor([[1, 3], [1, 4]], dtype=torch.int32)
    test = Holdout(torch.tensor([[1, 9]], dtype=torch.int32), torch.tensor([0]))

    build, spec = workflow.network_builder(Network("embedding"), tokens, C, 1, test)

    assert spec["options"]["vocabulary_size"] == 10
    assert build().eval()(test.features.long()).shape == (1, C)
    nobody = Holdout(torch.empty((0, 2), dtype=torch.int32), torch.empty(0, dtype=torch.int64))
    _, alone = workflow.network_builder(Network("embedding"), tokens, C, 1, nobody)
    assert alone["options"]["vocabulary_size"] == 5


def test_the_vocabulary_covers_words_that_no_feature_holds():
    """A word that stands only where long texts were cut off may come when the model serves."""
    tokens = torch.tensor([[1, 3], [1, 4]], dtype=torch.int32)

    for words, expected in ((3, 5), (5, 5), (9, 9)):
        _, spec = workflow.network_builder(Network("embedding"), tokens, C, vocabulary_size=words)
        assert spec["options"]["vocabulary_size"] == expected
    _, spec = workflow.network_builder(Network("mlp"), torch.zeros(5, 4), C, vocabulary_size=9)
    assert "vocabulary_size" not in spec["options"]


def test_a_rank_builds_for_the_same_vocabulary():
    tokens, rows = torch.tensor([[1, 3], [1, 4]], dtype=torch.int32), torch.arange(2)
    data = TrainSet(tokens, rows, 2, rows, rows[:0])
    preset = dataclasses.replace(
        PRESET, training=dataclasses.replace(TRAINING, network=Network("embedding"))
    )

    alone, _ = workflow.fit(preset, data, None, seed=0, progress=False, vocabulary_size=9)
    content = workflow.job(preset, data, None, seed=0, progress=False, vocabulary_size=9)
    found = workflow.fit_rank(content, None)

    assert alone.spec["options"]["vocabulary_size"] == 9
    assert found["model"]["spec"] == alone.spec


def test_a_vocabulary_that_is_set_stays():
    network = Network("embedding", {"vocabulary_size": 7})
    tokens = torch.zeros(2, 3, dtype=torch.int32)

    _, spec = workflow.network_builder(network, tokens, C, vocabulary_size=9)

    assert spec["options"]["vocabulary_size"] == 7


# -- estimate and fit -------------------------------------------------------------------------


def test_estimate():
    data, _ = train_set()
    probe = ProbeSpec(folds=2, training=TRAINING)
    rows = tuple(map(tuple, noise().transition.tolist()))
    given = EstimationConfig(probe, EstimationSpec("given", transition=rows, bootstrap=5))

    found, probs = workflow.estimate(data, given, seed=0)
    again, same = workflow.estimate(data, given, seed=0)
    _, other = workflow.estimate(data, given, seed=1)

    np.testing.assert_allclose(found.transition, noise().transition)
    assert probs.shape == (48, C)
    assert probs.dtype == np.float32
    np.testing.assert_allclose(probs.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(probs, same)
    assert found.interval == again.interval
    assert not np.array_equal(probs, other)


@pytest.mark.parametrize(("foreign_share", "told"), [(0.4, True), (0.0, False)])
def test_samples_of_no_class_are_told_of(blobs, caplog, foreign_share, told):
    """Networks are unsure of samples between all classes, so no confident joint counts them."""
    data = blobs(rows=1200, noise=0.0).data
    draws = torch.Generator().manual_seed(1)
    foreign = torch.rand(len(data.features), generator=draws) < foreign_share
    mixed = torch.where(foreign[:, None], 0.1 * data.features, data.features)
    labels = torch.where(foreign, torch.randint(4, foreign.shape, generator=draws), 0)
    labels = torch.where(foreign, labels, data.given_labels)
    probe = ProbeSpec(folds=3, training=dataclasses.replace(TRAINING, schedule=Schedule(8, 0.01)))
    data = dataclasses.replace(data, features=mixed, given_labels=labels)

    found, _ = workflow.estimate(data, EstimationConfig(probe), seed=0)

    said = "".join(record.getMessage() for record in caplog.records)
    assert ("many samples belong to no class" in said) == told
    assert found.noise_rate < 0.2


def test_a_cross_validation_that_only_guesses_is_told(caplog):
    data, _ = train_set()
    coins = torch.from_numpy(np.random.default_rng(0).integers(0, C, len(data.given_labels)))
    guessing = dataclasses.replace(data, given_labels=coins)
    probe = ProbeSpec(folds=2, training=TRAINING)
    rows = tuple(map(tuple, noise().transition.tolist()))

    found, _ = workflow.estimate(guessing, EstimationConfig(probe), seed=0)
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    caplog.clear()
    trusted = EstimationConfig(probe, EstimationSpec("given", transition=rows, bootstrap=5))
    workflow.estimate(guessing, trusted, seed=0)

    assert found.kappa < 0.25
    assert f"Cohen's kappa {found.kappa:.2f}" in told
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_refine():
    data, _ = train_set()
    probe = ProbeSpec(folds=2, training=TRAINING)
    probs = (0.3 + 0.1 * np.eye(C, dtype=np.float32))[np.arange(48) % C]
    estimated = dataclasses.replace(noise(), method="confident_joint")

    def look(rounds, found=estimated, seed=0):
        spec = RefinementSpec(rounds=rounds, folds=2, bootstrap=5)
        return workflow.refine(data, probs, found, probe, spec, seed)

    assert look(0)[0] is probs
    assert look(0)[1] is estimated
    refined, found = look(1)
    assert refined.dtype == np.float32
    assert refined.shape == (48, C)
    np.testing.assert_allclose(refined.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(refined, look(1)[0])
    assert not np.array_equal(refined, look(1, seed=1)[0])
    assert not np.array_equal(refined, look(2)[0])
    assert found.method == "maximum_likelihood"
    assert not np.allclose(found.transition, estimated.transition)
    for method in ("given", "curated"):
        known = dataclasses.replace(noise(), method=method)
        assert look(1, known)[1] is known


def test_a_second_look_that_hardly_tells_classes_apart_is_warned_of(monkeypatch):
    data, _ = train_set()
    flat = np.full((C, C), 1 / C) + 1e-4 * np.eye(C)
    flat /= flat.sum(1, keepdims=True)
    found = dataclasses.replace(noise(), method="maximum_likelihood", transition=flat)
    monkeypatch.setattr(workflow.noise, "refined_noise", lambda *_: found)
    probs = np.full((48, C), 1 / C, np.float32)
    first = dataclasses.replace(noise(), method="confident_joint")
    spec = RefinementSpec(rounds=1, folds=2, bootstrap=5)
    with pytest.warns(UserWarning, match=r"transition: condition number 1e\+04"):
        workflow.refine(data, probs, first, ProbeSpec(folds=2, training=TRAINING), spec, 0)


def test_refine_only_begins_with_a_network_that_has_lost_a_class(caplog):
    data, _ = train_set()
    probe = ProbeSpec(folds=2, training=TRAINING)
    found = dataclasses.replace(noise(), method="confident_joint")

    def look(*classes, rounds=1):
        """Look again after a method that predicts these classes in turn, surely."""
        probs = np.eye(C, dtype=np.float32)[np.resize(classes, 48)]
        spec = RefinementSpec(rounds=rounds, folds=2, bootstrap=5)
        return workflow.refine(data, probs, found, probe, spec, 0)[0]

    refined = look(0, 1)
    assert "has lost 1 of 3 classes (0 rows, where 16 are expected)" in caplog.text
    # What the first networks agree on is learned anew.
    np.testing.assert_array_equal(refined, look(0, 1, rounds=2))
    # Of a network that says the same of all rows nothing is left but the given labels.
    np.testing.assert_array_equal(look(1), look(0))
    caplog.clear()
    assert not np.array_equal(refined, look(0, 1, 2))
    assert "lost" not in caplog.text
    assert "expected" not in caplog.text


def test_estimate_from_trusted_rows():
    data, _ = train_set()
    probe = ProbeSpec(folds=2, training=TRAINING)
    curated = EstimationConfig(probe, EstimationSpec("curated", bootstrap=5))
    true, given = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 2])

    found, _ = workflow.estimate(data, curated, 0, (true, given))

    np.testing.assert_allclose(found.transition, [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]])


def test_curated_pairs_are_joined_by_id():
    curated = pd.DataFrame({"sample_id": ["s40", "s01"], "true_label": [2, 0]})

    true, given = workflow.curated_pairs(table(), curated)

    assert true.tolist() == [2, 0]
    assert given.tolist() == [40 % C, 1 % C]


def test_fit_hands_over_the_model_that_made_the_probabilities():
    data, test = train_set()

    model, result = workflow.fit(PRESET, data, None, seed=0, test=test, progress=False)

    with torch.no_grad():
        torch.testing.assert_close(model(data.features), result.probs)
    assert len(result.history) == 3


def test_a_class_that_the_trained_network_has_lost_is_reported(tmp_path, caplog):
    data, test = train_set()
    model, result = workflow.fit(PRESET, data, None, seed=0, test=test, progress=False)
    checkpoint = Checkpointer(tmp_path, {}, 0)

    def lost(*classes):
        spoilt = dataclasses.replace(result, probs=torch.eye(C)[np.resize(classes, 48)])
        names = ["cat", "dog", "owl"]
        args = (PRESET, model, spoilt, names, features(2), checkpoint, noise())
        return workflow.trained_parts(*args).report["lost_classes"]

    assert lost(0, 1, 2) == []
    assert "hardly ever" not in caplog.text
    assert lost(0, 2) == ["dog"]
    assert "hardly ever predicts 'dog'" in caplog.text


# -- presets ----------------------------------------------------------------------------------

RECIPE = {"name": "mine", "method": "jocor", "options": {"co_lambda": 0.9}}


def test_choose_preset():
    chosen = workflow.choose_preset(RECIPE, "mine")

    assert (chosen.name, chosen.method) == ("mine", "jocor")
    assert chosen.training == TrainingConfig()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "other"}, "'mine' was asked for, but the recipe loaded is 'other'"),
        ({"method": "jocr"}, "unknown method 'jocr'; did you mean 'jocor'"),
        ({"options": {"colambda": 1}}, r"recipe\.options\.colambda: unknown option; did you mean"),
        ({"options": {"co_lambda": 2.0}}, r"recipe\.options\.co_lambda"),
        ({"training": {"epochs": 3}}, r"recipe\.training\.epochs: unknown option"),
        ({"traning": {}}, r"recipe\.traning: unknown option; did you mean 'training'"),
    ],
)
def test_choose_preset_refuses(changes, message):
    with pytest.raises(ConfigError, match=message):
        workflow.choose_preset({**RECIPE, **changes}, "mine")


def test_every_default_is_in_the_resolved_preset():
    found = workflow.resolved(workflow.choose_preset(RECIPE, "mine"))

    assert found["options"]["co_lambda"] == 0.9
    assert "ramp" in found["options"]
    assert found["training"]["schedule"]["epochs"] == 200


# -- checkpoints ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"preset": dataclasses.replace(PRESET, options={"keep": "best_val_loss"})},
        {"preset": dataclasses.replace(PRESET, training=TrainingConfig())},
        {"table": table(labels=np.arange(ROWS) % C // 2)},
        {"noise": {"noise_rate": 0.3}},
        {"seed": 1},
        {"vocabulary_size": 9},
        {"tokens": "another vocabulary"},
    ],
    ids=["options", "training", "labels", "noise", "seed", "vocabulary", "tokens"],
)
def test_a_run_has_a_checkpoint_of_its_own(changes, tmp_path):
    run = {"preset": PRESET, "table": table(), "noise": {"noise_rate": 0.2}, "seed": 0}

    first = workflow.checkpointer(str(tmp_path), **run)
    again = workflow.checkpointer(str(tmp_path), **run)
    other = workflow.checkpointer(str(tmp_path), **run | changes)

    assert first.path == again.path != other.path


# -- the estimate as JSON ---------------------------------------------------------------------


def test_the_estimate_survives_json():
    found = workflow.noise_from_dict(
        workflow.noise_to_dict(dataclasses.replace(noise(), kappa=0.5))
    )

    assert found.kappa == 0.5
    np.testing.assert_array_equal(found.transition, noise().transition)
    np.testing.assert_array_equal(found.class_prior, noise().class_prior)
    assert (found.noise_rate, found.interval, found.method) == (
        0.2,
        (0.1, pytest.approx(0.3)),
        "given",
    )


def test_intervals_of_the_elements_survive_json_and_may_be_absent():
    low, high = np.eye(C) * 0.7, np.eye(C) * 0.9
    estimate = dataclasses.replace(noise(), transition_interval=(low, high))

    raw = json.loads(json.dumps(workflow.noise_to_dict(estimate)))
    found = workflow.noise_from_dict(raw)

    np.testing.assert_array_equal(found.transition_interval, (low, high))
    older = {k: v for k, v in raw.items() if not k.startswith("transition_")}
    assert older == workflow.noise_to_dict(noise())
    assert workflow.noise_from_dict(older).transition_interval is None


def test_an_edited_matrix_is_refused():
    raw = workflow.noise_to_dict(noise())
    raw["transition"][0][0] += 0.1

    with pytest.raises(TransitionError, match="row 0"):
        workflow.noise_from_dict(raw)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise_rate": 7.0}, r"noise_rate must lie in \[0, 1\], found 7.0; make it again"),
        ({"noise_rate": float("nan")}, "noise_rate must lie in"),
        ({"noise_rate": None}, "in what was read"),
        ({"noise_rate": [0.2]}, "in what was read"),
        ({"interval": [0.1, 1.5]}, "interval must lie in"),
        ({"interval": 0.1}, "in what was read"),
        ({"class_prior": [2.0, -1.0, 0.0]}, "class_prior must lie in"),
        ({"class_prior": [0.5, 0.2, 0.1]}, "class_prior: expected 3 shares with a sum of 1"),
        ({"class_prior": [0.5, 0.5]}, "class_prior: expected 3 shares"),
        ({"class_prior": "x"}, "in what was read"),
    ],
)
def test_an_edited_estimate_is_refused(changes, message):
    with pytest.raises(DataError, match=f"noise estimate: .*{message}"):
        workflow.noise_from_dict(workflow.noise_to_dict(noise()) | changes)


@pytest.mark.parametrize("name", ["noise_rate", "interval", "class_prior", "transition", "method"])
def test_an_estimate_without_a_value_is_refused(name):
    raw = workflow.noise_to_dict(noise())
    del raw[name]
    with pytest.raises(DataError, match=f"noise estimate: KeyError.'{name}'.* kedro run"):
        workflow.noise_from_dict(raw)


# -- arrays of former runs --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda probs: probs[:-1], r"expected shape \(48, 3\), found \(47, 3\)"),
        (lambda probs: probs[:, :2], r"expected shape \(48, 3\), found \(48, 2\)"),
        (lambda probs: probs[:, 0], r"expected shape \(48, 3\), found \(48,\)"),
        (lambda probs: probs * 5, "row 0 .* expected a sum of 1"),
        (lambda probs: np.where(np.arange(48)[:, None] == 7, np.nan, probs), "row 7 .* finite"),
    ],
)
@pytest.mark.parametrize("maker", ["training", "refinement"])
def test_damaged_probabilities_are_refused(damage, message, maker):
    workflow.check_probs_of(table(), sure_probs(), C, maker)
    name = {"training": "training_probs", "refinement": "refined_probs"}[maker]
    with pytest.raises(DataError, match=f"{name}: {message}.*kedro run --pipelines {maker}"):
        workflow.check_probs_of(table(), damage(sure_probs()), C, maker)


@pytest.mark.parametrize("damaged", [np.ones(47, bool), np.ones(48), np.ones((48, 2), bool)])
def test_damaged_rows_of_a_selection_are_refused(damaged):
    for good in (np.ones(48, bool), np.ones(0, bool)):
        workflow.check_probs_of(table(), sure_probs(), C, "refinement", good)
    told = r"training_selected: expected bool \(48,\), found .*kedro run --pipelines training"
    with pytest.raises(DataError, match=told):
        workflow.check_probs_of(table(), sure_probs(), C, "refinement", damaged)


def test_fewer_class_names_than_classes_are_refused():
    workflow.check_classes(table(), C)
    with pytest.raises(DataError, match=r"class_names: 2 names, but sample '.*' .* label 2; "):
        workflow.check_classes(table(), C - 1)


# -- repair_table -----------------------------------------------------------------------------


def repaired(probs, selected=None, policy=None):
    chosen = np.empty(0, dtype=bool) if selected is None else selected
    return workflow.repair_table(table(), probs, chosen, noise(), ScoringSpec(), policy or Policy())


def sure_probs():
    """Return probabilities of the 48 rows: sure of the given label, but of row 0's neighbour."""
    labels = table().loc[repairable(table()), "given_label"].to_numpy().copy()
    labels[0] = (labels[0] + 1) % C
    return np.where(np.eye(C)[labels] > 0, 0.98, 0.01).astype(np.float32)


def test_repair_table():
    found = repaired(sure_probs())

    test = found["split"] == "test"
    added = found.columns.difference(table().columns)
    assert found.loc[test, added].isna().all(axis=None)
    assert found["action"].notna().equals(~test)
    pd.testing.assert_frame_equal(found[table().columns], table())
    row = found[~test].iloc[0]
    assert row["suggested_label"] == (row["given_label"] + 1) % C
    assert row["is_label_issue"]
    assert "selected" not in found


def test_the_methods_selection_is_kept():
    selected = np.arange(48) % 2 == 0

    found = repaired(sure_probs(), selected)

    assert found.loc[found["split"] != "test", "selected"].tolist() == selected.tolist()
    assert found.loc[found["split"] == "test", "selected"].isna().all()


def test_probabilities_of_other_rows_are_refused():
    with pytest.raises(DataError, match="training saw 47 rows, the label table has 48"):
        repaired(sure_probs()[:-1])
