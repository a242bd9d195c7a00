"""The forward pass of a package as an ONNX graph, with the operators that exporters use."""

import math

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
# Added to a masked score; its exponential is exactly 0 in f32.
MASKED = -1e30


class Graph:
    """Nodes and weights as they are added. Each method that adds a node returns the name of its output."""

    def __init__(self):
        self.nodes = []
        self.weights = []
        self.count = 0

    def weight(self, name, values):
        self.weights.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def shape(self, name, *sizes):
        return self.weight(name, np.array(sizes, dtype=np.int64))

    def add(self, operator, *inputs, outputs=1, domain="", **attributes):
        self.count += 1
        names = [f"{operator}_{self.count}" + (f"_{i}" if outputs > 1 else "") for i in range(outputs)]
        node = helper.make_node(operator, list(inputs), names, name=names[0], domain=domain, **attributes)
        self.nodes.append(node)
        return names[0] if outputs == 1 else names


def build(package):
    """ids [1, sequence] int32 to the logits of the labels after the last token, [1, labels]."""
    graph = Graph()
    tables = positions(graph, package)
    constants = {
        "heads": graph.shape("heads", 0, 0, package.config["n_head"], -1),
        "joined": graph.shape("joined", 0, 0, package.config["n_embd"]),
        "scale": graph.weight("scale", np.float32(math.sqrt(package.config["n_embd"] // package.config["n_head"]))),
    }
    x = graph.add("Gather", graph.weight("wte.weight", package.tensors["wte.weight"]), "ids")
    for layer in range(package.config["n_layer"]):
        x = block(graph, package, f"h.{layer}.", x, tables, constants)
    x = norm(graph, package, "ln_f", x)
    last = graph.add("Gather", x, graph.weight("last", np.int64(-1)), axis=1)
    weight, bias = package.label_head()
    logits = graph.add("MatMul", last, graph.weight("label_head.weight", weight))
    graph.nodes.append(helper.make_node("Add", [logits, graph.weight("label_head.bias", bias)], ["logits"]))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            package.manifest["id"],
            [helper.make_tensor_value_info("ids", TensorProto.INT32, [1, "sequence"])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(package.answers)])],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)],
        ir_version=IR_VERSION,
    )
    checker.check_model(model)
    return model


def positions(graph, package):
    """What depends on the length alone: cosines, sines and mask, cut to the sequence once for all blocks."""
    cos, sin = package.rotary_tables()
    context = package.config["n_positions"]
    mask = np.triu(np.full((context, context), MASKED, dtype=np.float32), k=1)
    length = graph.add("Slice", graph.add("Shape", "ids"), graph.shape("one", 1), graph.shape("two", 2))
    zero, axis = graph.shape("zero", 0), graph.shape("rows", 0)
    lengths = graph.add("Concat", length, length, axis=0)
    return (
        graph.add("Slice", graph.weight("cos", cos), zero, length, axis),
        graph.add("Slice", graph.weight("sin", sin), zero, length, axis),
        graph.add("Slice", graph.weight("mask", mask), graph.shape("corner", 0, 0), lengths, graph.shape("both", 0, 1)),
    )


def block(graph, package, prefix, x, tables, constants):
    """x + attention(norm(x)) + feed_forward(norm(x))."""
    h = norm(graph, package, f"{prefix}ln_1", x)
    attended = attention(graph, package, prefix, h, tables, constants)
    # The activation is CodeGen's gelu_new, the formula with tanh.
    fed = graph.add("FastGelu", linear(graph, package, f"{prefix}mlp.fc_in", h), domain="com.microsoft")
    fed = linear(graph, package, f"{prefix}mlp.fc_out", fed)
    return graph.add("Add", graph.add("Add", x, attended), fed)


def attention(graph, package, prefix, h, tables, constants):
    cos, sin, mask = tables
    parts = graph.add("Split", linear(graph, package, f"{prefix}attn.qkv_proj", h), outputs=3, axis=2)
    heads = [
        graph.add("Transpose", graph.add("Reshape", part, constants["heads"]), perm=[0, 2, 1, 3]) for part in parts
    ]
    query, key = (rotate(graph, package, prefix, head, cos, sin) for head in heads[:2])
    scores = graph.add("MatMul", query, graph.add("Transpose", key, perm=[0, 1, 3, 2]))
    scores = graph.add("Add", graph.add("Div", scores, constants["scale"]), mask)
    mixed = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), heads[2])
    mixed = graph.add("Reshape", graph.add("Transpose", mixed, perm=[0, 2, 1, 3]), constants["joined"])
    return linear(graph, package, f"{prefix}attn.out_proj", mixed)


def rotate(graph, package, prefix, x, cos, sin):
    """Turns the pairs (i, i + half) of each head's first dimensions: the package holds the even ones first."""
    rotary_dim = package.config["rotary_dim"]
    still = package.config["n_embd"] // package.config["n_head"] - rotary_dim
    sizes = [rotary_dim // 2, rotary_dim // 2] + ([still] if still else [])
    name = f"{prefix}split.{graph.count}"
    even, odd, *rest = graph.add("Split", x, graph.shape(name, *sizes), outputs=len(sizes), axis=3)
    turned_even = graph.add("Sub", graph.add("Mul", even, cos), graph.add("Mul", odd, sin))
    turned_odd = graph.add("Add", graph.add("Mul", odd, cos), graph.add("Mul", even, sin))
    return graph.add("Concat", turned_even, turned_odd, *rest, axis=3)


def norm(graph, package, prefix, x):
    gain = graph.weight(f"{prefix}.weight", package.tensors[f"{prefix}.weight"])
    offset = graph.weight(f"{prefix}.bias", package.tensors[f"{prefix}.bias"])
    return graph.add("LayerNormalization", x, gain, offset, axis=-1, epsilon=package.epsilon)


def linear(graph, package, prefix, x):
    name = f"{prefix}.weight"
    y = graph.add("MatMul", x, graph.weight(name, package.tensors[name]))
    bias = package.tensors.get(f"{prefix}.bias")
    return y if bias is None else graph.add("Add", y, graph.weight(f"{prefix}.bias", bias))
