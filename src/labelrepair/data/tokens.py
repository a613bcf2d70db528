"""Words to token ids, as the papers' IMDB experiments feed them (methods 9.8)."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from labelrepair.config import require
from labelrepair.data.unpacked import check_memory
from labelrepair.errors import ConfigError

RESERVED = ("<padding>", "<start>", "<unknown>")
PADDING, START, OUT_OF_VOCABULARY = range(3)
# What stands between spaces and punctuation: "don't" is one word, and so are "I" and the 7 of
# "7/10". On English text these are the tokens of Keras, in which the papers got their data.
WORDS = (
    r"""[^\s!"#$%&()*+,\-./:;<=>?@\[\\\]^_`{|}~"""
    "“”„«»‹›…–—¡¿。，、！？：；（）「」『』]+"  # noqa: RUF001 - these very characters
)
# scikit-learn's words, those of models that were saved without a pattern.
LONGER_WORDS = r"(?u)\b\w\w+\b"


def tokenised(
    texts: "pd.Series[Any]", train: npt.NDArray[np.bool_], size: int, length: int, pattern: str
) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
    """Return the tokens (N, length) of all texts, and the vocabulary of the training texts.

    Args:
        texts: N of them.
        train: bool (N,), the texts that the vocabulary is counted on.
        size: see :func:`build_vocabulary`.
        length: see :func:`encode_texts`.
        pattern: ``token_pattern`` of both.
    """
    vocabulary = build_vocabulary(texts[train], size, pattern)
    return encode_texts(texts.tolist(), vocabulary, length, pattern), vocabulary


def build_vocabulary(
    texts: Iterable[str], size: int, token_pattern: str = WORDS
) -> tuple[str, ...]:
    """Return the word of each token id: the reserved three, then the most frequent words.

    Args:
        texts: the training texts only, so that nothing of the test set leaks in.
        size: most ids in all, the three reserved ones included: ids are < ``size``, the rows of an
            embedding. Words of the same frequency come in alphabetical order.
        token_pattern: regular expression of a word of the text in lower case.
    """
    split_words = _analyzer(token_pattern)
    counts = Counter(word for text in texts for word in split_words(text))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return RESERVED + tuple(ranked[: size - len(RESERVED)])


def encode_texts(
    texts: Sequence[str], vocabulary: Sequence[str], length: int, token_pattern: str = WORDS
) -> npt.NDArray[np.int32]:
    """Return int32 tokens (N, length): a start token, then the words; the end is what is kept.

    Short texts are padded and long ones cut at the front, so that a long text keeps its last
    ``length`` words and loses its start token. ``token_pattern`` is the vocabulary's.

    Raises:
        DataError: the tokens are more than the memory.
    """
    needed = len(texts) * length * np.dtype(np.int32).itemsize
    check_memory(needed, f"length: {len(texts)} texts of {length} tokens each:")
    split_words = _analyzer(token_pattern)
    ids = {word: token for token, word in enumerate(vocabulary) if token >= len(RESERVED)}
    tokens = np.full((len(texts), length), PADDING, np.int32)
    for row, text in enumerate(texts):
        words = [ids.get(word, OUT_OF_VOCABULARY) for word in split_words(text)]
        kept = [START, *words][-length:]
        tokens[row, length - len(kept) :] = kept
    return tokens


def spelled(tokens: Iterable[int], vocabulary: Sequence[str], most: int | None = None) -> str:
    """Return the words of a text's tokens: "…" is a word that the vocabulary lacks.

    Args:
        tokens: of one text; padding and start are passed over.
        vocabulary: the word of each token id; a token without one is shown as its number.
        most: words at most; where there are more, the text ends in "…".
    """
    ids = [int(token) for token in tokens if token not in (PADDING, START)]
    words = []
    for token in ids[:most]:
        if 0 <= token < len(vocabulary):
            words.append("…" if token < len(RESERVED) else vocabulary[token])
        else:
            words.append(f"#{token}")
    return " ".join(words) + (" …" if len(ids) > len(words) else "")


def check_token_pattern(pattern: str) -> None:
    """Check that it is a regular expression of words.

    Raises:
        ConfigError: it does not compile, matches the empty word, or has several groups.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"token_pattern: not a regular expression: {error}") from None
    require(compiled.match("") is None, f"token_pattern: {pattern!r} matches the empty word")
    require(compiled.groups < 2, f"token_pattern: one group at most, found {compiled.groups}")


def _analyzer(token_pattern: str) -> Callable[[str], list[str]]:
    from sklearn.feature_extraction.text import CountVectorizer  # noqa: PLC0415 - slow to import

    vectorizer = CountVectorizer(token_pattern=token_pattern)
    analyzer: Callable[[str], list[str]] = vectorizer.build_analyzer()
    return analyzer
