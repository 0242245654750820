"""Captions -> token states, images -> features: by the run's own or a published tower."""

from __future__ import annotations

from collections.abc import Sequence

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from paris_p2p.errors import BadContent

MAX_CAPTION_CHARS = 4096
"""Longer captions are cut before they are tokenized: no context holds as much."""


class TextEncoder(nn.Module):
    """Captions -> per-token hidden states of a CLIP's text tower, which experts attend to."""

    attn_mask: Tensor
    positional_embedding: nn.Parameter

    def __init__(self, clip: open_clip.CLIP, tokenizer: SimpleTokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.context_length: int = clip.context_length
        self.vocabulary: int = clip.vocab_size
        self.token_embedding = clip.token_embedding
        self.positional_embedding = clip.positional_embedding
        self.transformer = clip.transformer
        self.ln_final = clip.ln_final
        self.register_buffer("attn_mask", clip.attn_mask, persistent=False)

    @property
    def width(self) -> int:
        """Channels per token."""
        return int(self.token_embedding.embedding_dim)

    def tokenize(self, captions: Sequence[str]) -> Tensor:
        """Token ids, int64 (N, L): start, words, end, then padding of id 0; cut if too long."""
        clipped = [caption[:MAX_CAPTION_CHARS] for caption in captions]
        ids: Tensor = self.tokenizer(clipped, context_length=self.context_length)
        return ids

    def truncated(self, caption: str) -> bool:
        """Whether `tokenize` cuts this caption."""
        if len(caption) > MAX_CAPTION_CHARS:
            return True
        return len(self.tokenizer.encode(caption)) + 2 > self.context_length

    def mask(self, ids: Tensor) -> Tensor:
        """Bool (N, L), true up to and including the end token: the tokens to attend to."""
        end = (ids == self.tokenizer.eot_token_id).int().argmax(dim=1, keepdim=True)
        attended: Tensor = torch.arange(ids.shape[1], device=ids.device) <= end
        return attended

    def encode(self, ids: Tensor) -> Tensor:
        """Ids (N, L) -> (N, L, D), every token's final hidden state, layer-normed.

        L may be shorter than the context: what follows a token never changes its state. Raises
        `BadContent` for ids outside the vocabulary.
        """
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < self.vocabulary:
            raise BadContent(f"token ids lie outside the vocabulary of {self.vocabulary}")
        length = ids.shape[1]
        hidden = self.token_embedding(ids) + self.positional_embedding[:length]
        hidden = self.transformer(hidden, attn_mask=self.attn_mask[:length, :length])
        states: Tensor = self.ln_final(hidden)
        return states


class ImageEncoder(nn.Module):
    """Images -> unit-length feature vectors, by any tower that takes (N, 3, px, px)."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, tower: nn.Module, image_px: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.tower = tower
        self.image_px = image_px
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)

    def encode(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1], resized where the tower's size differs -> (N, D)."""
        size = (self.image_px, self.image_px)
        if images.shape[-2:] != size:
            images = F.interpolate(
                images, size, mode="bicubic", align_corners=False, antialias=True
            ).clamp(-1, 1)
        unit = (images + 1) / 2
        centred = (unit - self.mean[:, None, None]) / self.std[:, None, None]
        return F.normalize(self.tower(centred), dim=-1)
