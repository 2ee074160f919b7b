"""Train the two networks of the demo on the training half of the digits, and write their weights.

    python examples/train_demo.py [OUT.safetensors]

Deterministic on one machine: one thread, fixed seeds. Takes a few seconds.
"""

import sys

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from sqlanalysis.demo import ARCHITECTURES, WEIGHTS, digits

EPOCHS = {"digits_mlp": 12, "digits_cnn": 12}


def train(name: str) -> tuple[nn.Module, float]:
    """One network and its accuracy on the held-out half."""
    torch.manual_seed(0)
    pictures = digits()
    split = {part: [row for row in pictures if row[2] == part] for part in ("train", "test")}
    pixels = {part: torch.from_numpy(np.stack([r[0] for r in rows]))[:, None] / 255 for part, rows in split.items()}
    labels = {part: torch.tensor([r[1] for r in rows]) for part, rows in split.items()}
    module = ARCHITECTURES[name]()
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3, weight_decay=1e-2)
    for _ in range(EPOCHS[name]):
        for batch in torch.randperm(len(labels["train"])).split(32):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(module(pixels["train"][batch]), labels["train"][batch])
            loss.backward()
            optimizer.step()
    module.eval()
    with torch.inference_mode():
        correct = module(pixels["test"]).argmax(1) == labels["test"]
    return module, correct.float().mean().item()


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    state = {}
    for name in ARCHITECTURES:
        module, accuracy = train(name)
        print(f"{name}: accuracy {accuracy:.4f} on the held-out half")
        state |= {f"{name}.{key}": value.contiguous() for key, value in module.state_dict().items()}
    save_file(state, sys.argv[1] if len(sys.argv) > 1 else WEIGHTS)


if __name__ == "__main__":
    main()
