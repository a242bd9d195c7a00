"""Writes a package as ONNX models, in f32 and in int8, and checks them against the package's pinned logits.

    python tests/bench/peers/export.py assets/model target/bench

The int8 model is what onnxruntime's dynamic quantisation makes of the f32 one. Prints what was written as JSON.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic

import graph
import package


def main(source, target):
    target = pathlib.Path(target)
    target.mkdir(parents=True, exist_ok=True)
    content = package.read(source)
    f32, int8 = target / "model-f32.onnx", target / "model-int8.onnx"
    onnx.save(graph.build(content), f32)
    difference = package.check(content, run(f32, content.test_tokens), "the ONNX model")
    # Its shape inference does not know FastGelu, so it is told the type of what it cannot see.
    quantize_dynamic(
        f32, int8, weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT}
    )
    report = {
        "versions": {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__},
        "opset": graph.OPSET,
        "models": {
            "f32": {"file": f32.name, "bytes": f32.stat().st_size, "difference": difference},
            "int8": {
                "file": int8.name,
                "bytes": int8.stat().st_size,
                "difference": content.difference(run(int8, content.test_tokens)),
            },
        },
    }
    print(json.dumps(report))


def run(file, tokens):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"ids": np.array([tokens], dtype=np.int32)})[0]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: export.py PACKAGE TARGET")
    main(*sys.argv[1:])
