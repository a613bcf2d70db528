"""Networks of one architecture as one: their parameters along a new first axis."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from labelrepair.errors import ConfigError


class Stacked:
    """G networks whose parameters and buffers become views of stacked tensors ``(G, ...)``.

    Each network goes on to work by itself, and an optimizer that holds its parameters moves them
    in place; ``forward`` passes other rows through each of them in batched operations.
    """

    def __init__(self, networks: list[nn.Module]) -> None:
        """Stack the networks.

        Raises:
            ConfigError: they differ in their layers.
        """
        self.networks = networks
        names = [[name for name, _ in network.named_parameters()] for network in networks]
        if any(other != names[0] for other in names):
            raise ConfigError("network: replicas need networks of the same layers")
        self.parameters = {
            name: _as_views([network.get_parameter(name) for network in networks]).requires_grad_()
            for name in names[0]
        }
        self.buffers = {
            name: _as_views([network.get_buffer(name) for network in networks])
            for name, _ in networks[0].named_buffers()
        }

    def forward(self, features: Tensor) -> Tensor:
        """Return the outputs ``(G, B, C)`` of features ``(G, B, ...)``, each network's own."""

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], rows: Tensor) -> Tensor:
            found: Tensor = functional_call(self.networks[0], (parameters, buffers), (rows,))
            return found

        outputs: Tensor = torch.vmap(one, randomness="different")(
            self.parameters, self.buffers, features
        )
        return outputs

    def backward(self, loss: Tensor) -> None:
        """Differentiate, and hand every network the gradient of its own parameters."""
        for parameter in self.parameters.values():
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        for name, stacked in self.parameters.items():
            grads = [None] * len(self.networks) if stacked.grad is None else stacked.grad
            for network, grad in zip(self.networks, grads, strict=True):
                network.get_parameter(name).grad = grad

    def release(self) -> None:
        """Give every network its own memory back."""
        for network in self.networks:
            for tensor in (*network.parameters(), *network.buffers()):
                tensor.data = tensor.data.clone()


def _as_views(tensors: list[Tensor]) -> Tensor:
    """Stack tensors and let each be a view of its part."""
    stacked = torch.stack([tensor.detach() for tensor in tensors])
    for tensor, part in zip(tensors, stacked, strict=True):
        tensor.data = part
    return stacked
