"""Models whose answers are rewritten before anybody sees them: the network stays as it is, inside.

What is audited is what is released: the rewritten answers, as logits whose softmax is what a user would be shown. The
same query gets the same answer: what a rewriting draws at random, it draws from the query itself and a secret key,
which is stored with the weights, so that asking again and averaging tells nothing more. Whoever gets the file of
weights has the network inside; these defenses are for models that answer behind an interface.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn


class Rewriting(nn.Module):
    """A classifier behind a rewriting of its answers.

    Args:
        model: Inputs (B, ...) to logits (B, C).
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.train(model.training)

    @property
    def inside(self) -> nn.Module:
        """The network, which whoever gets the file of weights has."""
        return self.model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return self.rewritten(logits.float(), x)

    def rewritten(self, logits: Tensor, x: Tensor) -> Tensor:
        """Logits (B, C) to release, from those of the network and the queries (B, ...)."""
        raise NotImplementedError


class KeyedRewriting(Rewriting):
    """A rewriting that draws at random, always alike for the same query.

    Args:
        model: Inputs (B, ...) to logits (B, C).
        key: Secret, 0 to 2^63 - 1; who knows it can undo the draws.
    """

    key: Tensor

    def __init__(self, model: nn.Module, key: int) -> None:
        super().__init__(model)
        self.register_buffer("key", torch.tensor(key))

    def generators(self, x: Tensor) -> list[torch.Generator]:
        """A CPU generator for each query (B, ...), that of its bytes and the key."""
        key = int(self.key).to_bytes(8, "big")
        queries = x.detach().float().cpu().contiguous()
        digests = (hashlib.sha256(key + query.numpy().tobytes()).digest() for query in queries)
        return [torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1) for digest in digests]


def network_of(model: nn.Module) -> nn.Module:
    """The network behind all rewritings of its answers; the model itself if there is none."""
    while isinstance(model, Rewriting):
        model = model.model
    return model
