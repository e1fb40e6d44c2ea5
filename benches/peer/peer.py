"""The rows of the comparison in neural-tangents: python peer.py ROW float32|float64 prints one JSON object.

Networks, sizes and inputs are those of `ntk-bench time ROW`; `check` is the mean of what was computed,
`diagonal_error` the largest relative error on the diagonal where its exact value is known.
"""

import json
import sys
import time
from functools import partial

import jax

ROW, DTYPE = sys.argv[1], sys.argv[2]
jax.config.update("jax_enable_x64", DTYPE == "float64")

import jax.numpy as jnp  # noqa: E402
import neural_tangents as nt  # noqa: E402
import numpy as np  # noqa: E402
from neural_tangents import stax  # noqa: E402


def inputs(*shape):
    count = int(np.prod(shape))
    steps = np.arange(1, count + 1) * 0.6180339887498949
    return jnp.asarray((steps - np.floor(steps) - 0.5).reshape(shape).astype(DTYPE))


def affine(width):
    return stax.Dense(width, W_std=2.0**0.5, b_std=None)


def conv():
    return stax.Conv(32, (3, 3), padding="SAME", W_std=2.0**0.5, b_std=None)


def infinite(layers, x):
    _, _, kernel = stax.serial(*layers)
    kernel = jax.jit(partial(kernel, get="ntk"))
    return lambda: kernel(x, None)


def dense(phi, depth, n, features):
    return infinite([affine(512), phi] * depth + [affine(1)], inputs(n, features))


def diagonal(row, depth):
    """The exact diagonal of the NTK: its layers need no correlation."""
    x = np.asarray(inputs(4000 if depth == 4 else 500, 784 if depth == 4 else 64), dtype=np.float64)
    q = 2 * (x * x).mean(axis=1)
    ntk = q
    for _ in range(depth):
        if row == "dense_erf":
            square, slope = 2 / np.pi * np.arcsin(2 * q / (1 + 2 * q)), 4 / np.pi / np.sqrt(1 + 4 * q)
        else:
            square, slope = q / 2, 0.5
        q = 2 * square
        ntk = q + 2 * slope * ntk
    return ntk


def finite(layers, x):
    init, apply, _ = stax.serial(*layers)
    _, params = init(jax.random.PRNGKey(0), x.shape)
    best = nt.NtkImplementation.STRUCTURED_DERIVATIVES
    if len(x.shape) == 4:
        best = nt.NtkImplementation.JACOBIAN_CONTRACTION
    kernel = jax.jit(nt.empirical_ntk_fn(apply, trace_axes=(), vmap_axes=0, implementation=best))
    return lambda: kernel(x, None, params)


def convolutions(count):
    return [conv(), stax.Relu()] * count


def myrtle():
    pool = stax.AvgPool((2, 2), strides=(2, 2))
    return convolutions(3) + [pool] + convolutions(3) + [pool] + convolutions(3) + [stax.GlobalAvgPool(), affine(1)]


def ensemble():
    x, z = inputs(1200, 64)[:1000], inputs(1200, 64)[1000:]
    _, _, kernel = stax.serial(*([affine(512), stax.Relu()] * 3 + [affine(1)]))
    y = jnp.sign(x[:, :1])

    def predict():
        run = nt.predict.gradient_descent_mse_ensemble(kernel, x, y, diag_reg=1e-4)
        got = run(t=100.0, x_test=z, get="ntk", compute_cov=True)
        return jnp.concatenate([got.mean.ravel(), jnp.diag(got.covariance)])

    return predict


def attention():
    layers = [affine(512), stax.Relu()]
    layers.append(stax.GlobalSelfAttention(512, 64, 64, 8, linear_scaling=True, W_key_std=1.0, W_query_std=1.0,
                                           W_value_std=1.0, W_out_std=1.0, b_std=None))
    return infinite(layers + [stax.GlobalAvgPool(), affine(1)], inputs(32, 16, 32))


ROWS = {
    "dense_relu": lambda: dense(stax.Relu(), 4, 4000, 784),
    "dense_erf": lambda: dense(stax.Erf(), 4, 4000, 784),
    "dense_gelu": lambda: dense(stax.Gelu(), 4, 4000, 784),
    "depth_100": lambda: dense(stax.Relu(), 100, 500, 64),
    "conv_flatten": lambda: infinite(convolutions(21) + [stax.Flatten(), affine(1)], inputs(8, 32, 32, 3)),
    "conv_pool": lambda: infinite(convolutions(21) + [stax.GlobalAvgPool(), affine(1)], inputs(2, 32, 32, 3)),
    "myrtle_10": lambda: infinite(myrtle(), inputs(2, 32, 32, 3)),
    "attention": attention,
    "finite_dense": lambda: finite([affine(512), stax.Relu()] * 3 + [affine(10)], inputs(16, 3072)),
    "finite_conv": lambda: finite([conv(), stax.Relu()] * 3 + [stax.GlobalAvgPool(), affine(10)], inputs(8, 32, 32, 3)),
    "ensemble": ensemble,
}

run = ROWS[ROW]()
times = []
while not times or (len(times) < 6 and sum(times[1:]) < 20.0):
    started = time.perf_counter()
    out = jax.block_until_ready(run())
    times.append(time.perf_counter() - started)
out = np.asarray(out, dtype=np.float64)
depth = {"dense_relu": 4, "dense_erf": 4, "depth_100": 100}.get(ROW)
error = depth and float(np.max(np.abs(np.diag(out) / diagonal(ROW, depth) - 1)))
print(json.dumps({"row": ROW, "dtype": DTYPE, "cold": times[0], "warm": times[1:] or times,
                  "check": float(np.mean(out)), "diagonal_error": error}))
