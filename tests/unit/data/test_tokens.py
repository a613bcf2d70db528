import re

import pytest

from labelrepair.data.tokens import (
    LONGER_WORDS,
    build_vocabulary,
    check_token_pattern,
    encode_texts,
)
from labelrepair.errors import ConfigError


def test_vocabulary_is_by_frequency_then_alphabet_within_the_size():
    texts = ["bee ant cow", "ant bee", "dog"]
    reserved = ("<padding>", "<start>", "<unknown>")
    assert build_vocabulary(texts, 100) == (*reserved, "ant", "bee", "cow", "dog")
    assert build_vocabulary(texts, 6) == (*reserved, "ant", "bee", "cow")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [0, 0, 0, 1]),
        ("Ant!", [0, 0, 1, 3]),
        ("ant a bee", [1, 3, 2, 4]),
        ("ant elk bee", [1, 3, 2, 4]),
        ("ant ant ant bee ant", [3, 3, 4, 3]),
        ("start unknown", [0, 1, 2, 2]),
    ],
)
def test_padding_and_cutting_at_the_front(text, expected):
    vocabulary = ("<padding>", "<start>", "<unknown>", "ant", "bee")
    assert encode_texts([text], vocabulary, 4).tolist() == [expected]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I don't LIKE it.<br />7/10!", "i don't like it br 7 10"),
        ("naïve—“really”… «été» 2,5", "naïve really été 2 5"),
        ("C++ and a_b", "c and a b"),
        ("“好。”我不喜欢", "好 我不喜欢"),
        ("!? ...", ""),
    ],
)
def test_words_are_what_stands_between_spaces_and_punctuation(text, words):
    vocabulary = build_vocabulary([text], 100)
    assert sorted(vocabulary[3:]) == sorted(set(words.split()))


def test_another_pattern_makes_other_words():
    texts = ["I don't like it, 7/10"]
    assert set(build_vocabulary(texts, 9, LONGER_WORDS)[3:]) == {"don", "like", "it", "10"}
    vocabulary = ("<padding>", "<start>", "<unknown>", "10", "7")
    assert encode_texts(["7 or 10"], vocabulary, 4, LONGER_WORDS).tolist() == [[0, 1, 2, 3]]
    assert encode_texts(["7 or 10"], vocabulary, 4).tolist() == [[1, 4, 2, 3]]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("[a-z", "token_pattern: not a regular expression"),
        ("[a-z]*", "matches the empty word"),
        ("([a-z])([0-9])", "one group at most, found 2"),
    ],
)
def test_a_pattern_of_no_words_is_refused(pattern, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_token_pattern(pattern)
