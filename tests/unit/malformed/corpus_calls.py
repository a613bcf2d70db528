"""The Python face and the tables: arrays, matrices, settings, decisions that break a rule."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from corpus import Case

from labelrepair import RobustClassifier, repair, repair_with_probs
from labelrepair.decisions import COLUMNS as DECISION_COLUMNS
from labelrepair.decisions import from_file
from labelrepair.errors import ConfigError, DataError, TransitionError
from labelrepair.label_table import check_label_table, check_repaired_table, extend
from labelrepair.scoring import score
from labelrepair.transition import check_transition

N = 8
X = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
Y = np.arange(N) % 2
PROBS = np.full((N, 2), 0.5)


def cases() -> Iterator[Case]:
    yield from features()
    yield from labels()
    yield from probabilities()
    yield from transitions()
    yield from label_tables()
    yield from repaired_tables()
    yield from decisions()


def at(array: Any, place: Any, value: Any) -> np.ndarray:
    changed = np.array(array, dtype=np.result_type(array, np.asarray(value)))
    changed[place] = value
    return changed


def _repair(x: Any, y: Any, **options: Any) -> Callable[[Path], object]:
    return lambda _folder: repair(x, y, method="cross_entropy", epochs=1, **options)


def features() -> Iterator[Case]:
    for name, x, said in (
        ("nan", at(X, (5, 1), np.nan), "features: row 5 holds a NaN"),
        ("inf", at(X, (5, 1), np.inf), "features: row 5 holds a NaN or infinite"),
        ("too_large", at(X, (5, 1), 1e300), "features: row 5 holds a NaN or infinite"),
        ("empty", X[:0], "N > 0"),
        ("no_column", X[:, :0], "N > 0, found shape"),
        ("one_axis", X[:, 0], "found shape"),
        ("five_axes", X[:, None, None, None], "found shape"),
        ("text", X.astype(str), "expected numbers"),
        ("objects", X.astype(object), "expected numbers"),
        ("complex", X.astype(complex), "expected numbers"),
        ("dates", np.zeros((N, 3), "M8[D]"), "expected numbers"),
        ("bool", X > 0, "expected numbers"),
        ("none", None, "found shape"),
        ("ragged", [[1.0], [1.0, 2.0]] * 4, "features: rows that"),
        ("negative_token", at(np.ones((N, 3), np.int64), (5, 1), -1), "row 5 holds a negative"),
        (
            "token_two_to_63",
            at(np.ones((N, 3), np.uint64), (5, 1), np.uint64(2**63)),
            "row 5 holds a token of 16777216 or more",
        ),
        ("quantities", at(np.ones((N, 3), np.int64), (5, 1), 2**24 - 1), "row 5 .*astype"),
        (
            "token_two_to_40",
            at(np.ones((N, 3), np.int64), (5, 1), 2**40),
            "row 5 holds a token of 16777216 or more",
        ),
    ):
        yield Case(f"features_{name}", _repair(x, Y), (said,))


def labels() -> Iterator[Case]:
    for name, y, said, kind in (
        ("nan", at(Y, 5, np.nan), "given_labels: .*row 5", DataError),
        ("inf", at(Y, 5, np.inf), "given_labels: .*row 5", DataError),
        ("minus_inf", at(Y, 5, -np.inf), "given_labels: .*row 5", DataError),
        ("fraction", at(Y, 5, 0.5), "given_labels: .*row 5", DataError),
        ("negative", at(Y, 5, -1), "given_labels: row 5 is -1", DataError),
        ("two_to_31", at(Y, 5, 2**31), f"given_labels: class 2 of {2**31 + 1} has no", DataError),
        ("two_to_62", at(Y, 5, 2**62), f"given_labels: row 5 is {2**62}, expected 0", DataError),
        (
            "uint64",
            at(Y.astype(np.uint64), 5, np.uint64(2**63)),
            f"given_labels: row 5 is {2**63}, expected 0",
            DataError,
        ),
        (
            "1e300",
            at(Y, 5, 1e300),
            "given_labels: expected whole numbers, .*row 5 is 1e.300",
            DataError,
        ),
        ("text", Y.astype(str), "expected whole numbers", DataError),
        ("objects", Y.astype(object), "expected whole numbers", DataError),
        ("one_hot", np.eye(N), "expected shape", DataError),
        ("short", Y[:-1], "expected shape", DataError),
        ("empty", Y[:0], "expected shape", DataError),
        ("none", None, "expected shape", DataError),
        ("one_class", Y * 0, "at least 2 classes", ConfigError),
        ("gap", Y * 2, "class 1 of 3 has no sample", DataError),
        ("more_classes_than_samples", np.arange(N) * 2, "class 1 of 15 has no sample", DataError),
        ("one_sample_per_class", np.arange(N), "single sample", DataError),
    ):
        yield Case(f"given_{name}", _repair(X, y), (said,), kind)
    for name, given, said, kind in (
        ("num_classes_two_to_31", {"num_classes": 2**31}, f"class 2 of {2**31} has no", DataError),
        ("num_classes_one", {"num_classes": 1}, "at least 2", ConfigError),
        ("num_classes_too_few", {"num_classes": 0}, "at least 2", ConfigError),
        ("ids_short", {"sample_ids": ["a"]}, "sample_ids: expected 8, found 1", DataError),
        ("ids_repeated", {"sample_ids": ["a"] * N}, "'a' is repeated", DataError),
        ("ids_alike", {"sample_ids": ["a", "\u0430", *"cdefgh"]}, "looks like", DataError),
        ("method", {"method": "jocr"}, "did you mean 'jocor'", ConfigError),
        ("network", {"network": "mpl"}, "did you mean 'mlp'", ConfigError),
        ("network_import", {"network": "os:getcwd"}, "network os:getcwd", ConfigError),
        ("network_missing", {"network": "no.such:Net"}, "network no.such:Net", ConfigError),
        ("option", {"lrr": 1}, "unknown option", ConfigError),
        ("lr_nan", {"lr": float("nan")}, "lr: must be greater than 0", ConfigError),
        ("lr_inf", {"lr": float("inf")}, "lr: must be .* finite, found inf", ConfigError),
        ("batch_zero", {"batch_size": 0}, "batch_size: must", ConfigError),
        ("batch_two_to_70", {"batch_size": 2**70}, "batch_size: .* 64 bits", ConfigError),
        ("batch_two_to_40", {"batch_size": 2**40}, "batch_size: must lie in", ConfigError),
        ("betas", {"optimizer": {"betas": [1.0, 1.0]}}, "optimizer.betas: both must", ConfigError),
        ("decay", {"optimizer": {"weight_decay": np.inf}}, "weight_decay: .*finite", ConfigError),
        ("batch_negative", {"batch_size": -1}, "batch_size: must", ConfigError),
        ("epochs_text", {"budget": "1"}, "budget: expected float", ConfigError),
        ("device", {"device": "cdua"}, "device: 'cdua'", ConfigError),
        ("validation_all", {"validation_fraction": 1.0}, "validation_fraction", ConfigError),
        ("policy_key", {"policy": {"class_flor": 1}}, "did you mean 'class_floor'", ConfigError),
        ("policy_nan", {"policy": {"class_floor": np.nan}}, "policy.class_floor", ConfigError),
        ("folds", {"probe": {"folds": 100}}, "folds: 100 folds need", ConfigError),
    ):  # fmt: skip
        options: dict[str, Any] = dict(given)
        method = options.pop("method", "cross_entropy")
        read = lambda _f, o=options, m=method: repair(X, Y, method=m, **({"epochs": 1} | o))  # noqa: E731
        yield Case(f"repair_{name}", read, (said,), kind)
    classifier = lambda x, y: lambda _f: RobustClassifier("cross_entropy", epochs=1).fit(x, y)  # noqa: E731
    yield Case("classifier_one_class", classifier(X, Y * 0), ("1 class found",))


def probabilities() -> Iterator[Case]:
    even = PROBS
    for name, probs, said in (
        ("nan", at(even, (5, 1), np.nan), "probs: row 5 is .*nan.*expected finite values"),
        ("inf", at(even, (5, 1), np.inf), "probs: row 5 is .*inf.*expected finite values"),
        ("negative", at(even, (5, slice(None)), [1.5, -0.5]), "probs: row 5.*negative"),
        ("sum", at(even, (5, 1), 0.9), "probs: row 5.*sum of 1"),
        ("logits", at(even, (0, slice(None)), [4.0, -3.0]), "probs: row 0.*negative"),
        ("empty", even[:0], "N >= 1"),
        ("one_column", even[:, :1], "C >= 2"),
        ("one_axis", even[:, 0], "expected shape"),
        ("three_axes", even[None], "expected shape"),
        ("text", np.full(even.shape, "x"), "probs: expected rows of numbers .*'x'"),
        ("ragged", [[0.5, 0.5], [1.0]] * 4, "probs: expected rows of numbers .*inhomogeneous"),
        ("none", None, r"probs: expected shape .* found \(\)"),
        ("10001_classes", np.zeros((N, 10_001)), "C <= 10000, .*GB"),
        ("100000_classes", np.full((N, 100_000), 1e-5), "C <= 10000, .* 80.0 GB"),
        ("a_million_classes", np.full((N, 10**6), 1e-6), "C <= 10000, .* 8000.0 GB"),
    ):
        yield Case(f"probs_{name}", lambda _f, p=probs: repair_with_probs(p, Y), (said,))
    for name, y, said in (
        ("label_beyond_columns", at(Y, 5, 2), "given_labels: row 5 is 2, expected 0..1"),
        ("label_two_to_31", at(Y, 5, 2**31), f"given_labels: row 5 is {2**31}, expected 0..1"),
        ("label_nan", at(Y, 5, np.nan), "row 5 is nan"),
        ("label_inf", at(Y, 5, np.inf), "row 5 is inf"),
        ("label_text", Y.astype(str), "expected whole numbers"),
        ("labels_short", Y[1:], "expected shape"),
    ):
        yield Case(f"probs_{name}", lambda _f, y=y: repair_with_probs(PROBS, y), (said,))
    identity = np.eye(2)
    yield Case("score_nan", lambda _f: score(at(even, (5, 1), np.nan), Y, identity), ("row 5",))
    yield Case("score_short", lambda _f: score(even[1:], Y, identity), ("does not fit",))
    yield Case("score_label", lambda _f: score(even, at(Y, 5, 7), identity), ("row 5",))
    yield Case("score_negative_label", lambda _f: score(even, at(Y, 5, -1), identity), ("row 5",))
    yield Case(
        "score_float_label", lambda _f: score(even, Y * 1.0, identity), ("expected integers",)
    )


def transitions() -> Iterator[Case]:
    for name, matrix, said in (
        ("rows", [[0.9, 0.2], [0.1, 0.9]], "row 0 .*sum 1.1"),
        ("transposed", [[0.9, 0.4], [0.1, 0.6]], "may be the transpose"),
        ("negative", [[1.1, -0.1], [0.0, 1.0]], "must not be negative; row 0"),
        ("nan", [[1.0, 0.0], [np.nan, 1.0]], "must be finite; row 1"),
        ("inf", [[1.0, 0.0], [np.inf, 1.0]], "must be finite; row 1"),
        ("wide", [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]], "square matrix, found shape"),
        ("ragged", [[1.0], [0.5, 0.5]], "square matrix of numbers"),
        ("text", [["a", "b"], ["c", "d"]], "square matrix of numbers"),
        ("empty", [], "square matrix, found shape"),
        ("scalar", 1.0, "square matrix, found shape"),
        ("none", None, "square matrix, found shape"),
        ("other_classes", np.eye(3), r"expected shape \(2, 2\), found \(3, 3\)"),
        ("zero_row", [[0.0, 0.0], [0.0, 1.0]], "row 0"),
        ("three_axes", np.ones((2, 2, 2)), "square matrix, found shape"),
        ("complex", [[1j, 0], [0, 1]], "square matrix of numbers"),
    ):
        read = lambda _f, m=matrix: check_transition(m, 2)  # noqa: E731
        yield Case(f"transition_{name}", read, ("^transition: ", said), TransitionError)


TABLE = pd.DataFrame(
    {
        "sample_id": pd.array([f"s{row}" for row in range(N)], dtype="str"),
        "given_label": Y.astype(np.int64),
        "split": pd.array(["train"] * 6 + ["validation", "test"], dtype="str"),
        "content_hash": pd.array(["0" * 16] * N, dtype="str"),
    }
)


def table(base: pd.DataFrame = TABLE, row: int = 3, **cells: Any) -> pd.DataFrame:
    changed = base.copy()
    for name, value in cells.items():
        column = changed[name].astype(object)
        column[row] = value
        changed[name] = (
            column if value is None or isinstance(value, float) else column.infer_objects()
        )
        if isinstance(value, str):
            changed[name] = changed[name].astype("str")
    return changed


def label_tables() -> Iterator[Case]:
    for name, frame, said in (
        ("no_column", TABLE.drop(columns="split"), "missing column split"),
        ("id_null", table(sample_id=None), "sample_id is missing in row 3"),
        ("id_number", TABLE.assign(sample_id=range(N)), "sample_id must be text"),
        ("id_repeated", table(sample_id="s2"), "'s2': sample_id is repeated"),
        ("unsorted", TABLE.iloc[::-1].reset_index(drop=True), "not sorted"),
        ("index", TABLE.set_index(pd.RangeIndex(1, N + 1)), "index must be 0..N-1"),
        (
            "label_null",
            TABLE.assign(given_label=TABLE["given_label"].astype("Int64").where(TABLE.index != 3)),
            "'s3': given_label is missing",
        ),
        ("label_float", TABLE.assign(given_label=Y * 1.0), "must be int64"),
        ("label_text", TABLE.assign(given_label=Y.astype(str)), "must be int64"),
        ("label_large", table(given_label=2**31), "'s3': given_label outside 0..1"),
        ("label_negative", table(given_label=-1), "'s3': given_label outside 0..1"),
        ("split_unknown", table(split="Train"), "'s3': unknown split 'Train'"),
        ("split_null", table(split=None), "s3"),
        ("no_training", TABLE.assign(split="test"), "training split is empty"),
        ("no_row", TABLE.iloc[:0], "training split is empty"),
        (
            "empty_class",
            TABLE.assign(given_label=np.zeros(N, np.int64)),
            "no training row has class 1",
        ),
    ):
        yield Case(f"table_{name}", lambda _f, t=frame: check_label_table(t, 2), (said,))
    for name, columns, said in (
        ("unknown_id", {"sample_id": ["s9"], "x": [1]}, "'s9': unknown to the label table"),
        ("repeated_id", {"sample_id": ["s1", "s1"], "x": [1, 2]}, "'s1': sample_id is repeated"),
        ("number_id", {"sample_id": [1], "x": [1]}, "must be text"),
        ("no_id", {"x": [1]}, "missing column sample_id"),
        ("changed_label", {"sample_id": ["s1"], "given_label": [0]}, "would change the existing"),
    ):
        read = lambda _f, c=columns: extend(TABLE, pd.DataFrame(c))  # noqa: E731
        yield Case(f"extend_{name}", read, (said,))


def repaired_tables() -> Iterator[Case]:
    decided = np.array([True] * 7 + [False])
    null = lambda values, kind: pd.array(np.where(decided, values, None), dtype=kind)  # noqa: E731
    good = TABLE.assign(
        label_quality=null([0.9] * N, "Float64"),
        is_label_issue=null([False] * N, "boolean"),
        suggested_label=null(Y, "Int64"),
        confidence=null([0.9] * N, "Float64"),
        action=["keep"] * 7 + [None],
        repaired_label=null(Y, "Int64"),
        label_source=["given"] * 7 + [None],
    )
    check_repaired_table(good, 2)
    for name, row, cells, said in (
        ("no_action", 3, {"action": None}, "s3.*no action"),
        ("unknown_action", 3, {"action": "Keep"}, "s3.*unknown action"),
        ("test_row_decided", 7, {"action": "keep"}, "s7.*a test row"),
        ("test_row_relabelled", 7, {"repaired_label": 0}, "s7.*a test row"),
        ("keep_other", 3, {"repaired_label": 0}, "s3.*keep, but"),
        ("relabel_same", 3, {"action": "relabel"}, "s3.*relabel, but"),
        ("relabel_null", 3, {"action": "relabel", "repaired_label": pd.NA}, "s3.*relabel, but"),
        ("drop_with_label", 3, {"action": "drop"}, "s3.*drop or review"),
        ("quality_high", 3, {"label_quality": 1.5}, "s3.*label_quality outside"),
        ("quality_nan", 3, {"label_quality": pd.NA}, "s3.*label_quality outside"),
        ("confidence_low", 3, {"confidence": -0.1}, "s3.*confidence outside"),
        ("unknown_source", 3, {"label_source": "robot"}, "s3.*unknown label_source"),
        ("no_source", 3, {"label_source": None}, "s3.*label_source is missing"),
        ("repaired_large", 3, {"repaired_label": 2**31}, "s3.*repaired_label outside"),
        ("suggested_large", 3, {"suggested_label": 5}, "s3.*suggested_label outside"),
    ):
        frame = good.copy()
        for column, value in cells.items():
            values = frame[column].array.copy()
            values[row] = value
            frame[column] = values
        yield Case(f"repaired_{name}", lambda _f, t=frame: check_repaired_table(t, 2), (said,))


def decisions() -> Iterator[Case]:
    line = dict.fromkeys(DECISION_COLUMNS, "") | {
        "sample_id": "s3",
        "action": "keep",
        "label": "cat",
    }
    for name, cells, said in (
        ("action", {"action": "relable"}, "line 2.*'s3'.*action 'relable' is no action"),
        ("label", {"label": "cta"}, "line 2.*'s3'.*'cta' is no class.*did you mean 'cat'"),
        ("no_label", {"label": ""}, "needs a label"),
        ("label_of_drop", {"action": "drop"}, "goes without a label"),
    ):
        raw = pd.DataFrame([line | cells])
        read = lambda _f, r=raw: from_file(r, ["cat", "dog"], "d.csv")  # noqa: E731
        yield Case(f"decision_{name}", read, ("^d.csv: ", said))
    twice = pd.DataFrame([line, line])
    yield Case(
        "decision_twice", lambda _f: from_file(twice, ["cat"], "d.csv"), ("is decided twice",)
    )
    short = pd.DataFrame([line]).drop(columns="note")
    yield Case(
        "decision_column", lambda _f: from_file(short, ["cat"], "d.csv"), ("missing column note",)
    )
