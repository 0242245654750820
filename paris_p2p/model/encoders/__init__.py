"""The frozen networks around the experts: pixels <-> latents, captions -> tokens, image features.

| module | what it does |
|---|---|
| `autoencoder` | images <-> latents: the contract, and the run's own small network |
| `towers` | captions -> token states, images -> features, by an own or a published tower |
| `clip` | the run's own small CLIP, its tokenizer, and the towers taken from it |
| `hub` | published networks under the same contracts, through diffusers, open_clip and timm |
| `artefact` | one safetensors file a network, with its configuration as JSON in the metadata |

Two families share each contract. The run's own small encoders come from other peers and are checked
before use. The published ones (`sd-vae-ft-mse`, CLIP ViT-L/14, DINOv2) come from a
hub or a local folder.
"""
