"""Export: an official-format VLA checkpoint to a bundle that the Rust runtime reads. The format is `policies/BUNDLE.md`."""

__version__ = "0.1.0"
