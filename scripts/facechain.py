"""FaceChain inside the WebUI: the only file its script loader runs."""

try:
    from facechain_ext.hosts.a1111 import extension
    from facechain_ext.hosts.a1111.script import FaceChainScript  # noqa: F401 - the loader registers the class it finds here
except ImportError as error:
    from facechain_ext.hosts.a1111 import missing

    missing.register(error)
else:
    extension.register()
