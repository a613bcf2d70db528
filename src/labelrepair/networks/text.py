"""The IMDB networks of loss correction (Patrini et al. 2017), over token ids (B, L) int64."""

import dataclasses
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from labelrepair.config import positive, require
from labelrepair.networks._shapes import token_length


@dataclasses.dataclass(frozen=True)
class EmbeddingOptions:
    """Ids lie in 0..vocabulary_size-1; whole embedding channels drop with spatial_dropout."""

    vocabulary_size: int = 5000
    embedding_size: int = 50
    spatial_dropout: float = 0.8

    def __post_init__(self) -> None:
        """Check the ranges."""
        positive(vocabulary_size=self.vocabulary_size, embedding_size=self.embedding_size)
        _check_dropout("spatial_dropout", self.spatial_dropout)


@dataclasses.dataclass(frozen=True)
class EmbeddingLstmOptions:
    """As :class:`EmbeddingOptions`; the LSTM and the dense layer are hidden_size wide."""

    vocabulary_size: int = 5000
    embedding_size: int = 256
    hidden_size: int = 512
    spatial_dropout: float = 0.8
    dropout: float = 0.5

    def __post_init__(self) -> None:
        """Check the ranges."""
        positive(vocabulary_size=self.vocabulary_size, embedding_size=self.embedding_size)
        positive(hidden_size=self.hidden_size)
        _check_dropout("spatial_dropout", self.spatial_dropout)
        _check_dropout("dropout", self.dropout)


def embedding(in_shape: tuple[int, ...], num_classes: int, options: EmbeddingOptions) -> nn.Module:
    """Return embedding, ReLU, spatial dropout, flatten, dense: 290 002 parameters at L = 400."""
    output = _output(token_length(in_shape) * options.embedding_size, num_classes)
    return nn.Sequential(_embed(options, rectify=True), nn.Flatten(), output)


def embedding_lstm(
    in_shape: tuple[int, ...], num_classes: int, options: EmbeddingLstmOptions
) -> nn.Module:
    """Return embedding, spatial dropout, LSTM (last state), dense, dropout, ReLU, dense.

    3 120 642 parameters: 3 118 594 of Keras' layout plus PyTorch's second bias of the LSTM. The
    embedding is 256 wide (text; the authors' code has 512).
    """
    token_length(in_shape)
    return _EmbeddingLstm(num_classes, options)


class _SpatialEmbedding(nn.Module):
    def __init__(
        self, vocabulary_size: int, embedding_size: int, spatial_dropout: float, rectify: bool
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        nn.init.uniform_(self.embedding.weight, -0.05, 0.05)
        self.spatial_dropout, self.rectify = spatial_dropout, rectify

    def forward(self, tokens: Tensor) -> Tensor:
        weight = self.embedding.weight
        # ReLU of the table equals ReLU of what is looked up, and is a hundredth of the work.
        embedded = _look_up(tokens, weight.relu() if self.rectify else weight)
        if not self.training:
            return embedded
        ones = embedded.new_ones(len(tokens), 1, embedded.shape[-1])
        return embedded * functional.dropout(ones, self.spatial_dropout)


def _look_up(tokens: Tensor, table: Tensor) -> Tensor:
    """Return the table's rows ``(B, L, d)``; on a CPU with the faster of two equal backward passes.

    On a GPU that one would add in any order.
    """
    if tokens.device.type != "cpu":
        return functional.embedding(tokens, table)
    return table.index_select(0, tokens.flatten()).view(*tokens.shape, table.shape[1])


class _EmbeddingLstm(nn.Module):
    def __init__(self, num_classes: int, options: EmbeddingLstmOptions) -> None:
        super().__init__()
        size = options.hidden_size
        self.embed = _embed(options)
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


def _embed(options: EmbeddingOptions | EmbeddingLstmOptions, *, rectify: bool = False) -> nn.Module:
    return _SpatialEmbedding(
        options.vocabulary_size, options.embedding_size, options.spatial_dropout, rectify
    )


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
