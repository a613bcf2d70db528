"""A second device that every machine has: it computes on the CPU, and admits no mixing with it.

PyTorch knows the device type ``lazy`` and ships nothing behind it. Under :class:`OtherDevice` its
tensors are wrappers around CPU tensors, so that the whole of a training can run "there" and be
compared bit by bit. What a GPU refuses is refused: operations on tensors of both devices (CPU
scalars and CPU indices excepted, as on a GPU), generators of the wrong device, and NumPy.
"""

import sys
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils._foreach_utils import _get_fused_kernels_supported_devices
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

NAME = "lazy"
aten = torch.ops.aten
COPIES = (aten._to_copy.default, aten.copy_.default)
INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
# Operations whose result, or its shape, the host has to wait for.
WAITING = (
    aten._local_scalar_dense.default,
    aten._unique2.default,
    aten.bincount.default,
    aten.equal.default,
    aten.is_nonzero.default,
    aten.masked_select.default,
    aten.nonzero.default,
    aten.repeat_interleave.Tensor,
    aten.unique_dim.default,
)


class There(Tensor):
    """A tensor on the other device; ``here`` are its values."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, here):
        made = Tensor._make_wrapper_subclass(
            cls,
            here.size(),
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=torch.device(NAME, 0),
        )
        made.here = here
        return made

    def __repr__(self):
        return f"There({self.here})"

    def numpy(self, **_):
        raise TypeError(f"can't convert a {NAME} tensor to NumPy; copy it to the CPU first")

    @property
    def data(self):
        return Tensor.data.__get__(self)

    @data.setter
    def data(self, other):
        Tensor.data.__set__(self, other)
        self.here = other.here

    def tolist(self):
        return self.cpu().tolist()

    def __reduce_ex__(self, protocol):
        return self.here.__reduce_ex__(protocol)  # as if loaded with map_location="cpu"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func} on a tensor of a device that is no longer there")


class DeviceGenerator(torch.Generator):
    """A generator; those of the other device are kept by the address that operations see."""

    there = {}  # noqa: RUF012 (one registry)

    def __new__(cls, device="cpu"):
        made = super().__new__(cls)
        if is_there(device):
            cls.there[made._cdata] = made
        return made


class OtherDevice(TorchDispatchMode):
    """While it is active there is a device ``lazy``.

    Attributes:
        waits: the operations so far for which a host would have waited: copies between the devices,
            and results that Python or a shape depends on.
    """

    def __init__(self):
        super().__init__()
        self.waits = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if func in COPIES:
            there = self._copies(func, args, kwargs)
        else:
            there = self._computes(func, args, kwargs, tensors)
        if kwargs.get("device") is not None:
            kwargs["device"] = torch.device("cpu")
        inner = tree_map_only(There, lambda item: item.here, (args, kwargs))
        found = func(*inner[0], **inner[1])
        if not there:
            return found
        return return_and_correct_aliasing(func, args, kwargs, tree_map_only(Tensor, There, found))

    def _copies(self, func, args, kwargs):
        """Return whether a copy goes there, and count it if it comes from elsewhere."""
        into_place = func is aten.copy_.default
        source = args[1] if into_place else args[0]
        asked = kwargs.get("device")
        if into_place:
            there = isinstance(args[0], There)
        else:
            there = isinstance(source, There) if asked is None else is_there(asked)
        if isinstance(source, There) != there:
            self.waits.append(func)
        return there

    def _computes(self, func, args, kwargs, tensors):
        """Return whether the result lies there; refuse what a GPU refuses."""
        among = any(isinstance(tensor, There) for tensor in tensors)
        asked = kwargs.get("device")
        there = among if asked is None else is_there(asked)
        indices = []
        if func._schema.name in INDEXING:
            indices = [index for index in args[1] if index is not None]
        free = {id(index) for index in indices}
        for tensor in tensors:
            if among and not isinstance(tensor, There) and tensor.dim() and id(tensor) not in free:
                raise RuntimeError(f"{func}: expected all tensors on one device, found {NAME}, cpu")
        draws = kwargs.get("generator")
        if draws is not None and (draws._cdata in DeviceGenerator.there) != there:
            raise RuntimeError(f"{func}: the generator is of another device than the result")
        masks = any(index.dtype in (torch.bool, torch.uint8) for index in indices)
        strangers = any(not isinstance(index, There) for index in indices)
        if among and (func in WAITING or masks or strangers):
            self.waits.append(func)
        return there


def is_there(device):
    """Return whether a device is the other one."""
    return torch.device(device).type == NAME


@contextmanager
def other_device(monkeypatch):
    """Have the device, for generators and fused optimizers as well; yield its OtherDevice."""
    with monkeypatch.context() as patch:
        patch.setattr(torch, "Generator", DeviceGenerator)
        known = _get_fused_kernels_supported_devices
        for module in list(sys.modules.values()):  # each has imported it by name
            if getattr(module, known.__name__, None) is known:
                patch.setattr(module, known.__name__, lambda: [*known(), NAME])
        # So that torch.tensor(values, device=...) is seen to make a copy.
        before = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)
        try:
            with OtherDevice() as device:
                yield device
        finally:
            torch._C._set_only_lift_cpu_tensors(before)
            DeviceGenerator.there.clear()
