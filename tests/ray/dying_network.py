"""A network that ends its process once, in its third epoch on rank 1."""

import os
import signal
from pathlib import Path

from torch import distributed, nn


class Dying(nn.Module):
    def __init__(self, in_shape, num_classes, trap):
        super().__init__()
        self.layer, self.trap, self.passes = nn.Linear(in_shape[0], num_classes), Path(trap), 0

    def forward(self, features):
        self.passes += self.training
        set_off = self.passes > 15 and distributed.is_initialized() and distributed.get_rank() == 1
        if set_off and self.trap.exists():
            self.trap.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.layer(features)
