import pytest

from labelrepair.data.tokens import build_vocabulary, encode_texts


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
        ("ant a bee", [0, 1, 3, 4]),  # one-letter words are no tokens
        ("ant elk bee", [1, 3, 2, 4]),
        ("ant ant ant bee ant", [3, 3, 4, 3]),
        ("start unknown", [0, 1, 2, 2]),
    ],
)
def test_padding_and_cutting_at_the_front(text, expected):
    vocabulary = ("<padding>", "<start>", "<unknown>", "ant", "bee")
    assert encode_texts([text], vocabulary, 4).tolist() == [expected]
