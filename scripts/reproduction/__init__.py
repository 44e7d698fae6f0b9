"""The paper's claims (arXiv 2309.14303), measured on the toy world, where every exact mask is known."""
