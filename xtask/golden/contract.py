"""Writes crates/ntk-analytic/tests/data/contract.json: kernels of deep networks at 60 digits, for pairs of inputs that
are identical, opposite, nearly so, proportional or zero. Needs mpmath. Run from the root of the project."""
import json
from mpmath import *
mp.dps=60
def relu(a,b,c):
    if a==0 or b==0: return mpf(0), mpf(1)/4
    n=sqrt(a*b); r=c/n
    if r>1: r=mpf(1)
    if r<-1: r=mpf(-1)
    t=acos(r)
    return n/(2*pi)*(sin(t)+(pi-t)*r), (pi-t)/(2*pi)
def erf_(a,b,c):
    d=(1+2*a)*(1+2*b)
    return 2/pi*asin(2*c/sqrt(d)), 4/pi/sqrt(d-4*c*c)
def gelu(a,b,c):
    D=(1+a)*(1+b)-c*c; al=asin(c/sqrt((1+a)*(1+b))); E=(1+a)*(1+b)
    v=((c*c+a*b*D)/(E*sqrt(D))+c*al)/(2*pi)+c/4
    s=mpf(1)/4+al/(2*pi)+c/(2*pi*sqrt(D))*(1/D+(1-a*b)/E+1)
    return v,s
def kern(x,y,L,phi,w,b):
    d=len(x); dot=lambda p,q: fsum(mpf(i)*mpf(j) for i,j in zip(p,q))/d
    w=mpf(w); b=mpf(b)
    a,c,g=w*dot(x,x)+b, w*dot(y,y)+b, w*dot(x,y)+b
    T=g
    phis=[phi]*L if not isinstance(phi,list) else [phi[i%len(phi)] for i in range(L)]
    for f in phis:
        v,s=f(a,c,g); va=f(a,a,a)[0]; vc=f(c,c,c)[0]
        a,c,g2=w*va+b,w*vc+b,w*v+b
        T=g2+w*s*T; g=g2
    return g,T,a,c
x=[0.3,-1.2,0.7]
near=[0.3,-1.2,0.7000000001]
nearer=[0.3,-1.2,0.7000000000000001]
opp=[-0.3,1.2,-0.7]
nopp=[-0.3,1.2,-0.7000000001]
other=[1.0,0.4,-0.2]
scaled=[0.6,-2.4,1.4]
zero=[0.0,0.0,0.0]
pts=dict(near=near,nearer=nearer,opposite=opp,nearly_opposite=nopp,other=other,scaled=scaled,zero=zero,same=x)
rows = []
for name, phi in [("relu", relu), ("erf", erf_), ("gelu", gelu), ("erf_relu", [erf_, relu])]:
    for w, b in [(2.0, 0.0), (1.5, 0.1)]:
        for depth in [1, 3, 100]:
            for pair, y in pts.items():
                g, t, _, _ = kern(x, y, depth, phi, w, b)
                rows.append({"activations": name, "weight": w, "bias": b, "depth": depth, "pair": pair, "x": x, "y": y,
                             "nngp": float(nstr(g, 20)), "ntk": float(nstr(t, 20))})
source = "60 digits, mpmath, xtask/golden/contract.py"
with open("crates/ntk-analytic/tests/data/contract.json", "w") as file:
    file.write('{"source": ' + json.dumps(source) + ', "rows": [\n' + ",\n".join(json.dumps(r) for r in rows) + "\n]}\n")
