"""scikit-learn's own checks of the estimator, what it finds, and company with cleanlab."""

import inspect
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores, order_label_issues
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import labelrepair
from labelrepair import RobustClassifier, robust_classifier
from labelrepair.errors import ConfigError, DataError, LabelRepairError, TransitionError

FAST = {
    "method": "cross_entropy",
    "epochs": 8,
    "lr": 0.05,
    "batch_size": 32,
    "device": "cpu",
    "random_state": 0,
    "probe": {"folds": 2, "training": {"schedule": {"epochs": 2, "lr": 0.05}}},
}
CLASSES = np.array(["cat", "dog", "fox"])
RATE = 0.2


@parametrize_with_checks([RobustClassifier(**FAST)])
def test_scikit_learns_checks(estimator, check):
    """All of them; none is expected to fail."""
    check(estimator)


@pytest.fixture(scope="module")
def noisy():
    """Return vectors, true and given names; a fifth of the given ones is wrong."""
    features, true = make_blobs(300, 5, centers=3, cluster_std=1.5, random_state=3)
    draws = np.random.default_rng(0)
    wrong = draws.random(300) < RATE
    given = np.where(wrong, (true + draws.integers(1, 3, 300)) % 3, true)
    return features, CLASSES[true], CLASSES[given]


@pytest.fixture(scope="module")
def fitted(noisy):
    features, _, given = noisy
    more = {"method": "jocor", "epochs": 20, "lr": 0.02, "options": {"ramp": 2}}
    probe = {"folds": 4, "training": {"schedule": {"epochs": 12, "lr": 0.02}}}
    model = RobustClassifier(**{**FAST, **more, "probe": probe})
    return model.fit(pd.DataFrame(features).add_prefix("f").set_index(np.arange(1000, 1300)), given)


# -- what it finds ------------------------------------------------------------------------------


def test_it_sees_the_noise(fitted):
    assert fitted.noise_rate_ == pytest.approx(RATE, abs=0.06)
    assert fitted.noise_rate_ == fitted.noise_estimate_.noise_rate
    low, high = fitted.noise_estimate_.interval
    assert low < fitted.noise_rate_ < high
    np.testing.assert_allclose(fitted.transition_.sum(axis=1), 1)
    np.testing.assert_allclose(fitted.transition_.diagonal(), 1 - RATE, atol=0.1)


def test_it_predicts_the_truth_rather_than_the_labels(noisy, fitted):
    features, true, given = noisy
    named = pd.DataFrame(features).add_prefix("f")
    assert fitted.score(named, true) > 0.97
    assert fitted.score(named, given) < 0.85
    probs = fitted.predict_proba(named)
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    np.testing.assert_array_equal(fitted.predict(named), fitted.classes_[probs.argmax(axis=1)])
    assert fitted.n_features_in_ == 5
    assert list(fitted.feature_names_in_) == [f"f{i}" for i in range(5)]
    assert fitted.classes_.tolist() == CLASSES.tolist()
    assert len(fitted.history_) == 20


def test_label_issues_have_cleanlabs_columns_and_the_frames_index(noisy, fitted):
    _, true, given = noisy
    issues = fitted.label_issues_
    assert list(issues)[:4] == ["is_label_issue", "label_quality", "given_label", "predicted_label"]
    assert list(issues)[4:] == ["confidence", "action", "repaired_label"]
    assert issues.index.tolist() == list(range(1000, 1300))
    assert issues["given_label"].tolist() == given.tolist()
    assert issues["label_quality"].between(0, 1).all()
    wrong = issues["is_label_issue"].to_numpy()
    assert (wrong == (given != true)).mean() > 0.95
    assert (issues["predicted_label"][wrong] == true[wrong]).mean() > 0.95


def test_repaired_labels(noisy, fitted):
    _, true, given = noisy
    repaired = fitted.repaired_labels_
    kept = repaired.notna().to_numpy()
    assert kept.mean() > 0.9
    assert kept.tolist() == fitted.label_issues_["action"].isin(["keep", "relabel"]).tolist()
    assert (given != true).mean() > 0.15
    assert (repaired[kept] != true[kept]).mean() < 0.05


def test_number_labels_keep_their_type(noisy):
    features, _, given = noisy
    numbers = 10 * (np.searchsorted(CLASSES, given) - 1)
    model = RobustClassifier(**FAST, policy={"review_budget": 0.1}).fit(features, numbers)
    assert model.classes_.tolist() == [-10, 0, 10]
    assert model.predict(features).dtype == numbers.dtype
    assert str(model.repaired_labels_.dtype) == "Int64"
    assert set(model.repaired_labels_.dropna()) == {-10, 0, 10}


