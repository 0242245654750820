"""The networks, their training objective and the mixing of their answers: torch only.

| module | what it does |
|---|---|
| `expert` | the network of one cluster: diffusers' PixArt transformer, initialised like DiT |
| `router` | predicts which cluster a noisy latent came from, and reads the caption for it |
| `objective` | noised latents, captions, and the router's cross-entropy |
| `expert_objectives` | what experts predict, and the velocity that it means |
| `schedules` | DDPM's noise schedules, for experts that predict noise |
| `mixture` | router logits -> expert weights -> one velocity |
| `integrators` | from noise to data along a velocity: Euler, and diffusers' schedulers |
| `sampler` | the mixture's velocity, integrated, with classifier-free guidance |
| `encoders` | images <-> latents, captions -> text tokens |
| `weights` | safetensors in and out, checked before a tensor is built |
| `light_diffusers` | diffusers' networks that we use, imported without all others |
| `out_of_memory` | tells out-of-memory errors from all others |

One convention everywhere: t = 0 is data, t = 1 is noise, x_t = (1 - t) x0 + t eps, and a
velocity is dx_t/dt = eps - x0. Networks get the time as 1000 t.
Nothing here knows the network, the store or the peer.
"""
