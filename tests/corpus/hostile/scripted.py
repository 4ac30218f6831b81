"""Modules for TorchScript; torch reads their source, so they stand in a file of their own."""

import torch


class Plain(torch.nn.Module):
    """Doubles its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


class Armed(torch.nn.Module):
    """Creates a file as soon as it is loaded."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.weight = torch.zeros(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return (self.path, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        self.weight = torch.from_file(state[0], True, 1)
