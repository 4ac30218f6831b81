"""PyTorch as a runtime: checkpoints in a module that a factory builds, exported programs, TorchScript."""
