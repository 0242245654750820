"""The frozen networks around the experts: pixels <-> latents, captions -> tokens, image features.

| module | what it does |
|---|---|
| `autoencoder` | images <-> latents: the contract, and the run's own small network |
| `autoencoder_kl` | diffusers' larger autoencoder, from a hub or in a run's content |
| `towers` | captions -> token states, images -> features, by an own or a published tower |
| `clip` | the run's own small CLIP, its tokenizer, and the towers taken from it |
| `text_tower` | the text tower of a CLIP alone, in a run's content |
| `transformers_clip` | such a tower and its tokenizer in the files of Hugging Face's transformers |
| `stored` | loads an encoder of a run's contents, whichever form it has |
| `hub` | published networks under the same contracts, through diffusers, open_clip and timm |
| `artefact` | one safetensors file a network, with its configuration as JSON in the metadata |

Encoders that are contents of a run come from other peers and are checked before use: its own small
ones, or published ones that an import took in. The published ones (`sd-vae-ft-mse`, CLIP ViT-L/14,
DINOv2) otherwise come from a hub or a local folder.
"""
