"""The host that needs no WebUI: diffusers loading single-file checkpoints offline."""
