"""PyTorch's files as data: archives, pickles, checkpoints, exported programs. Nothing here imports torch."""
