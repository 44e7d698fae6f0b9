"""How to cite the paper whose method makes the masks."""

CITATION = """@inproceedings{nguyen2023dataset,
  title     = {Dataset Diffusion: Diffusion-based Synthetic Dataset Generation for Pixel-Level Semantic Segmentation},
  author    = {Nguyen, Quang and Vu, Truong and Tran, Anh and Nguyen, Khoi},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2023},
  url       = {https://arxiv.org/abs/2309.14303}
}"""
