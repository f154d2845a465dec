"""The only place for ``modules.*`` (WebUI), ``backend.*`` (Forge) and ``diffusers``."""
