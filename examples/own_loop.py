"""Somebody else's plain PyTorch loop, with three added lines that make its model leak less.

Run it: python examples/own_loop.py
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import membrane


def build_model() -> nn.Module:
    """A small convolutional network, nothing of membrane in it."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        nn.Sequential(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        nn.Sequential(nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)),
    )


def train(
    train_set: Dataset[tuple[Tensor, Tensor]], holdout: Dataset[tuple[Tensor, Tensor]], epochs: int = 30
) -> tuple[nn.Module, membrane.Protected]:
    """An ordinary training loop. The three added lines are marked."""
    model = build_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    trail = membrane.Trail(model, optimizer=optimizer)  # added: 1
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _epoch in range(epochs):
        model.train()
        for x, y in DataLoader(train_set, batch_size=50, shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        scheduler.step()
        trail.snapshot()  # added: 2
    protected = membrane.protect(model, trail, train_set, holdout, membrane.Budget(max_accuracy_drop=0.01))  # added: 3
    return model, protected


def main() -> None:
    """Train on digits and compare the model before and after."""
    torch.manual_seed(0)
    digits = load_digits()
    x = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x))
    part = [TensorDataset(x[i], y[i]) for i in (order[:700], order[700:1250], order[1250:])]
    members, holdout, test = part

    model, protected = train(members, holdout)
    print(f"plan: {protected.plan}")
    for name, one in (("before", model), ("after", protected.model)):
        found = membrane.audit_model(one, members, test)
        print(f"{name}: {found.verdict[0]}")


if __name__ == "__main__":
    main()