def test_random_state_decides_everything(noisy):
    features, _, given = noisy

    def probs(state):
        return RobustClassifier(**{**FAST, "random_state": state}).fit(features, given).train_probs_

    np.testing.assert_array_equal(probs(1), probs(1))
    assert (probs(1) != probs(2)).any()
    assert (probs(None) != probs(None)).any()
    np.testing.assert_array_equal(probs(np.random.RandomState(4)), probs(np.random.RandomState(4)))


def test_the_same_as_repair(noisy):
    features, _, given = noisy
    model = RobustClassifier(**FAST).fit(features, given)
    more = {k: v for k, v in FAST.items() if k != "random_state"}
    codes = np.searchsorted(CLASSES, given)
    result = labelrepair.repair(features, codes, seed=0, **more)
    np.testing.assert_array_equal(model.train_probs_, result.probs)
    np.testing.assert_array_equal(model.out_of_sample_probs_, result.probe_probs)


# -- inputs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "missing"), [("Int64", "Int64"), ("uint64", "UInt64"), ("UInt64", "UInt64")]
)
def test_large_whole_numbers_stay_themselves(kind, missing):
    """As floats 2**63 and its neighbours are one number."""
    first = 2**53 if kind == "Int64" else 2**63
    labels = pd.Series([first + row % 3 for row in range(60)], dtype=kind)
    model = RobustClassifier(**FAST).fit(np.random.default_rng(0).normal(size=(60, 4)), labels)
    assert model.classes_.tolist() == [first, first + 1, first + 2]
    assert model.label_issues_["given_label"].tolist() == labels.tolist()
    assert model.repaired_labels_.dtype == missing


def test_yes_and_no_stay_themselves():
    labels = pd.Series(np.arange(60) % 2 == 0, dtype="boolean")
    model = RobustClassifier(**FAST).fit(np.random.default_rng(0).normal(size=(60, 4)), labels)
    assert model.classes_.tolist() == [False, True]
    assert model.repaired_labels_.dtype == "boolean"


@pytest.mark.parametrize("make", [list, tuple, lambda labels: np.array(labels, object)])
def test_texts_and_numbers_are_not_mixed(make):
    with pytest.raises(DataError, match="y: row 1 is the text 1 and row 0 is 1, exp"):
        RobustClassifier(**FAST).fit(np.eye(6), make([1, "1", "b"] * 2))


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3), (3, 8, 8)])
def test_images(shape):
    labels = np.arange(48) % 3
    images = np.random.default_rng(0).integers(0, 60, (48, *shape)).astype(np.uint8)
    images[np.arange(48), labels] += 150
    model = RobustClassifier(**FAST).fit(images, labels)
    assert model.predict_proba(images[:5]).shape == (5, 3)
    assert model.n_features_in_ == np.prod(shape)
    with pytest.raises(DataError, match=r"fitted on uint8 .* found float32"):
        model.predict(images / 255)
    with pytest.raises(DataError, match="found uint8 of shape"):
        model.predict(np.repeat(images, 2, axis=2))


def test_whole_numbers_are_numbers_unless_they_are_tokens():
    labels = np.arange(60) % 2
    words = np.column_stack([labels + 1, np.full(60, 3)])
    spread = RobustClassifier(**FAST).fit(words, labels)
    assert spread.model_.spec["name"] == "mlp"
    texts = RobustClassifier(**FAST, tokens=True).fit(words, labels)
    assert texts.model_.spec["name"] == "embedding"
    assert texts.score(words, labels) == 1
    with pytest.raises(DataError, match=r"X: row 1 holds token 9, .* 0\.\.3"):
        texts.predict([[1, 3], [9, 3]])
    np.testing.assert_array_equal(texts.predict(words[:4] * 1.0), texts.predict(words[:4]))
    for ask in (texts.predict, lambda X: texts.fit(X, [0, 1])):
        with pytest.raises(DataError, match=r"X: row 1 holds 2\.5, expected whole numbers"):
            ask([[1, 3], [2.5, 3]])


