"""Networks to cut: the zoo, and what people build by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from membrane.core.generators import torch_generator
from membrane.data import Examples
from membrane.models import MLP, Model, ResNet, ViT

IMAGES = torch.rand(4, 3, 8, 8, generator=torch_generator(0, "images"))
FEATURES = torch.rand(4, 6, generator=torch_generator(0, "features"))


@dataclass(frozen=True)
class Net:
    """One network of the table.

    Args:
        name: For the test's name.
        make: Makes it.
        n_matrices: Layers with weights; four or more have to give four regions or more.
        x: A batch of inputs.
    """

    name: str
    make: Callable[[], nn.Module]
    n_matrices: int
    x: Tensor = FEATURES

    def __str__(self) -> str:
        return self.name


def zoo(model: Model) -> Callable[[], nn.Module]:
    examples = Examples(IMAGES, torch.tensor([0, 1, 2, 3]), ("a", "b", "c", "d"))
    return lambda: model.build(examples, torch_generator(0))


class Tied(nn.Module):
    """Encoder and decoder share one matrix, the head another module's bias."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(6, 6)
        self.middle = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
        self.decode = nn.Linear(6, 6)
        self.head = nn.Linear(6, 6)
        self.decode.weight = self.encode.weight
        self.head.bias = self.encode.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.decode(self.middle(self.encode(x))))


class OtherOrder(nn.Module):
    """Registered as 0, 1, 2, 3 in a list that never runs itself; called as 3, 1, 0, 2, after the ``first`` layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(4))
        self.first = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for i in (3, 1, 0, 2):
            x = self.layers[i](x).relu()
        return x


class Direct(nn.Module):
    """Parameters and buffers held by the root, matrices among them."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.ones(1, 6))
        self.scale = nn.Parameter(torch.ones(6))
        self.register_buffer("shift", torch.zeros(6))
        self.register_buffer("calls", torch.tensor(0))
        self.one = nn.Linear(6, 6)
        self.two = nn.Linear(6, 6, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x * self.scale + self.shift) + self.token)


class OnlyDirect(nn.Module):
    """No child modules at all."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.eye(6))
        self.b = nn.Parameter(torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.a + self.b


class BuffersOnly(nn.Module):
    """A child that holds nothing but buffers, at both ends and in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.BatchNorm1d(6, affine=False)
        self.one = nn.Linear(6, 6)
        self.between = nn.BatchNorm1d(6, affine=False)
        self.two = nn.Linear(6, 6)
        self.after = nn.BatchNorm1d(6, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.two(self.between(self.one(self.before(x)))))


class Shared(nn.Module):
    """The same module under three names, one of them deep inside a block."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Linear(6, 6)
        self.again = self.same
        self.block = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), self.same)
        self.only_shared = nn.Sequential(self.same)
        self.more = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.more(self.only_shared(self.block(self.again(self.same(x)))))


class Attention(nn.Module):
    """PyTorch's own attention holds its first matrix itself and its second in a child."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, 4, 6))
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(6, 2, 8, batch_first=True) for _ in range(3))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, None].expand(-1, 4, -1) + self.position
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


class Wrapped(nn.Module):
    """Wrappers around wrappers, and one layer that outweighs all others."""

    def __init__(self) -> None:
        super().__init__()
        inner = nn.Sequential(nn.Linear(6, 6), nn.Sequential(nn.Linear(6, 900), nn.ReLU()), nn.Linear(900, 6))
        self.core = nn.Sequential(nn.Sequential(nn.Sequential(inner)))

    def forward(self, x: Tensor) -> Tensor:
        return self.core(x)


class SkipsSome(nn.Module):
    """One branch never runs on this input."""

    def __init__(self) -> None:
        super().__init__()
        self.auxiliary = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 2))
        self.main = nn.Sequential(*(nn.Linear(6, 6) for _ in range(4)))

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x)


class Recurrent(nn.Module):
    """Weights in a flat list of one module."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(6, 5, num_layers=2, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x[:, None])[0][:, -1])


def normalized_weights() -> nn.Module:
    return nn.Sequential(*(nn.utils.parametrizations.weight_norm(nn.Linear(6, 6)) for _ in range(4)))


def deep(depth: int) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*(layer for _ in range(depth) for layer in (nn.Linear(6, 6), nn.ReLU())))


class Functional(nn.Module):
    """Layers whose weights are used without the layers being called."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(x, self.b.weight), self.a.weight)


NETS = (
    Net("mlp", zoo(MLP((8, 8, 8))), 4, IMAGES),
    Net("resnet", zoo(ResNet((8, 16, 16, 16))), 14, IMAGES),
    Net("resnet_deep", zoo(ResNet((8, 8), (9, 9))), 40, IMAGES),
    Net("resnet_group", zoo(ResNet((8, 16), (1, 1), "group")), 7, IMAGES),
    Net("vit", zoo(ViT(patch=2, width=12, depth=5)), 22, IMAGES),
    Net("lone_linear", lambda: nn.Linear(6, 2), 1),
    Net("lone_batchnorm", lambda: nn.BatchNorm1d(6), 0),
    Net("three_layers", deep(3), 3),
    Net("four_layers", deep(4), 4),
    Net("thirteen_layers", deep(13), 13),
    Net("thirty_layers", deep(30), 30),
    Net("tied", Tied, 5),
    Net("other_order", OtherOrder, 5),
    Net("direct", Direct, 2),
    Net("only_direct", OnlyDirect, 1),
    Net("buffers_only", BuffersOnly, 2),
    Net("shared", Shared, 4),
    Net("attention", Attention, 13),
    Net("wrapped", Wrapped, 3),
    Net("skips_some", SkipsSome, 6),
    Net("recurrent", Recurrent, 2),
    Net("weight_norm", normalized_weights, 4),
    Net("functional", Functional, 2),
)


def made(net: Net) -> nn.Module:
    """The network with all weights and buffers different from one another."""
    model = net.make()
    generator = torch_generator(1, net.name)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
            else:
                tensor.copy_(torch.randint(1, 100, tensor.shape, generator=generator))
    return model.eval()
