"""One of the processes that :mod:`labelrepair.training.launch` starts."""

import datetime
import logging
import os
import sys
from pathlib import Path

import torch
from torch import distributed

from labelrepair.errors import LabelRepairError
from labelrepair.training.launch import choose_backend, own_gpu, save, say, watch_parent, work
from labelrepair.training.ranks import Ranks


def main(target: str, place: str, backend: str, timeout: str, parent: str) -> int:
    """Do this process's part; return the exit code."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    watch_parent(int(parent), Path(place))
    level = int(os.environ.get("LABELREPAIR_LOG_LEVEL", logging.WARNING))
    logging.basicConfig(format="%(message)s")
    logging.getLogger("labelrepair").setLevel(level if rank == 0 else logging.ERROR)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ["LOCAL_WORLD_SIZE"])))
    own_gpu()
    wait = datetime.timedelta(seconds=float(timeout))
    distributed.init_process_group(choose_backend(backend), timeout=wait)
    try:
        answer = work(target, Path(place), Ranks(rank, size))
        if answer is not None:
            save(answer, Path(place) / "answer.pt")
    except LabelRepairError as error:
        say(error, Path(place), rank)
        return 1
    distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
