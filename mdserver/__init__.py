"""mdserver: a self-hosted server for Markdown documents and mind maps."""

__version__ = "0.1.0"
