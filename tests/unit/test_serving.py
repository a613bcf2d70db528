"""Raw inputs as users have them; what does not fit is named by row."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from labelrepair.config import from_dict
from labelrepair.data.images import stack_images
from labelrepair.data.input_format import InputFormat
from labelrepair.data.tokens import LONGER_WORDS, WORDS, build_vocabulary, encode_texts
from labelrepair.errors import ConfigError, DataError
from labelrepair.networks.classifier import (
    Classifier,
    Normalizer,
    build_from_spec,
    classifier_spec,
)
from labelrepair.serving import Predictor, encode

RGB = InputFormat("image", (3, 6, 5))
GREY = InputFormat("image", (1, 6, 5))
VECTOR = InputFormat("vector", (3,))
TEXTS = ["the cat sat", "a dog sat down here"]
VOCABULARY = build_vocabulary(TEXTS, 20)
TEXT = InputFormat("text", (4,), vocabulary=VOCABULARY, token_pattern=WORDS)
PIXELS = np.random.default_rng(0).integers(0, 256, (7, 3, 6, 5)).astype(np.uint8)


def png(pixels, file_format="PNG"):
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, file_format)
    return stream.getvalue()


FILES = [png(image.transpose(1, 2, 0)) for image in PIXELS]


@pytest.mark.parametrize(
    "inputs",
    [
        PIXELS,
        PIXELS.transpose(0, 2, 3, 1),
        list(PIXELS),
        FILES,
        {"image": PIXELS},
        pd.DataFrame({"image": FILES, "other": range(7)}),
        pd.DataFrame({"photo": FILES}),
        pd.DataFrame({"image": list(PIXELS.transpose(0, 2, 3, 1))}),
        pd.DataFrame({"image": [{"bytes": file, "path": None} for file in FILES]}),
        pd.DataFrame({"image": [base64.b64encode(file).decode() for file in FILES]}),
        pd.Series([bytearray(file) for file in FILES]),
        [Image.fromarray(image.transpose(1, 2, 0)) for image in PIXELS],
        PIXELS.astype(np.int64).tolist(),
    ],
    ids=range(13),
)
def test_images_in_every_dress(inputs):
    found = encode(inputs, RGB)

    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, PIXELS)


def test_grey_images():
    grey = PIXELS[:, 0]

    for inputs in (grey, grey[:, None], [png(image) for image in grey]):
        np.testing.assert_array_equal(encode(inputs, GREY), grey[:, None])


def test_mode_and_size_are_brought_about_as_ingestion_does():
    big = np.random.default_rng(1).integers(0, 256, (2, 13, 9, 3)).astype(np.uint8)
    files = [png(image) for image in big]
    expected = stack_images(files, ["a", "b"], "L", (6, 5))
    form = InputFormat("image", (1, 6, 5), resize=True)

    np.testing.assert_array_equal(encode(files, form), expected)
    np.testing.assert_array_equal(encode(big, form), expected)


def test_one_image_alone():
    assert encode(FILES[0], RGB).shape == (1, 3, 6, 5)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([*FILES[:2], b"not an image"], "row 2: not a readable image"),
        ([FILES[0], FILES[1][:40]], "row 1: not a readable image"),
        ([FILES[0], None], "row 1: no image, found NoneType"),
        ([FILES[0], "a/path.png"], "row 1: text that is not base64"),
        (PIXELS[:, :, :4], "row 0: image is 4x5, the model was trained on 6x5"),
        (PIXELS / 255, r"row 0: found float64 .*whole numbers 0..255"),
        (PIXELS.astype(np.int64) * 2, "row 0: found int64"),
        (PIXELS[0, 0], r"row 0: shape \(5,\)"),
        ([PIXELS[0], PIXELS[:2]], "row 1: shape"),
        ([[[1, 2], [3]]], "row 0: "),
        (pd.DataFrame({"a": FILES, "b": FILES}), "no column 'image'; found a, b"),
        (7, "found int, expected a frame"),
        (PIXELS[0], r"one array of shape \(3, 6, 5\), expected a batch .* images\[None\]"),
        (np.zeros((48, 64, 3), np.uint8), r"one array of shape \(48, 64, 3\)"),
    ],
)
def test_images_that_do_not_fit(inputs, message):
    with pytest.raises(DataError, match=message):
        encode(inputs, RGB)


def test_an_image_of_another_size_is_refused_before_it_is_decoded(monkeypatch):
    other = png(np.zeros((9, 5, 3), np.uint8))
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DataError, match="row 0: image is 9x5, the model was trained on 6x5"):
        encode([other], RGB)


def test_sixteen_bits_are_not_cut_to_eight():
    deep = png(np.full((6, 5), 40000, np.uint16))

    with pytest.raises(DataError, match="row 1: image has mode I"):
        encode([png(PIXELS[0, 0]), deep], GREY)


def test_a_model_from_before_there_was_a_choice_of_words_keeps_its_own():
    texts = ["a 7 sat", "the cat's"]
    saved = {"kind": "text", "shape": [4], "vocabulary": build_vocabulary(texts, 9, LONGER_WORDS)}
    form = from_dict(InputFormat, saved, "labelrepair.json")

    assert form.vocabulary[3:] == ("cat", "sat", "the")
    np.testing.assert_array_equal(encode(texts, form), [[0, 0, 1, 4], [0, 1, 5, 3]])


def test_texts_and_tokens():
    expected = encode_texts(TEXTS, VOCABULARY, 4)

    for inputs in (TEXTS, pd.DataFrame({"text": TEXTS}), pd.Series(TEXTS), np.array(TEXTS)):
        np.testing.assert_array_equal(encode(inputs, TEXT), expected)
    for inputs in (expected, expected.tolist(), pd.DataFrame({"tokens": list(expected)})):
        np.testing.assert_array_equal(encode(inputs, TEXT), expected)
    assert encode("the cat", TEXT).shape == (1, 4)


@pytest.mark.parametrize(
    ("inputs", "form", "message"),
    [
        (["fine", None], TEXT, "row 1: no text, found NoneType"),
        ([np.nan, "fine"], TEXT, "row 0: no text, found float"),
        ([[1, 2, 3]], TEXT, r"row 0: found int64 \(3,\), expected a text or 4 tokens"),
        ([[0, 1, 2, 3], [0, 1, 2, 99]], TEXT, r"row 1: a token outside 0\.\."),
        (["words"], InputFormat("text", (4,)), "no vocabulary; feed 4 tokens"),
        (
            np.array("fine"),
            TEXT,
            r"^found one value \(<U4\), expected a batch of rows; pass a list",
        ),
        ({"text": np.array("fine")}, TEXT, r"^found one value \(<U4\)"),
        (np.array(7, np.uint8), RGB, r"^found one value \(uint8\)"),
    ],
)
def test_texts_that_do_not_fit(inputs, form, message):
    with pytest.raises(DataError, match=message):
        encode(inputs, form)


DAYS = pd.to_datetime(["2020-01-01", "2020-01-02"])


def test_of_columns_without_known_names_the_order_counts():
    frame = pd.DataFrame({"a": [1.0], "b": [2.0], "c": [3.0]})
    assert encode(frame[["c", "a", "b"]], VECTOR).tolist() == [[3, 1, 2]]


NAMED = InputFormat("vector", (3,), columns=("a", "b", "c"))


def test_columns_whose_names_are_known_are_found_by_them():
    frame = pd.DataFrame({"a": [1.0], "b": [2.0], "id": ["x"], "c": [3.0]})
    for order in (["a", "b", "c"], ["c", "a", "b"], ["id", "c", "b", "a"]):
        assert encode(frame[order], NAMED).tolist() == [[1, 2, 3]]
    for unnamed in ([[1, 2, 3]], np.array([[1.0, 2, 3]]), pd.DataFrame([[1, 2, 3]])):
        assert encode(unnamed, NAMED).tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["a", "B", "c"], r"no column 'b' \(1 are missing\); found a, B, c"),
        (["x", "y", "z"], r"no column 'a' \(3 are missing\); found x, y, z"),
        (["a", "b", "b", "c"], "column 'b' is there more than once"),
    ],
)
def test_columns_that_are_not_those_of_the_model_are_refused(columns, message):
    with pytest.raises(DataError, match=message):
        encode(pd.DataFrame([range(len(columns))], columns=columns), NAMED)


@pytest.mark.parametrize("columns", [("a", "b"), ("a", "b", "b")])
def test_a_format_names_every_number_once(columns):
    with pytest.raises(ConfigError, match="distinct names expected"):
        InputFormat("vector", (3,), columns=columns)


def test_a_format_without_names_is_written_as_before_there_were_any():
    assert "columns" not in VECTOR.written()
    assert NAMED.written() == {**VECTOR.written(), "columns": ["a", "b", "c"]}


def test_vectors():
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "c": [True, False]})

    for inputs in (frame, frame.astype(float).to_numpy(), frame.astype(float).to_numpy().tolist()):
        found = encode(inputs, VECTOR)
        assert found.dtype == np.float32
        assert found.tolist() == [[1, 0.5, 1], [2, 1.5, 0]]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (pd.DataFrame({"a": [1, 2], "b": [1, "x"], "c": [1, 2]}), "row 1: not numeric"),
        (pd.DataFrame({"a": [1.0]}), "found 1 columns, expected 3 numbers"),
        (np.array([[1, 2, 3], [1, np.nan, 3]]), "row 1: NaN or infinity"),
        ([[1, 2, 3], [1, 2]], "rows of the same number"),
        (pd.DataFrame({"a": DAYS, "b": DAYS, "c": DAYS}), r"^column 'a': found datetime64\["),
        (pd.DataFrame({"a": DAYS, "b": [1, 2], "c": DAYS}), r"^column 'a': found datetime64\["),
        (pd.DataFrame({"a": [1.0, 2], "b": [1j, 2], "c": [1, 2]}), "^column 'b': found complex128"),
        (pd.DataFrame(np.zeros((2, 3), "m8[s]")), r"^column '0': found timedelta64\[s\]"),
        (
            pd.DataFrame([[DAYS[0], 1.0, 2.0]]).set_axis(["a", "a", "b"], axis=1),
            r"^column 'a': found datetime64\[",
        ),
        (np.zeros((2, 3), "M8[D]"), r"^row 0: found datetime64\[D\], expected numbers"),
        (np.ones((2, 3), np.complex64), "^row 0: found complex64, expected numbers"),
        ([[1, 2, 3], [1, 2j, 3]], "^row 1: found complex, expected numbers"),
        ([np.zeros(3, "M8[ns]")], r"^row 0: found datetime64\[ns\], expected numbers"),
        (
            pd.DataFrame([[1, 2, 3], [1, np.complex64(2j), 3]], dtype=object),
            "^row 1: found complex64, expected numbers",
        ),
        (
            np.array([[1, 2, 3], [1, np.datetime64("2020-01-01"), 3]], dtype=object),
            "^row 1: found datetime64, expected numbers",
        ),
        (np.array(1.0), r"found shape \(\)"),
    ],
)
def test_vectors_that_do_not_fit(inputs, message):
    with pytest.raises(DataError, match=message):
        encode(inputs, VECTOR)


def model(batch):
    scores = batch.float().flatten(1)[:, :2]
    return torch.softmax(scores, dim=1)


def test_prediction_names_classes_and_keeps_the_index():
    predictor = Predictor(model, VECTOR, ["cat", "dog"])
    frame = pd.DataFrame([[3.0, 0, 0], [0, 3, 0]], index=["x", "y"])

    found = predictor.predict(frame)

    assert list(found.columns) == ["label", "cat", "dog"]
    assert found["label"].to_dict() == {"x": "cat", "y": "dog"}
    np.testing.assert_allclose(found[["cat", "dog"]].sum(axis=1), 1, rtol=1e-6)
    assert predictor.predict(frame.iloc[:0]).shape == (0, 3)


def test_many_rows_go_batch_by_batch_with_the_same_result():
    predictor = Predictor(model, VECTOR, ["cat", "dog"])
    values = np.random.default_rng(0).normal(size=(1100, 3)).astype(np.float32)

    np.testing.assert_allclose(
        predictor.probabilities(values), model(torch.from_numpy(values)).numpy(), rtol=1e-6
    )


@pytest.mark.parametrize("network", ["embedding", "embedding_lstm"])
def test_a_word_beyond_the_embedding_counts_as_unknown(network):
    """Models of earlier versions have no row for words of the texts' cut-off beginnings."""
    options = {"vocabulary_size": len(VOCABULARY) - 2, "embedding_size": 4}
    spec = classifier_spec(network, options, (4,), 2, 1)
    made = Classifier(Normalizer(), torch.nn.ModuleList([build_from_spec(spec)]), spec).eval()
    predictor = Predictor(made, TEXT, ["cat", "dog"])
    *_, known, beyond, last = VOCABULARY

    found = predictor.predict([f"{known} {beyond} {last}", f"{known} nothing such"])

    np.testing.assert_array_equal(found["cat"][0], found["cat"][1])
    other = predictor.predict([f"nothing {beyond} {last}"])["cat"][0]
    assert found["cat"][0] != other, "words within it keep their rows"


def test_a_class_called_label_is_refused():
    with pytest.raises(DataError, match="'label' names a result column"):
        Predictor(model, VECTOR, ["label", "dog"])


@pytest.mark.parametrize("wrong", [{"kind": "sound"}, {"shape": (3,)}])
def test_impossible_formats(wrong):
    with pytest.raises(ConfigError):
        InputFormat(**{"kind": "image", "shape": (1, 2, 2), **wrong})
