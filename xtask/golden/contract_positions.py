"""Writes crates/ntk-analytic/tests/data/contract_positions.json: convolutional kernels at 60 digits, for pairs of
sequences that are identical, opposite, nearly so, proportional, constant or zero. Needs mpmath. Run from the root of the
project."""
import json
from mpmath import *
mp.dps = 60

def relu(a, b, c):
    if a == 0 or b == 0:
        return mpf(0), mpf(1) / 4
    n = sqrt(a * b)
    t = acos(max(min(c / n, mpf(1)), mpf(-1)))
    return n / (2 * pi) * (sin(t) + (pi - t) * cos(t)), (pi - t) / (2 * pi)

def erf_(a, b, c):
    d = (1 + 2 * a) * (1 + 2 * b)
    return 2 / pi * asin(2 * c / sqrt(d)), 4 / pi / sqrt(d - 4 * c * c)

T, C = 4, 2

def conv(k, n):
    out = [[mpf(0)] * n for _ in range(n)]
    for p in range(n):
        for r in range(n):
            for d in (-1, 0, 1):
                if 0 <= p + d < n and 0 <= r + d < n:
                    out[p][r] += k[p + d][r + d] / 3
    return out

def mix(k, a):
    rows, n = len(a), len(k)
    return [[fsum(a[s][p] * a[t][r] * k[p][r] for p in range(n) for r in range(n)) for t in range(rows)] for s in range(rows)]

def network(x, y, phi, depth, end, w, b):
    """Kernels of (x, x), (y, y), (x, y) together; the tangent kernel of the last."""
    w, b = mpf(w), mpf(b)
    gram = lambda u, v: [[fsum(mpf(i) * mpf(j) for i, j in zip(u[p], v[r])) / C for r in range(T)] for p in range(T)]
    k = [gram(x, x), gram(y, y), gram(x, y)]
    t = [[mpf(0)] * T for _ in range(T)]
    n = T

    def affine(k, t):
        k = [conv(m, n) for m in k]
        t = conv(t, n)
        t = [[w * k[2][p][r] + b + w * t[p][r] for r in range(n)] for p in range(n)]
        return [[[w * v + b for v in row] for row in m] for m in k], t

    def act(k, t):
        one = lambda m, q1, q2: [[phi(q1[p], q2[r], m[p][r]) for r in range(n)] for p in range(n)]
        q = [[m[p][p] for p in range(n)] for m in k[:2]]
        both = [one(k[0], q[0], q[0]), one(k[1], q[1], q[1]), one(k[2], q[0], q[1])]
        t = [[both[2][p][r][1] * t[p][r] for r in range(n)] for p in range(n)]
        return [[[v[0] for v in row] for row in m] for m in both], t

    for layer in range(depth):
        k, t = act(*affine(k, t))
        if end == "pool" and layer == 0:
            half = mpf(1) / 2
            a = [[half, half, 0, 0], [0, 0, half, half]]
            k, t, n = [mix(m, a) for m in k], mix(t, a), 2
    same = end == "flatten"
    mean = lambda m: fsum(m[p][r] for p in range(n) for r in range(n) if p == r or not same) / (n if same else n * n)
    kk, tt = [mean(m) for m in k], mean(t)
    return w * kk[2] + b, w * (kk[2] + tt) + b

x = [[0.3, -1.2], [0.7, 0.4], [-0.9, 0.25], [1.1, 0.6]]
change = lambda f: [[f(v, p, c) for c, v in enumerate(row)] for p, row in enumerate(x)]
pairs = {
    "same": x,
    "near": change(lambda v, p, c: v + 1e-10 if (p, c) == (1, 0) else v),
    "nearer": change(lambda v, p, c: 0.7000000000000001 if (p, c) == (1, 0) else v),
    "opposite": change(lambda v, p, c: -v),
    "nearly opposite": change(lambda v, p, c: -v - 1e-10 if (p, c) == (1, 0) else -v),
    "scaled": change(lambda v, p, c: 2 * v),
    "zero": change(lambda v, p, c: 0.0),
    "constant": change(lambda v, p, c: [0.5, -0.25][c]),
    "one zero": change(lambda v, p, c: 0.0 if p == 2 else v),
    "shifted": x[1:] + x[:1],
}
rows = []
for name, phi in [("relu", relu), ("erf", erf_)]:
    for w, b in [(2.0, 0.0), (1.5, 0.1)]:
        for end in ["flatten", "global", "pool"]:
            for depth in [1, 3, 20]:
                for pair, y in pairs.items():
                    k, t = network(x, y, phi, depth, end, w, b)
                    rows.append({"activation": name, "weight": w, "bias": b, "end": end, "depth": depth, "pair": pair,
                                 "y": y, "nngp": float(nstr(k, 20)), "ntk": float(nstr(t, 20))})
with open("crates/ntk-analytic/tests/data/contract_positions.json", "w") as file:
    source = json.dumps("60 digits, mpmath, xtask/golden/contract_positions.py")
    file.write('{"source": ' + source + ', "x": ' + json.dumps(x) + ', "rows": [\n' + ",\n".join(json.dumps(r) for r in rows) + "\n]}\n")
