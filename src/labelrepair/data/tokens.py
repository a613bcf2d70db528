"""Words to token ids, as the papers' IMDB experiments feed them (methods 9.8)."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

RESERVED = ("<padding>", "<start>", "<unknown>")
PADDING, START, OUT_OF_VOCABULARY = range(3)


def build_vocabulary(texts: Iterable[str], size: int) -> tuple[str, ...]:
    """Return the word of each token id: the reserved three, then the most frequent words.

    Args:
        texts: the training texts only, so that nothing of the test set leaks in.
        size: most ids in all, the three reserved ones included: ids are < ``size``, the rows of an
            embedding. Words of the same frequency come in alphabetical order.
    """
    split_words = _analyzer()
    counts = Counter(word for text in texts for word in split_words(text))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return RESERVED + tuple(ranked[: size - len(RESERVED)])


def encode_texts(
    texts: Sequence[str], vocabulary: Sequence[str], length: int
) -> npt.NDArray[np.int32]:
    """Return int32 tokens (N, length): a start token, then the words; the end is what is kept.

    Short texts are padded and long ones cut at the front, so that a long text keeps its last
    ``length`` words and loses its start token.
    """
    split_words = _analyzer()
    ids = {word: token for token, word in enumerate(vocabulary) if token >= len(RESERVED)}
    tokens = np.full((len(texts), length), PADDING, np.int32)
    for row, text in enumerate(texts):
        words = [ids.get(word, OUT_OF_VOCABULARY) for word in split_words(text)]
        kept = [START, *words][-length:]
        tokens[row, length - len(kept) :] = kept
    return tokens


def _analyzer() -> Callable[[str], list[str]]:
    """Return scikit-learn's default analyzer: lower case, words of two characters or more."""
    from sklearn.feature_extraction.text import CountVectorizer  # noqa: PLC0415 - slow to import

    analyzer: Callable[[str], list[str]] = CountVectorizer().build_analyzer()
    return analyzer
