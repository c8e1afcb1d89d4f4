"""QLoRA (Dettmers et al. 2023, arXiv:2305.14314): LoRA beside a base that is held in 4 bits.

What is merged afterwards is the adapter with the base as it was, in 16.
"""

from poem_build.train.lora import train

__all__ = ["train"]
