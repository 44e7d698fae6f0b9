"""The recipe for the toy world's Stable Diffusion: tokenizer, autoencoder, text encoder and UNet, from scratch."""
