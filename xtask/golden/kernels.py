"""Writes crates/ntk-testkit/testdata/kernels.json: the kernels of every network in that file, computed again with the
library that it names. Needs neural-tangents 0.6.5 with jax 0.4.23. Run from the root of the project.

A new case is an entry with a name, a network in the terms of stax, x1 and x2 (null for the symmetric kernel)."""
import json
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as np
import neural_tangents
from neural_tangents import stax

PATH = "crates/ntk-testkit/testdata/kernels.json"
FUNCTIONS = {
    "tanh": np.tanh, "softplus": jax.nn.softplus, "silu": jax.nn.silu, "cos_plus": lambda x: np.cos(x) + 0.3 * x,
}

def layer(node):
    (name, arguments), = node.items()
    if name in ("serial", "parallel"):
        return getattr(stax, name)(*map(layer, arguments))
    arguments = {k: tuple(v) if isinstance(v, list) and k != "coef" else v for k, v in arguments.items()}
    if name in ("Dense", "Conv", "ConvLocal", "ConvTranspose"):
        arguments = {"out_dim" if name == "Dense" else "out_chan": arguments.pop("width", 16), **arguments}
    elif name == "FanOut":
        arguments = {"num": arguments["n"]}
    elif name == "Dropout":
        arguments["mode"] = "train"
    elif name == "ElementwiseNumerical":
        arguments["fn"] = FUNCTIONS[arguments["fn"]]
    elif name == "GlobalSelfAttention":
        arguments = {k: getattr(stax.AttentionMechanism, v) if k == "attention_mechanism" else
                     getattr(stax.PositionalEmbedding, v) if k == "pos_emb_type" else v for k, v in arguments.items()}
    return getattr(stax, name)(**arguments)

def read(array):
    return None if array is None else np.array(array["data"], dtype=np.float64).reshape(array["shape"])

def write(array):
    return {"shape": list(array.shape), "data": [float(v) for v in array.reshape(-1)]}

with open(PATH) as file:
    document = json.load(file)
document["source"] = f"neural-tangents {neural_tangents.__version__}, float64"
for case in document["cases"]:
    _, _, kernel_fn = layer(case["network"])
    kernel = kernel_fn(read(case["x1"]), read(case["x2"]), ("nngp", "ntk"))
    for name in ("nngp", "ntk"):
        new, old = getattr(kernel, name), read(case.get(name))
        change = 0.0 if old is None else float(abs(new - old).max() / abs(old).max())
        print(f"{case['name']} {name}: changed by {change:.1e}")
        case[name] = write(new)
with open(PATH, "w") as file:
    json.dump(document, file)
