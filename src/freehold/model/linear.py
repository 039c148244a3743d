"""Matrices and embeddings whose memory is allocated and left as it is.

Weights are loaded, or drawn by `Transformer.random`.

PyTorch's own modules draw random weights when they are made, which costs time, and on the meta device a second
and 80 MB of imports.
"""

from __future__ import annotations

from torch import nn

__all__ = ["Embedding", "Linear"]


class Linear(nn.Linear):
    """`torch.nn.Linear` without an initialisation."""

    def reset_parameters(self) -> None:
        """Does nothing."""


class Embedding(nn.Embedding):
    """`torch.nn.Embedding` without an initialisation."""

    def reset_parameters(self) -> None:
        """Does nothing."""
