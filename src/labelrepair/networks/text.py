"""The IMDB networks of loss correction (Patrini et al. 2017), over token ids (B, L) int64."""

import dataclasses
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from labelrepair.config import one_of, positive, require
from labelrepair.networks._shapes import check_weights, token_length

OUTPUT_INITS = ("uniform", "he_normal")


@dataclasses.dataclass(frozen=True)
class EmbeddingOptions:
    """The embedding's size, what of it drops while training, and how the output layer starts.

    The defaults are the text's reading ("dropout with probability 0.8 is applied to the embedding
    output"; layers that no ReLU follows start uniformly in [-0.05, 0.05]). The authors' published
    code (Keras 2) drops whole channels of a text and starts with He's normal distribution:
    ``embedding_dropout: 0``, ``spatial_dropout: 0.8``, ``output_init: he_normal``. What comes
    nearest to their numbers is the dropout that an embedding of Keras 1 had, of whole words:
    ``embedding_dropout: 0``, ``word_dropout: 0.8``, ``output_init: he_normal``.

    Attributes:
        vocabulary_size: ids lie below it.
        embedding_size: channels.
        embedding_dropout: probability that a value is 0.
        spatial_dropout: probability that a channel is 0 at every position of a text.
        word_dropout: probability that a word is 0 wherever it stands in the texts of a batch.
        output_init: one of :data:`OUTPUT_INITS`.
    """

    vocabulary_size: int = 5000
    embedding_size: int = 50
    embedding_dropout: float = 0.8
    spatial_dropout: float = 0.0
    word_dropout: float = 0.0
    output_init: str = "uniform"

    def __post_init__(self) -> None:
        """Check the ranges."""
        positive(vocabulary_size=self.vocabulary_size, embedding_size=self.embedding_size)
        one_of(OUTPUT_INITS, output_init=self.output_init)
        _check_dropout("embedding_dropout", self.embedding_dropout)
        _check_dropout("spatial_dropout", self.spatial_dropout)
        _check_dropout("word_dropout", self.word_dropout)


@dataclasses.dataclass(frozen=True)
class EmbeddingLstmOptions:
    """As :class:`EmbeddingOptions`; the LSTM and the dense layer are hidden_size wide.

    The text names no dropout between this embedding and the LSTM; the code drops channels.
    """

    vocabulary_size: int = 5000
    embedding_size: int = 256
    hidden_size: int = 512
    embedding_dropout: float = 0.0
    spatial_dropout: float = 0.8
    word_dropout: float = 0.0
    dropout: float = 0.5

    def __post_init__(self) -> None:
        """Check the ranges."""
        positive(vocabulary_size=self.vocabulary_size, embedding_size=self.embedding_size)
        positive(hidden_size=self.hidden_size)
        _check_dropout("embedding_dropout", self.embedding_dropout)
        _check_dropout("spatial_dropout", self.spatial_dropout)
        _check_dropout("word_dropout", self.word_dropout)
        _check_dropout("dropout", self.dropout)


def embedding(in_shape: tuple[int, ...], num_classes: int, options: EmbeddingOptions) -> nn.Module:
    """Return embedding, ReLU, dropout, flatten, dense: 290 002 parameters at L = 400."""
    fan_in = token_length(in_shape) * options.embedding_size
    check_weights(options.vocabulary_size * options.embedding_size + fan_in * num_classes)
    output = _output(fan_in, num_classes)
    if options.output_init == "he_normal":
        nn.init.kaiming_normal_(output.weight)
    return nn.Sequential(_DroppedEmbedding(options, rectify=True), nn.Flatten(), output)


def embedding_lstm(
    in_shape: tuple[int, ...], num_classes: int, options: EmbeddingLstmOptions
) -> nn.Module:
    """Return embedding, dropout, LSTM (last state), dense, dropout, ReLU, dense.

    3 120 642 parameters: 3 118 594 of Keras' layout plus PyTorch's second bias of the LSTM. The
    embedding is 256 wide (text; the authors' code has 512).
    """
    token_length(in_shape)
    size = options.hidden_size
    table = options.vocabulary_size * options.embedding_size
    check_weights(table + size * (4 * options.embedding_size + 5 * size + num_classes))
    return _EmbeddingLstm(num_classes, options)


