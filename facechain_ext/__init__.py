"""FaceChain for WebUI: photos of a person in, a face LoRA and ranked portraits out."""

__version__ = "0.1.0"
