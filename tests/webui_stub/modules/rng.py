import torch


class ImageRNG:
    """Noise of each picture from its own seed; sets the global generator (modules/rng.py:64)."""

    def __init__(self, shape, seeds):
        self.shape, self.seeds = shape, seeds

    def next(self):
        noises = []
        for seed in self.seeds:
            torch.manual_seed(seed)
            noises.append(torch.randn(self.shape))
        return torch.stack(noises)