class _DroppedEmbedding(nn.Module):
    def __init__(
        self, options: EmbeddingOptions | EmbeddingLstmOptions, *, rectify: bool = False
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(options.vocabulary_size, options.embedding_size)
        nn.init.uniform_(self.embedding.weight, -0.05, 0.05)
        self.dropout, self.spatial_dropout = options.embedding_dropout, options.spatial_dropout
        self.word_dropout = options.word_dropout
        self.rectify = rectify

    def forward(self, tokens: Tensor) -> Tensor:
        weight = self.embedding.weight
        if self.training and self.word_dropout:
            words = weight.new_ones(len(weight), 1)
            weight = weight * functional.dropout(words, self.word_dropout)
        # ReLU of the table equals ReLU of what is looked up, and is a hundredth of the work.
        embedded = _look_up(tokens, weight.relu() if self.rectify else weight)
        if not self.training:
            return embedded
        if self.spatial_dropout:
            ones = embedded.new_ones(len(tokens), 1, embedded.shape[-1])
            embedded = embedded * functional.dropout(ones, self.spatial_dropout)
        return _drop(embedded, self.dropout) if self.dropout else embedded


def _look_up(tokens: Tensor, table: Tensor) -> Tensor:
    """Return the table's rows ``(B, L, d)``; on a CPU with the faster of two equal backward passes.

    On a GPU that one would add in any order.
    """
    if tokens.device.type != "cpu":
        return functional.embedding(tokens, table)
    return table.index_select(0, tokens.flatten()).view(*tokens.shape, table.shape[1])


def _drop(values: Tensor, probability: float) -> Tensor:
    """Return dropout of values of any shape; on a CPU by 16 random bits each.

    Forward and backward take less than half as long there as :func:`functional.dropout`'s (2.56
    million values: 10 ms, 23 ms). The probability is met within 1 / 131,072.
    """
    if values.device.type != "cpu":
        return functional.dropout(values, probability)
    words = torch.randint(-(2**63), 2**63 - 1, ((values.numel() + 3) // 4,))
    bits = words.view(torch.int16)[: values.numel()]
    kept = bits.view(values.shape) >= round(probability * 2**16) - 2**15
    return values * kept.to(values.dtype).mul_(1 / (1 - probability))


class _EmbeddingLstm(nn.Module):
    def __init__(self, num_classes: int, options: EmbeddingLstmOptions) -> None:
        super().__init__()
        size = options.hidden_size
        self.embed = _DroppedEmbedding(options)
        self.lstm = nn.LSTM(options.embedding_size, size, batch_first=True)
        _init_lstm(self.lstm)
        dense = nn.Linear(size, size)
        nn.init.kaiming_normal_(dense.weight, nonlinearity="relu")
        nn.init.zeros_(dense.bias)
        self.head = nn.Sequential(
            dense, nn.Dropout(options.dropout), nn.ReLU(), _output(size, num_classes)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.lstm(self.embed(tokens))
        return cast(Tensor, self.head(states[:, -1]))


def _output(fan_in: int, num_classes: int) -> nn.Linear:
    """Return the last layer; layers that no ReLU follows start in [-0.05, 0.05] (section 5.1)."""
    layer = nn.Linear(fan_in, num_classes)
    nn.init.uniform_(layer.weight, -0.05, 0.05)
    nn.init.zeros_(layer.bias)
    return layer


def _init_lstm(lstm: nn.LSTM) -> None:
    """Initialise as the code does through Keras: orthogonal recurrence, forget bias 1."""
    for name, parameter in lstm.named_parameters():
        if name.startswith("weight_ih"):
            nn.init.uniform_(parameter, -0.05, 0.05)
        elif name.startswith("weight_hh"):
            for gate in parameter.chunk(4):
                nn.init.orthogonal_(gate)
        else:
            nn.init.zeros_(parameter)
            if name.startswith("bias_ih"):
                # PyTorch's gates are input, forget, cell, output.
                nn.init.ones_(parameter.chunk(4)[1])


def _check_dropout(name: str, value: float) -> None:
    require(0.0 <= value < 1.0, f"{name}: must lie in [0, 1), found {value}")
