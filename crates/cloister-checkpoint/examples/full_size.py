"""Writes a checkpoint of CodeGen-350M's shape with random weights, and the logits that PyTorch computes of it.

    pip install torch transformers safetensors numpy
    python crates/cloister-checkpoint/examples/full_size.py DIR

About 1.5 GB in parts of 500 MB, and `expected.safetensors` with `ids` [1, 64] and `logits` [1, 64, 51200]. What reads it is
`full_size.rs` beside it.
"""

import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import CodeGenConfig, CodeGenForCausalLM

folder = pathlib.Path(sys.argv[1])
torch.manual_seed(20261122)
# Dropout plays no part, and the defaults of the sizes are those of 350M.
config = CodeGenConfig(vocab_size=51200, n_embd=1024, n_layer=20, n_head=16, rotary_dim=32, n_positions=2048, n_ctx=2048)
model = CodeGenForCausalLM(config).eval()
with torch.no_grad():
    # Biases that are all 0 would hide one that is lost.
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(0.0, 0.02)
    ids = torch.randint(0, config.vocab_size, (1, 64))
    logits = model(ids).logits
model.save_pretrained(folder, max_shard_size="500MB")
save_file({"ids": ids.int(), "logits": logits.contiguous()}, folder / "expected.safetensors")
print(sum(parameter.numel() for parameter in model.parameters()), "parameters")
