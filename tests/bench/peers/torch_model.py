"""The forward pass of a package in PyTorch, as its users write it: fused attention, fused norm, plain weights."""

import torch
import torch.nn.functional as F


def prefill_of(package):
    """A function from token ids to the logits of the labels after the last token."""
    config = package.config
    heads, half = config["n_head"], config["rotary_dim"] // 2
    # PyTorch's linear layers hold [out, in].
    weights = {
        name: torch.from_numpy(values if name == "wte.weight" or values.ndim == 1 else values.T.copy())
        for name, values in package.tensors.items()
    }
    cos, sin = (torch.from_numpy(table) for table in package.rotary_tables())
    head_weight, head_bias = package.label_head()
    head_weight, head_bias = torch.from_numpy(head_weight.T.copy()), torch.from_numpy(head_bias)

    def linear(x, prefix):
        return F.linear(x, weights[f"{prefix}.weight"], weights.get(f"{prefix}.bias"))

    def norm(x, prefix):
        return F.layer_norm(x, x.shape[-1:], weights[f"{prefix}.weight"], weights[f"{prefix}.bias"], package.epsilon)

    def rotate(x):
        length = x.shape[2]
        c, s = cos[:length], sin[:length]
        even, odd, still = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
        return torch.cat([even * c - odd * s, odd * c + even * s, still], dim=-1)

    def attention(h, prefix):
        length = h.shape[1]
        query, key, value = (
            part.view(1, length, heads, -1).transpose(1, 2)
            for part in linear(h, f"{prefix}attn.qkv_proj").chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(rotate(query), rotate(key), value, is_causal=True)
        return linear(mixed.transpose(1, 2).reshape(1, length, -1), f"{prefix}attn.out_proj")

    @torch.inference_mode()
    def prefill(tokens):
        x = weights["wte.weight"][torch.tensor([tokens])]
        for layer in range(config["n_layer"]):
            prefix = f"h.{layer}."
            h = norm(x, f"{prefix}ln_1")
            fed = linear(F.gelu(linear(h, f"{prefix}mlp.fc_in"), approximate="tanh"), f"{prefix}mlp.fc_out")
            x = x + attention(h, prefix) + fed
        last = norm(x, "ln_f")[:, -1]
        return F.linear(last, head_weight, head_bias).numpy()

    return prefill
