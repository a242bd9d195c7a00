"""Times prefills of another engine on one thread, one for each line of standard input.

    python tests/bench/peers/serve.py torch assets/model
    python tests/bench/peers/serve.py onnxruntime assets/model target/bench/model-f32.onnx

Says first, as a line of JSON, what it is and how far its logits of the package's self-test are from the pinned ones.
Then it reads lines of token ids, [1, 2, …], and answers each with the milliseconds from ids to logits.
"""

import json
import sys
import time

import package


def onnxruntime_engine(_, file):
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def prefill(tokens):
        return session.run(["logits"], {"ids": np.array([tokens], dtype=np.int32)})[0]

    return prefill, onnxruntime.__version__


def torch_engine(content):
    import torch

    import torch_model

    torch.set_num_threads(1)
    return torch_model.prefill_of(content), torch.__version__


def main(name, source, *rest):
    content = package.read(source)
    engine = {"onnxruntime": onnxruntime_engine, "torch": torch_engine}[name]
    prefill, version = engine(content, *rest)
    difference = content.difference(prefill(content.test_tokens))
    say({"version": version, "difference": difference})
    for line in sys.stdin:
        tokens = json.loads(line)
        start = time.perf_counter()
        prefill(tokens)
        say({"millis": (time.perf_counter() - start) * 1e3})


def say(message):
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in ("onnxruntime", "torch"):
        raise SystemExit("usage: serve.py torch PACKAGE | serve.py onnxruntime PACKAGE MODEL")
    main(*sys.argv[1:])
