"""Everything about the standalone host that a training or a sampling must leave as it was."""

from __future__ import annotations

import hashlib

import torch


def snapshot(host) -> tuple:
    """Module objects, flags, hooks and the SHA-256 of every weight of UNet, VAE and text encoders; the global RNG."""
    parts = host.parts()
    found = []
    for model in (parts.unet, parts.vae, *parts.text_encoders):
        digest = hashlib.sha256()
        for name, value in model.state_dict().items():
            digest.update(name.encode() + value.detach().contiguous().view(torch.uint8).numpy().tobytes())
        modules = tuple((n, id(m), m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for n, m in model.named_modules())
        parameters = tuple((n, id(p), p.requires_grad, p.grad is None, p.dtype) for n, p in model.named_parameters())
        found.append((digest.hexdigest(), modules, parameters, getattr(model, "is_gradient_checkpointing", None)))
    return (*found, hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest())
