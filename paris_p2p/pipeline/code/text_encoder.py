"""The text encoder of this run: the text tower of a CLIP, and its byte-pair tokenizer."""

from __future__ import annotations

import html
import importlib.util
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from math import inf

import regex
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

MOST_CHARACTERS = 4096
"""Longer prompts are cut before they are tokenized."""

QUOTES = str.maketrans("\u2018\u2019\u201c\u201d", "''\"\"")

START, END = "<start_of_text>", "<end_of_text>"
WORDS = regex.compile(
    rf"{START}|{END}|'s|'t|'re|'ve|'m|'ll|'d|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+",
    regex.IGNORECASE,
)


class TextEncoder(ModelMixin, ConfigMixin):
    """Prompts to one state for every token, which the experts attend to.

    `merges` are the tokenizer's, by rank ("th e</w>"). `context_length` is the most tokens.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        merges: Sequence[str],
        width: int,
        layers: int,
        heads: int,
        context_length: int,
        quick_gelu: bool = False,
    ) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(len(_symbols(merges)), width)
        self.positional_embedding = nn.Parameter(torch.empty(context_length, width))
        self.transformer = _Transformer(width, layers, heads, quick_gelu)
        self.ln_final = nn.LayerNorm(width)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer(self.config.merges)

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Token ids (N, L): start, words, end, then padding of id 0; cut if too long."""
        length: int = self.config.context_length
        start, end = self.tokenizer.ids[START], self.tokenizer.ids[END]
        ids = torch.zeros(len(prompts), length, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            words = self.tokenizer.encode(prompt[:MOST_CHARACTERS])[: length - 2]
            ids[row, : len(words) + 2] = torch.tensor([start, *words, end])
        return ids

    def mask(self, ids: Tensor) -> Tensor:
        """Bool (N, L): true up to and including the end token."""
        end = (ids == self.tokenizer.ids[END]).int().argmax(dim=1, keepdim=True)
        return torch.arange(ids.shape[1], device=ids.device) <= end

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (N, L) to states (N, L, D)."""
        states = self.token_embedding(ids) + self.positional_embedding
        causal = torch.full((ids.shape[1],) * 2, -inf, dtype=states.dtype, device=ids.device)
        states = self.transformer(states, causal.triu(1))
        final: Tensor = self.ln_final(states)
        return final


class _Transformer(nn.Module):
    def __init__(self, width: int, layers: int, heads: int, quick_gelu: bool) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(_Block(width, heads, quick_gelu) for _ in range(layers))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        for block in self.resblocks:
            states = block(states, mask)
        return states


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, quick_gelu: bool) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(
            {
                "c_fc": nn.Linear(width, 4 * width),
                "gelu": _QuickGELU() if quick_gelu else nn.GELU(),
                "c_proj": nn.Linear(4 * width, width),
            }
        )

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        normed = self.ln_1(states)
        states = states + self.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        changed: Tensor = self.ln_2(states)
        for layer in self.mlp.values():
            changed = layer(changed)
        return states + changed


class _QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Tokenizer:
    """CLIP's byte-pair encoding over a list of merges. Start and end are the two highest ids."""

    def __init__(self, merges: Sequence[str]) -> None:
        self.ids = {symbol: number for number, symbol in enumerate(_symbols(merges))}
        self._ranks = {tuple(merge.split()): rank for rank, merge in enumerate(merges)}

    def encode(self, text: str) -> list[int]:
        """The ids of a text's words, without start and end."""
        clean = html.unescape(html.unescape(_repaired(text)))
        words = WORDS.findall(" ".join(clean.split()).lower())
        return [self.ids[symbol] for word in words for symbol in self._symbols_of(word)]

    def _symbols_of(self, word: str) -> list[str]:
        if word in (START, END):
            return [word]
        letters = [_LETTERS[byte] for byte in word.encode()]
        symbols = [*letters[:-1], letters[-1] + "</w>"]
        while len(symbols) > 1:
            pair = min(pairwise(symbols), key=self._rank)
            if self._rank(pair) == inf:
                break
            symbols = list(_merged(symbols, pair))
        return symbols

    def _rank(self, pair: tuple[str, str]) -> float:
        return self._ranks.get(pair, inf)


def _repaired(text: str) -> str:
    """What ftfy makes of a text; where it is not installed, plain quotes and composed letters."""
    if importlib.util.find_spec("ftfy"):
        return str(importlib.import_module("ftfy").fix_text(text))
    return unicodedata.normalize("NFC", text.translate(QUOTES))


def _merged(symbols: Sequence[str], pair: tuple[str, str]) -> Iterator[str]:
    """The symbols with every occurrence of a pair made one symbol, from left to right."""
    place = 0
    while place < len(symbols):
        found = tuple(symbols[place : place + 2]) == pair
        yield "".join(pair) if found else symbols[place]
        place += 2 if found else 1


def _letters() -> dict[int, str]:
    """A visible letter for every byte. Bytes that are not visible get letters from 256 on."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    letters = {byte: chr(byte) for byte in visible}
    return letters | {byte: chr(256 + number) for number, byte in enumerate(hidden)}


_LETTERS = _letters()


def _symbols(merges: Sequence[str]) -> list[str]:
    """The vocabulary, by id."""
    letters = list(_LETTERS.values())
    ends = [letter + "</w>" for letter in letters]
    return [*letters, *ends, *("".join(merge.split()) for merge in merges), START, END]
