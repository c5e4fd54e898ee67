"""The same loop audited by an attacker who knows it: reference models run the whole pipeline.

Run it: python examples/audit_own_loop.py
"""

from __future__ import annotations

import torch
from own_loop import train as own_train
from torch import nn
from torch.utils.data import TensorDataset

import membrane


def train(members: membrane.Examples, holdout: membrane.Examples, generator: torch.Generator) -> nn.Module:
    """What every reference model goes through: the user's own loop, protection included."""
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        sets = [TensorDataset(part.x.float() / 255, part.y) for part in (members, holdout)]
        _, protected = own_train(sets[0], sets[1])
    return protected.model


def main() -> None:
    """Audit with eight models and write the report."""
    found = membrane.audit(
        train, membrane.Digits(test=297), references=8, canaries=50, holdout=500, out="runs/own_loop"
    )
    print("\n".join(found.verdict))
    print(f"report: {found.to_html('runs/own_loop/report.html')}")


if __name__ == "__main__":
    main()
