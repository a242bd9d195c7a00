"""Reads a model package: the manifest, and the weights by name as f32 arrays."""

import json
import pathlib
from dataclasses import dataclass

import numpy as np
from safetensors.numpy import load_file

# The largest difference from the pinned logits at which a computation in f32 counts as the same.
TOLERANCE = 1e-3


@dataclass
class Package:
    """A package; matrices are [in, out], see docs/model-package.md."""

    manifest: dict
    tensors: dict

    @property
    def config(self):
        return self.manifest["architecture"]["config"]

    @property
    def inner(self):
        return self.config.get("n_inner") or 4 * self.config["n_embd"]

    @property
    def epsilon(self):
        return self.config.get("layer_norm_epsilon", 1e-5)

    @property
    def answers(self):
        """The token of each label's answer, in the order of the labels."""
        return [label["answer"]["tokens"][0] for label in self.manifest["labels"]]

    @property
    def test_tokens(self):
        return self.manifest["selfTest"]["tokens"]

    def label_head(self):
        """The columns of the language-model head that the answers need: [d, labels] and [labels]."""
        columns = self.answers
        return (
            np.ascontiguousarray(self.tensors["lm_head.weight"][:, columns]),
            np.ascontiguousarray(self.tensors["lm_head.bias"][columns]),
        )

    def rotary_tables(self):
        """Cosines and sines, [n_positions, rotary_dim / 2] each: column i turns by 10000^(-2i / rotary_dim)."""
        rotary_dim = self.config["rotary_dim"]
        frequencies = 10000.0 ** (-np.arange(0, rotary_dim, 2, dtype=np.float64) / rotary_dim)
        angles = np.outer(np.arange(self.config["n_positions"], dtype=np.float64), frequencies)
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def difference(self, logits):
        """The largest difference of the self-test's logits from the pinned ones."""
        pinned = np.array(self.manifest["selfTest"]["logits"], dtype=np.float32)
        return float(np.abs(np.asarray(logits, dtype=np.float32).reshape(-1) - pinned).max())


def read(folder):
    """The package in a folder."""
    folder = pathlib.Path(folder)
    try:
        manifest = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise SystemExit(f"there is no package in {folder} ({error.strerror}); train one with `cargo xtask train`")
    if manifest["weights"]["quantization"] is not None:
        raise SystemExit("the package is quantised, which this script does not read; measure an f16 or f32 package")
    runs = {}
    for shard in manifest["weights"]["shards"]:
        for name, values in load_file(folder / shard["file"]).items():
            tensor, _, first = name.partition("@")
            runs.setdefault(tensor, []).append((int(first or 0), values.astype(np.float32)))
    tensors = {}
    for name, parts in runs.items():
        parts.sort(key=lambda part: part[0])
        tensors[name] = np.concatenate([values for _, values in parts]) if len(parts) > 1 else parts[0][1]
    return Package(manifest, tensors)


def check(package, logits, what):
    """Ends the program where logits differ from the pinned ones: what computes something else must not be timed."""
    difference = package.difference(logits)
    if not difference <= TOLERANCE:
        raise SystemExit(
            f"{what} differs from the package's pinned logits by {difference:.3g}, more than {TOLERANCE}: "
            "it computes something else, so its time would mean nothing; correct tests/bench/peers first"
        )
    return difference
