"""Small torch networks, the synthetic tasks that they learn, and a few seconds of training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def tensor(value: np.ndarray) -> object:
    import torch

    return torch.from_numpy(np.ascontiguousarray(value))


def train(
    net: object, inputs: Sequence[np.ndarray], target: np.ndarray, *, seed: int, steps: int = 150
) -> object:
    """Adam on one thread: the same seed gives the same weights. Integer targets are classes."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    classes = target.dtype.kind == "i"
    loss_of = torch.nn.functional.cross_entropy if classes else torch.nn.functional.mse_loss
    optimiser = torch.optim.Adam(net.parameters(), lr=4e-3)
    rng = np.random.default_rng(seed)
    net.train()
    for _ in range(steps):
        pick = rng.integers(0, len(target), 64)
        out = net(*(tensor(value[pick]) for value in inputs))
        loss = loss_of(out[0] if isinstance(out, tuple) else out, tensor(target[pick]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    torch.set_num_threads(threads)
    return net.eval()


def blobs() -> tuple[np.ndarray, np.ndarray]:
    """640 points of 6 classes in 24 dimensions."""
    rng = np.random.default_rng(1)
    centres = rng.normal(0, 1.2, (6, 24))
    y = rng.integers(0, 6, 640)
    return (centres[y] + rng.normal(0, 0.7, (640, 24))).astype(np.float32), y.astype(np.int64)


def token_sequences() -> tuple[np.ndarray, np.ndarray]:
    """Sequences of 16 tokens of 50; the class is the parity that most tokens have."""
    rng = np.random.default_rng(2)
    x = rng.integers(0, 50, (900, 16))
    return x.astype(np.int64), (np.sum(x % 2, 1) > 7).astype(np.int64)


def markov_chain() -> tuple[np.ndarray, np.ndarray]:
    """Sequences of 12 tokens of 64 and the token that follows."""
    rng = np.random.default_rng(3)
    follow = rng.permutation(64)
    chain = np.empty((900, 13), np.int64)
    chain[:, 0] = rng.integers(0, 64, 900)
    for step in range(1, 13):
        jump = rng.random(900) < 0.05
        chain[:, step] = np.where(jump, rng.integers(0, 64, 900), follow[chain[:, step - 1]])
    return chain[:, :12].copy(), chain[:, 12].copy()


def signals() -> tuple[np.ndarray, np.ndarray]:
    """Noisy waves of four frequencies, 24 steps of 3 channels."""
    rng = np.random.default_rng(4)
    y = rng.integers(0, 4, 800)
    phase = rng.uniform(0, 6.28, (800, 1, 1))
    time = np.arange(24)[None, :, None] + np.arange(3)[None, None, :]
    x = np.sin((0.3 + 0.25 * y[:, None, None]) * time + phase) + rng.normal(0, 0.2, (800, 24, 3))
    return x.astype(np.float32), y.astype(np.int64)


def mlp(seed: int) -> object:
    import torch
    from torch import nn

    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(24, 64), nn.ReLU(), nn.Linear(64, 48), nn.Tanh(), nn.Linear(48, 6))


def residual(seed: int) -> object:
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = (
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels),
            )
            self.conv2, self.bn2 = (
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels),
            )

        def forward(self, x):
            return torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))

    torch.manual_seed(seed)
    stem = [nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    tail = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10)]
    return nn.Sequential(*stem, Block(16), nn.MaxPool2d(2), Block(16), *tail)


def depthwise(seed: int) -> object:
    import torch
    from torch import nn

    def separable(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        depth = nn.Conv2d(inputs, inputs, 3, stride=stride, padding=1, groups=inputs)
        return [depth, nn.ReLU6(), nn.Conv2d(inputs, outputs, 1), nn.ReLU6()]

    torch.manual_seed(seed)
    body = [*separable(16, 32, 1), *separable(32, 32, 2)]
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU6(),
        *body,
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


def autoencoder(seed: int) -> object:
    import torch
    from torch import nn

    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 12, 2, stride=2),
        nn.ReLU(),
        nn.ConvTranspose2d(12, 1, 2, stride=2),
    )


def transformer(seed: int) -> object:
    import torch
    from torch import nn

    class Layer(nn.Module):
        def __init__(self, width: int, heads: int) -> None:
            super().__init__()
            self.heads, self.norm1, self.norm2 = heads, nn.LayerNorm(width), nn.LayerNorm(width)
            self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
            self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

        def forward(self, x):
            def split(v):
                return v.reshape(-1, 16, self.heads, 32 // self.heads).transpose(1, 2)

            y = self.norm1(x)
            q, k, v = split(self.query(y)), split(self.key(y)), split(self.value(y))
            mix = torch.softmax(q @ k.transpose(-1, -2) / 4.0, -1) @ v
            x = x + self.out(mix.transpose(1, 2).reshape(-1, 16, 32))
            return x + self.down(torch.nn.functional.gelu(self.up(self.norm2(x))))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.position = nn.Embedding(50, 32), nn.Parameter(torch.randn(16, 32) * 0.1)
            self.layers, self.norm = nn.ModuleList(Layer(32, 2) for _ in range(2)), nn.LayerNorm(32)
            self.head = nn.Linear(32, 2)

        def forward(self, tokens):
            x = self.embed(tokens) + self.position
            for layer in self.layers:
                x = layer(x)
            return self.head(self.norm(x).mean(1))

    torch.manual_seed(seed)
    return Net()


def tied_language_model(seed: int) -> object:
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(64, 32)
            self.mix1, self.mix2 = nn.Linear(64, 96), nn.Linear(96, 32)

        def forward(self, tokens):
            x = self.embed(tokens)
            last = torch.cat([x[:, -1], x.mean(1)], -1)
            return self.mix2(torch.relu(self.mix1(last))) @ self.embed.weight.t()

    torch.manual_seed(seed)
    return Net()


def recurrent(kind: str, seed: int) -> object:
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = getattr(nn, kind)(3, 24, batch_first=True), nn.Linear(24, 4)

        def forward(self, signal):
            return self.head(self.cell(signal)[0][:, -1])

    torch.manual_seed(seed)
    return Net()


def two_heads(seed: int) -> object:
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.side = nn.Conv2d(1, 12, 3, stride=2, padding=1), nn.Linear(6, 24)
            self.join, self.logits, self.level = nn.Linear(216, 48), nn.Linear(48, 10), nn.Linear(48, 1)

        def forward(self, image, side):
            x = torch.cat([torch.relu(self.conv(image)).flatten(1), torch.relu(self.side(side))], 1)
            x = torch.relu(self.join(x))
            return self.logits(x), torch.sigmoid(self.level(x))

    torch.manual_seed(seed)
    return Net()
