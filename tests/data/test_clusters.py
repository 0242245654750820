"""Clusters on features whose truth is known: blobs apart from one another."""

import pytest
import torch
from torch import Tensor

from paris_p2p.data.clusters import cut_clusters, telling_words
from paris_p2p.data.features import group_means


def blobs(per_blob: int, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features (N, 8) around `count` far corners, and the blob of each."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(count).repeat_interleave(per_blob)
    points = 10 * torch.eye(8)[truth] + torch.randn(len(truth), 8, generator=generator)
    return points, truth


def test_blobs_are_found_whole() -> None:
    points, truth = blobs(60, 4)
    labels = cut_clusters(points, 4, fine=24, seed=0).assign(points)
    for blob in range(4):
        assert labels[truth == blob].unique().numel() == 1
    assert labels.unique().numel() == 4


def test_the_same_seed_gives_the_same_clusters() -> None:
    points, _ = blobs(50, 5)
    first = cut_clusters(points, 5, fine=20, seed=3)
    second = cut_clusters(points, 5, fine=20, seed=3)
    assert torch.equal(first.centroids, second.centroids)
    assert torch.equal(first.assign(points), second.assign(points))


def test_unseen_points_go_to_their_neighbours() -> None:
    points, truth = blobs(60, 4)
    clusters = cut_clusters(points, 4, fine=24, seed=0)
    others, other_truth = blobs(10, 4, seed=1)
    for blob in range(4):
        home = clusters.assign(points)[truth == blob][0]
        assert (clusters.assign(others)[other_truth == blob] == home).all()


@pytest.mark.parametrize("fine", [3, 1000])
def test_any_number_of_fine_centroids_is_taken(fine: int) -> None:
    points, _ = blobs(20, 3)
    labels = cut_clusters(points, 3, fine=fine, seed=0).assign(points)
    assert labels.unique().numel() == 3


def test_one_cluster_does_not_swallow_the_rest() -> None:
    points = torch.randn(800, 8, generator=torch.Generator().manual_seed(0))
    labels = cut_clusters(points, 4, fine=64, seed=0).assign(points)
    assert labels.bincount(minlength=4).max() <= 2 * 800 / 4


def test_without_its_groups_mean_a_feature_says_what_is_shown() -> None:
    points, truth = blobs(40, 2)
    shift = torch.tensor([[0.0], [50.0]])[torch.arange(80) % 2]
    styles = ["even" if row % 2 == 0 else "odd" for row in range(80)]
    features = points + shift
    plain = features - group_means(features, styles, torch.ones(80, dtype=torch.bool))
    labels = cut_clusters(plain, 2, fine=8, seed=0).assign(plain)
    for blob in range(2):
        assert labels[truth == blob].unique().numel() == 1


def test_means_are_taken_over_reference_rows_where_there_are_any() -> None:
    features = torch.tensor([[1.0], [3.0], [100.0], [7.0], [9.0]])
    reference = torch.tensor([True, True, False, False, False])
    means = group_means(features, ["a", "a", "a", "b", "b"], reference)
    assert means.flatten().tolist() == [2.0, 2.0, 2.0, 8.0, 8.0]


def test_telling_words_are_those_of_one_cluster() -> None:
    captions = ["red apple fruit", "green apple fruit", "sad face", "glad face", "apple face"] * 3
    labels = torch.tensor([0, 0, 1, 1, 1] * 3)
    words = telling_words(captions, labels, 2)
    assert words[0][0] == "fruit" and words[1][0] == "face"
