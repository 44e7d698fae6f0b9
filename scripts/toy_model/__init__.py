"""The recipe of the toy world's Stable Diffusion: tokenizer, autoencoder, text encoder and UNet, from nothing."""