def test_a_known_transition_is_used(noisy):
    features, _, given = noisy
    known = np.full((3, 3), 0.1) + 0.7 * np.eye(3)
    model = RobustClassifier(**FAST, transition=known.tolist()).fit(features, given)
    np.testing.assert_allclose(model.transition_, known)
    with pytest.raises(TransitionError, match=r"^transition: "):
        RobustClassifier(**FAST, transition=np.ones((3, 3))).fit(features, given)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"method": "jocr"}, "did you mean 'jocor'"),
        ({"options": {"epoch": 1}}, "epoch: unknown option of cross_entropy"),
        ({"options": {"seed": 3}}, "options.seed: no option of a method; set by random_state"),
        ({"options": {"method": "jocor"}}, "options.method: no option .* set by method"),
        ({"options": {"features": [1]}}, "options.features: .* set by X"),
        ({"options": {"num_classes": 3}}, "options.num_classes: .* set by y"),
        ({"options": [1]}, r"options: expected a mapping of names to values, found \[1\]"),
        ({"options": {3: 4}}, "options: expected text as names, found 3"),
        ({"options": "abc"}, "options: expected a mapping of names to values, found 'abc'"),
        ({"options": ""}, "options: expected a mapping of names to values, found ''"),
        ({"probe": {"fold": 2}}, "probe.fold: unknown option; did you mean 'folds'"),
        ({"probe": {"training": {"lr": 1}}}, "probe.training.lr: unknown option"),
        ({"policy": {"floor": 1}}, "policy.floor: unknown option"),
        ({"method": "nlnl"}, "epochs: nlnl trains in stages"),
    ],
)
def test_wrong_settings_are_refused_by_fit(more, message, noisy):
    features, _, given = noisy
    with pytest.raises(ConfigError, match=message):
        RobustClassifier(**{**FAST, **more}).fit(features, given)


def test_every_name_that_repair_takes_has_its_place():
    """A parameter added to ``repair`` must not clash with an option unnoticed."""
    taken = set(inspect.signature(labelrepair.repair).parameters) - {"options"}
    assert set(robust_classifier._ELSEWHERE) == taken


@pytest.mark.parametrize("blank", [None, np.nan, pd.NA, pd.NaT])
@pytest.mark.parametrize("names", [["cat", "dog"], [0, 1]])
def test_a_blank_label_is_named(blank, names):
    y = names * 10
    y[5] = blank
    forms = [np.array(y, object), pd.Series(y, dtype=object)]
    if blank is not pd.NaT:
        forms.append(pd.Series(y, dtype="string" if names[0] == "cat" else "Int64"))
    for labels in forms:
        with pytest.raises(DataError, match="y: row 5 is blank"):
            RobustClassifier(**FAST).fit(np.ones((20, 2)), labels)


@pytest.mark.parametrize("name", ["(no class fits)", " "])
def test_a_reserved_class_name_is_refused(name):
    with pytest.raises(DataError, match=r"y: the class name '.*' means 'no class' in the"):
        RobustClassifier(**FAST).fit(np.ones((20, 2)), ["cat", name] * 10)


def test_nothing_before_fit():
    for ask in ("predict", "predict_proba"):
        with pytest.raises(NotFittedError):
            getattr(RobustClassifier(), ask)([[0.0]])


def test_a_fit_that_fails_leaves_the_one_before(noisy):
    features, _, given = noisy
    model = RobustClassifier(**FAST).fit(features, given)
    before = model.predict_proba(features[:9])
    others = np.char.add("no ", given)
    with pytest.raises(LabelRepairError, match="the loss is nan"):
        model.set_params(lr=1e30).fit(features, others)
    np.testing.assert_array_equal(model.predict_proba(features[:9]), before)
    assert model.classes_.tolist() == CLASSES.tolist()
    with pytest.raises(ConfigError):
        model.set_params(method="nope").fit(features[:, :2], given)
    np.testing.assert_array_equal(model.predict_proba(features[:9]), before)
    new = RobustClassifier(**{**FAST, "lr": 1e30})
    with pytest.raises(LabelRepairError):
        new.fit(features, given)
    with pytest.raises(NotFittedError):
        new.predict(features)


def test_a_row_has_the_same_answer_in_any_company(noisy):
    features, _, given = noisy
    model = RobustClassifier(**FAST).fit(features, given)
    together = model.predict_proba(features[:40])
    alone = np.concatenate([model.predict_proba(row[None]) for row in features[:40]])
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-8)


# -- company ------------------------------------------------------------------------------------


def test_pipelines_searches_and_pickles(noisy):
    features, _, given = noisy
    steps = make_pipeline(MinMaxScaler(), RobustClassifier(**FAST))
    assert cross_val_score(steps, features, given, cv=2).min() > 0.6
    grid = {"robustclassifier__options": [{"q": 0.3}, {"q": 0.7}]}
    steps.set_params(robustclassifier__method="generalized_cross_entropy")
    found = GridSearchCV(steps, grid, cv=2).fit(features, given)
    assert "q" in found.best_params_["robustclassifier__options"]
    assert found.cv_results_["mean_test_score"].min() > 0.5, "every candidate was fitted"
    counts = {"epochs": np.arange(3, 5), "lr": np.array([0.05], np.float32)}
    by_numpy = GridSearchCV(RobustClassifier(**FAST), counts, cv=2, error_score="raise")
    assert by_numpy.fit(features, given).best_params_["epochs"] in (3, 4)
    best = found.best_estimator_
    again = pickle.loads(pickle.dumps(best))
    np.testing.assert_array_equal(best.predict_proba(features), again.predict_proba(features))
    assert clone(best)[-1].get_params() == best[-1].get_params()


