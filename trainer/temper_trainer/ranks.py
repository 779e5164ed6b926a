"""Several processes that train one adapter, each on a GPU of its own: `torchrun` starts them, this is what they say to each other.

Every rank holds the whole adapter and its optimizer. A step's examples are shared out, the gradients of the adapter are summed over
the ranks in one message, and every rank then makes the same update: nothing but the base model is ever split (`shard`).
transformers' Trainer knows nothing of it; each rank's believes to be alone.
"""

import os
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist

from temper_trainer.model import blocks_of

# Loading a large base model, one rank of a machine after the other, is the longest that ranks wait for each other.
TIMEOUT = timedelta(minutes=30)
TORCHRUN_VARIABLES = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE')


class Ranks:
    """One rank's view. With `world` 1 nothing here talks to anyone."""

    def __init__(self, device: torch.device):
        environment = {name: int(os.environ.get(name, 0)) for name in TORCHRUN_VARIABLES}
        self.device = device
        self.rank = environment['RANK']
        self.world = max(1, environment['WORLD_SIZE'])
        self.local_rank, self.local_world = environment['LOCAL_RANK'], max(1, environment['LOCAL_WORLD_SIZE'])
        self.sharded = False
        if self.world > 1:
            dist.init_process_group('nccl' if device.type == 'cuda' else 'gloo', timeout=TIMEOUT)
            for name in TORCHRUN_VARIABLES:  # else the Trainer would split the work a second time
                del os.environ[name]

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, lengths: np.ndarray, indexes: np.ndarray) -> list[np.ndarray]:
        """The examples of a step for each rank, so that all have about the same number of tokens."""
        if self.world == 1:
            return [indexes]
        parts: list[list[int]] = [[] for _ in range(self.world)]
        tokens = [0] * self.world
        for index in sorted(indexes.tolist(), key=lambda index: (-lengths[index], index)):
            rank = tokens.index(min(tokens))
            parts[rank].append(index)
            tokens[rank] += int(lengths[index])
        return [np.array(part, np.int64) for part in parts]

    def most(self, number: int) -> int:
        """The largest of what the ranks say, the same for all."""
        if self.world == 1:
            return number
        agreed = torch.tensor(number, device=self.device)
        dist.all_reduce(agreed, dist.ReduceOp.MAX)
        return int(agreed)

    def add(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over the ranks, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def add_gradients(self, parameters: list[torch.nn.Parameter]) -> None:
        """Sums the gradients over the ranks, in one message. A rank without an example adds nothing."""
        if self.world == 1:
            return
        parts = [torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in parameters]
        flat = self.add(torch.cat([part.reshape(-1) for part in parts]))
        for parameter, part in zip(parameters, flat.split([part.numel() for part in parts]), strict=True):
            parameter.grad = part.view_as(parameter)

    def copy_first(self, parameters: list[torch.nn.Parameter]) -> None:
        """Gives every rank the first one's values."""
        if self.world > 1:
            for parameter in parameters:
                dist.broadcast(parameter.data, 0)

    @contextmanager
    def in_turn(self):
        """One rank of a machine after the other: the machine's memory then holds one whole base model, not one a GPU."""
        for turn in range(self.local_world):
            if turn == self.local_rank:
                yield
            self.wait()

    def wait(self) -> None:
        if self.world > 1:
            self.most(0)

    def shard(self, model) -> None:
        """Splits the frozen weights over the ranks, block by block (FSDP2). The adapter stays whole on each."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(self.device.type, (self.world,))
        adapter = {parameter for parameter in model.parameters() if parameter.requires_grad}
        for block in blocks_of(model):
            fully_shard(block, mesh=mesh, ignored_params=adapter)
        fully_shard(model, mesh=mesh, ignored_params=adapter)
        for parameter in adapter:
            parameter.data = parameter.data.to(self.device)
        self.sharded = True

    def leave(self) -> None:
        """All end together: torchrun takes the first that ends badly for the end of all."""
        if self.world > 1:
            self.wait()
            dist.destroy_process_group()
