import re
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelrepair.config import (
    affordable,
    below_one,
    from_dict,
    in_unit_interval,
    non_defaults,
    not_negative,
    one_of,
    positive,
    require,
    to_dict,
)
from labelrepair.errors import ConfigError, nearest
from labelrepair.training import Schedule, TrainingConfig


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    name: str = "a"

    def __post_init__(self):
        in_unit_interval(rate=self.rate)


@dataclass(frozen=True)
class Outer:
    count: int
    flag: bool = False
    kind: Literal["soft", "hard"] = "soft"
    inner: Inner = Inner()
    maybe: Inner | None = None
    pair: tuple[float, float] = (0.0, 1.0)
    steps: tuple[int, ...] = ()
    limit: int | None = None
    rows: tuple[tuple[float, ...], ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    anything: Any = None


def refused(raw, message, where="top", cls=Outer):
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        from_dict(cls, raw, where)
    assert str(caught.value).startswith(where), "the message begins with the path"


def test_builds_every_kind_of_field():
    raw = {
        "count": 3,
        "flag": True,
        "kind": "hard",
        "inner": {"rate": 1},
        "maybe": {"name": "b"},
        "pair": [1, 2.5],
        "steps": [4, 5],
        "limit": 7,
        "rows": [[1, 0], [0.5, 0.5]],
        "settings": {"x": [1]},
        "weights": {"w": 2},
        "anything": {"y": None},
    }
    found = from_dict(Outer, raw)
    assert found == Outer(
        3,
        True,
        "hard",
        Inner(1.0),
        Inner(name="b"),
        (1.0, 2.5),
        (4, 5),
        7,
        ((1.0, 0.0), (0.5, 0.5)),
        {"x": [1]},
        {"w": 2.0},
        {"y": None},
    )
    assert type(found.inner.rate) is float
    assert type(found.pair[0]) is float
    assert type(found.weights["w"]) is float


@dataclass(frozen=True)
class Tuned:
    inner: Inner = Inner(rate=0.25, name="tuned")
    maybe: Inner | None = Inner(name="tuned")
    absent: Inner | None = None


def test_a_nested_mapping_changes_the_fields_own_default():
    assert from_dict(Tuned, {"inner": {"rate": 0.1}}).inner == Inner(0.1, "tuned")
    assert from_dict(Tuned, {"inner": {}}) == Tuned()
    assert from_dict(Tuned, {"maybe": {"rate": 0.1}}).maybe == Inner(0.1, "tuned")
    assert from_dict(Tuned, {"maybe": None}).maybe is None
    assert from_dict(Tuned, {"absent": {"rate": 0.1}}).absent == Inner(0.1, "a")
    refused({"inner": {"rat": 1}}, "top.inner.rat: unknown option", cls=Tuned)


def test_none_is_an_empty_mapping_and_missing_keys_take_defaults():
    assert from_dict(Inner, None) == Inner()
    assert from_dict(Outer, {"count": 1}) == Outer(1)


def test_instances_pass_through():
    inner = Inner(0.25)
    assert from_dict(Outer, {"count": 1, "inner": inner, "maybe": inner}).inner is inner


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"count": 1, "fleg": True}, "top.fleg: unknown option; did you mean 'flag'?"),
        ({"count": 1, "qqqq": 1}, "top.qqqq: unknown option; expected one of anything, count"),
        ({"count": 1, "inner": {"rat": 1}}, "top.inner.rat: unknown option; did you mean 'rate'?"),
        ({}, "top.count: missing; it has no default"),
        ({"count": "3"}, "top.count: expected int, found '3' (str)"),
        ({"count": 3.0}, "top.count: expected int, found 3.0 (float)"),
        ({"count": True}, "top.count: expected int, found True (bool)"),
        ({"count": None}, "top.count: expected int, found None (NoneType)"),
        ({"count": 1, "flag": 1}, "top.flag: expected bool, found 1 (int)"),
        ({"count": 1, "inner": {"rate": True}}, "top.inner.rate: expected float, found True"),
        ({"count": 1, "inner": {"rate": "x"}}, "top.inner.rate: expected float, found 'x'"),
        ({"count": 1, "inner": {"name": 5}}, "top.inner.name: expected str, found 5 (int)"),
        ({"count": 1, "inner": [1]}, "top.inner: expected a mapping, found [1]"),
        ({"count": 1, "inner": {"rate": 2}}, "top.inner.rate: must lie in [0, 1], found 2.0"),
        ({"count": 1, "maybe": {"rate": 2}}, "top.maybe.rate: must lie in [0, 1], found 2.0"),
        ({"count": 1, "maybe": 3}, "top.maybe: expected a mapping, found 3"),
        ({"count": 1, "kind": "sof"}, "top.kind: unknown value 'sof'; did you mean 'soft'?"),
        ({"count": 1, "pair": [1]}, "top.pair: expected 2 items, found 1"),
        ({"count": 1, "pair": [1, "x"]}, "top.pair[1]: expected float, found 'x'"),
        ({"count": 1, "pair": "ab"}, "top.pair: expected a list, found 'ab'"),
        ({"count": 1, "steps": 3}, "top.steps: expected a list, found 3"),
        ({"count": 1, "steps": [1, 2.5]}, "top.steps[1]: expected int, found 2.5"),
        ({"count": 1, "rows": [[1.0], ["a"]]}, "top.rows[1][0]: expected float, found 'a'"),
        ({"count": 1, "limit": "x"}, "top.limit: expected int, found 'x'"),
        ({"count": 1, "limit": True}, "top.limit: expected int, found True (bool)"),
        ({"count": 1, "settings": [1]}, "top.settings: expected a mapping, found [1]"),
        ({"count": 1, "weights": {"w": "x"}}, "top.weights.w: expected float, found 'x'"),
        ([1], "top: expected a mapping, found [1]"),
    ],
)
def test_refuses_with_the_path_of_the_value(raw, message):
    refused(raw, message)