def test_cleanlab_scores_with_our_probabilities(noisy, fitted):
    _, true, given = noisy
    codes = np.searchsorted(CLASSES, given)
    probs = fitted.out_of_sample_probs_
    issues = find_label_issues(codes, probs)
    assert ((given != true) == issues).mean() > 0.9
    worst = order_label_issues(issues, codes, fitted.train_probs_)
    assert (given != true)[worst[:20]].mean() > 0.9
    theirs = get_label_quality_scores(codes, fitted.train_probs_)
    ours = fitted.label_issues_["label_quality"]
    assert theirs[given == true].mean() > theirs[given != true].mean() + 0.5
    assert np.corrcoef(theirs, ours)[0, 1] > 0.8


def test_we_repair_with_probabilities_of_another_model(noisy):
    features, true, given = noisy
    codes = np.searchsorted(CLASSES, given)
    probs = cross_val_predict(LogisticRegression(), features, codes, method="predict_proba")
    found = labelrepair.repair_with_probs(probs, codes)
    assert found.noise.noise_rate == pytest.approx(RATE, abs=0.06)
    wrong = found.table["is_label_issue"].to_numpy()
    assert (wrong == (given != true)).mean() > 0.95
    kept = found.table.dropna(subset="repaired_label")
    truth = np.searchsorted(CLASSES, true)[kept.index]
    assert (kept["repaired_label"] != truth).mean() < 0.05
    by_cleanlab = labelrepair.repair_with_probs(probs, codes, estimator="cleanlab")
    np.testing.assert_allclose(by_cleanlab.transition_matrix, found.transition_matrix, atol=0.05)


def test_probabilities_of_another_model_are_checked():
    probs, labels = np.full((4, 2), 0.5), [0, 1, 0, 1]
    known = [[0.9, 0.1], [0.2, 0.8]]
    found = labelrepair.repair_with_probs(probs, labels, transition=known, sample_ids=list("abcd"))
    assert found.noise.method == "given"
    assert found.table["sample_id"].tolist() == list("abcd")
    empty = labelrepair.repair_with_probs(np.eye(3)[[0, 1, 0]], [0, 1, 0])
    assert empty.transition_matrix.shape == (3, 3), "a class that nobody was given is allowed"
    with pytest.raises(DataError, match=r"row 0 .* expected a sum of 1"):
        labelrepair.repair_with_probs(probs * 2, labels)
    with pytest.raises(DataError, match="given_labels: row 1 is 2"):
        labelrepair.repair_with_probs(probs, [0, 2, 0, 1])
    with pytest.raises(ConfigError, match="method: unknown value 'confident'"):
        labelrepair.repair_with_probs(probs, labels, estimator="confident")
    with pytest.raises(ConfigError, match=r"scoring.calibrat: unknown option"):
        labelrepair.repair_with_probs(probs, labels, scoring={"calibrat": False})


def test_what_a_mask_hides_is_neither_learned_nor_predicted():
    features, labels = np.arange(24.0).reshape(12, 2), np.arange(12) % 2
    hidden = features == 6
    model = RobustClassifier("cross_entropy", epochs=1, device="cpu", random_state=0)
    with pytest.raises(DataError, match=r"X: 1 rows hold masked values \(row 3\)"):
        model.fit(np.ma.masked_array(features, hidden), labels)
    with pytest.raises(DataError, match=r"y: 1 rows hold masked values \(row 3\)"):
        model.fit(features, np.ma.masked_array(labels, hidden.any(1)))
    with pytest.raises(ConfigError, match=r"random_state: .*'abc'"):
        RobustClassifier("cross_entropy", random_state="abc").fit(features, labels)
    fitted = model.fit(torch.tensor(features, requires_grad=True), labels)
    with pytest.raises(DataError, match="X: 1 rows hold masked"):
        fitted.predict(np.ma.masked_array(features, hidden))


@pytest.mark.slow
def test_the_default_on_digits():
    """Nothing set but the seed: JoCoR as published finds 40 % wrong labels among the digits."""
    bunch = load_digits()
    draws = np.random.default_rng(0)
    wrong = draws.random(len(bunch.target)) < 0.4
    given = np.where(wrong, (bunch.target + draws.integers(1, 10, len(wrong))) % 10, bunch.target)
    model = RobustClassifier(random_state=0).fit(bunch.data, given)
    assert model.noise_rate_ == pytest.approx(0.4, abs=0.05)
    repaired = model.repaired_labels_
    kept = repaired.notna().to_numpy()
    assert kept.mean() > 0.9
    assert (repaired[kept] == bunch.target[kept]).mean() > 0.93
