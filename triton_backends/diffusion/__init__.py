"""Draws images: a DDIM sampler that calls a UNet, and for a prompt a text encoder, inside Triton (BLS)."""
