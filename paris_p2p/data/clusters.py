"""Cut features into K clusters in two stages, as Decentralized Diffusion Models do.

k-means to many fine centroids, then k-means of those to K (arXiv 2501.05450). The second stage is
weighted by the fine clusters' sizes and restarted, to get clusters of similar size: each is one
peer's work.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from paris_p2p.errors import extra

MAX_IMBALANCE = 2.0
"""No cluster should hold more than this many times the mean."""

RESTARTS = 20
MIN_WORD_COUNT = 3
"""A word that occurs less often than this says nothing about a cluster."""


@dataclass(frozen=True)
class Clusters:
    """Fine centroids (F, D) and the cluster of each, int64 (F,)."""

    centroids: Tensor
    cluster_of: Tensor

    def assign(self, features: Tensor) -> Tensor:
        """Features (N, D) -> the cluster of the nearest fine centroid, int64 (N,)."""
        parts = [
            torch.cdist(part, self.centroids).argmin(dim=1) for part in torch.split(features, 8192)
        ]
        return self.cluster_of[torch.cat(parts)]


def cut_clusters(features: Tensor, count: int, fine: int, seed: int) -> Clusters:
    """Cut (N, D) into `count` clusters via `fine` centroids. A seed gives the same result."""
    with extra("data"):
        from sklearn.cluster import KMeans
    points = features.double().numpy()
    first = KMeans(min(fine, len(points)), n_init=1, random_state=seed).fit(points)
    sizes = np.bincount(first.labels_, minlength=first.n_clusters)
    starts = [
        KMeans(count, n_init=1, random_state=seed + start).fit(
            first.cluster_centers_, sample_weight=sizes
        )
        for start in range(RESTARTS)
    ]

    def rank(start: KMeans) -> tuple[float, float]:
        """Sort key: sufficiently balanced cuts first, then the tightest."""
        largest = np.bincount(start.labels_, weights=sizes, minlength=count).max()
        excess = max(0.0, largest / (len(points) / count) - MAX_IMBALANCE)
        return excess, float(start.inertia_)

    best = min(starts, key=rank)
    return Clusters(
        centroids=torch.from_numpy(first.cluster_centers_).float(),
        cluster_of=torch.from_numpy(best.labels_).long(),
    )


def telling_words(captions: Sequence[str], labels: Tensor, count: int) -> list[list[str]]:
    """The twelve words that best distinguish each cluster from the others.

    A word's score is its count in the cluster times the log of how much more common it is there.
    """
    per_cluster: list[Counter[str]] = [Counter() for _ in range(count)]
    for caption, label in zip(captions, labels.tolist(), strict=True):
        per_cluster[label].update(set(re.findall(r"[a-z]{3,}", caption.lower())))
    everywhere = sum(per_cluster, Counter[str]())
    result = []
    for label, words in enumerate(per_cluster):
        share = int((labels == label).sum()) / len(captions)

        def weight(word: str, words: Counter[str] = words, share: float = share) -> float:
            return words[word] * math.log(words[word] / (everywhere[word] * share))

        common = [word for word in sorted(words) if words[word] >= MIN_WORD_COUNT]
        result.append(sorted(common, key=weight, reverse=True)[:12])
    return result
