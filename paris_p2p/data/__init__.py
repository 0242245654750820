"""From captioned pictures to the shards that experts train on.

| module | what it does |
|---|---|
| `emoji` | loads the captioned emoji that ship with the project |
| `features` | turns images into feature vectors: the run's CLIP, or DINOv2 and CLIP from a hub |
| `clusters` | cuts features into K clusters: k-means to fine centroids, then those into K |
| `shards` | writes, reads and checks the file that holds one cluster's encoded samples |
| `prepare` | images + captions + encoders + clusters -> shards |

Nothing here knows the network, the store or the peer: a shard is a file.
"""