def test_without_a_path_the_message_begins_with_the_field_or_the_class():
    with pytest.raises(ConfigError, match=r"^rate: must lie"):
        from_dict(Inner, {"rate": 2.0})
    with pytest.raises(ConfigError, match=r"^Inner: expected a mapping"):
        from_dict(Inner, 3)


inners = st.builds(Inner, st.floats(0, 1), st.text(max_size=5))
outers = st.builds(
    Outer,
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.sampled_from(["soft", "hard"]),
    inners,
    st.none() | inners,
    st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3).map(tuple),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.lists(st.lists(st.floats(0, 1), max_size=2).map(tuple), max_size=2).map(tuple),
    st.dictionaries(st.text(max_size=3), st.integers(-(2**63), 2**63 - 1), max_size=2),
    st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=2),
)


@given(outers)
def test_to_dict_is_the_inverse(value):
    plain = to_dict(value)
    assert from_dict(Outer, plain) == value
    assert to_dict(from_dict(Outer, plain)) == plain


def test_to_dict_holds_plain_values_only():
    plain = to_dict(TrainingConfig(schedule=Schedule(milestones=(1, 2))))
    assert plain["schedule"]["milestones"] == [1, 2]
    assert plain["network"] == {"name": "mlp", "options": {}}
    assert from_dict(TrainingConfig, plain) == TrainingConfig(schedule=Schedule(milestones=(1, 2)))


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_in_unit_interval(value):
    in_unit_interval(a=0.0, b=1.0, c=None)
    with pytest.raises(ConfigError, match=r"x: must lie in \[0, 1\]"):
        in_unit_interval(x=value)


@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_positive(value):
    positive(a=1e-9, b=None)
    with pytest.raises(ConfigError, match="x: must be greater than 0"):
        positive(x=value)


def test_processes_are_a_few_for_each_core(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    affordable(jobs=8, workers=0)
    for wrong in (9, -1):
        said = rf"^jobs: expected 0 to 8 \(4 for each of the 2 cores.*found {wrong}$"
        with pytest.raises(ConfigError, match=said):
            affordable(jobs=wrong)


@pytest.mark.parametrize("value", [-1e-9, float("inf"), float("nan")])
def test_not_negative(value):
    not_negative(x=0.0, y=1e30)
    with pytest.raises(ConfigError, match="x: must be >= 0 and finite, found"):
        not_negative(x=value)


@pytest.mark.parametrize("value", [-1e-9, 1.0, float("nan")])
def test_below_one(value):
    below_one(x=0.0, y=0.999, z=None)
    with pytest.raises(ConfigError, match=r"x: must lie in \[0, 1\), found"):
        below_one(x=value)


def test_whole_numbers_beyond_64_bits_are_refused_before_they_overflow():
    expected = "expected a whole number of less than 64 bits, found one of"
    refused({"count": 2**70}, f"top.count: {expected} 71 bits")
    refused({"count": -(10**5000)}, f"top.count: {expected}")
    refused({"count": 1, "inner": {"rate": 10**400}}, f"top.inner.rate: {expected}")
    assert from_dict(Outer, {"count": 2**63 - 1}).count == 2**63 - 1


def test_require_and_one_of():
    require(True, "never")
    with pytest.raises(ConfigError, match=r"^said$"):
        require(False, "said")
    one_of(("adam", "sgd"), name="sgd")
    with pytest.raises(ConfigError, match=r"^name: unknown value 'adm'; did you"):
        one_of(("adam", "sgd"), name="adm")


def test_nearest_lists_all_where_none_is_near():
    assert nearest("zzz", ["b", "a"]) == "expected one of a, b"
    assert nearest("alpa", ["beta", "alpha"]) == "did you mean 'alpha'? (valid: alpha, beta)"


@pytest.mark.parametrize(
    "raw",
    [
        {"optimizer": {"name": "rmsprop"}},
        {"optimizer": {"momentum": 1.5}},
        {"optimizer": {"weight_decay": -1.0}},
        {"optimizer": {"weight_decay": float("inf")}},
        {"optimizer": {"weight_decay": float("nan")}},
        {"optimizer": {"betas": [1.0, 1.0]}},
        {"optimizer": {"betas": [0.9, 1.0]}},
        {"optimizer": {"betas": [-0.1, 0.9]}},
        {"optimizer": {"eps": 0.0}},
        {"schedule": {"epochs": 0}},
        {"schedule": {"epochs": 10**6 + 1}},
        {"schedule": {"rates": [float("inf")], "milestones": [1]}},
        {"schedule": {"lr": 0.0}},
        {"schedule": {"factor": -1.0}},
        {"schedule": {"beta1_after": 2.0}},
        {"schedule": {"beta1_after": 1.0}},
        {"schedule": {"lr": 10**400}},
        {"augment": {"crop": -1}},
        {"normalize": "mean"},
        {"precision": "float16"},
        {"validation_fraction": 1.0},
        {"validation_fraction": -0.1},
        {"batch_size": 0},
        {"batch_size": 2**31},
        {"batch_size": 2**70},
        {"max_batches": 2**62},
        {"budget": 0.0},
        {"evaluate_every": 0},
        {"test_every": 0},
        {"checkpoint_every": 0},
        {"threads": -1},
        {"threads": 10**6},
        {"distributed": {"processes": 10**6}},
    ],
)
def test_training_settings_out_of_range_are_refused_by_name(raw):
    path = "training." + next(iter(raw))
    if isinstance(raw[path[9:]], dict):
        path += "." + next(iter(raw[path[9:]]))
    with pytest.raises(ConfigError, match=f"^{re.escape(path)}: "):
        from_dict(TrainingConfig, raw, "training")


def test_non_defaults_leaves_out_what_from_dict_fills_in():
    value = Outer(3, inner=Inner(rate=0.25), steps=(1, 2), settings={"a": 1})
    short = non_defaults(value)
    assert short == {"count": 3, "inner": {"rate": 0.25}, "steps": [1, 2], "settings": {"a": 1}}
    assert from_dict(Outer, short) == value
    assert non_defaults(Outer(3)) == {"count": 3}
