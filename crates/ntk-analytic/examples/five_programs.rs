//! Five programs, from a line of mathematics to a kernel: the listings of the chapter on tensor programs.
#![allow(clippy::print_stdout)]

use std::error::Error;

use ntk_analytic::program::{GradientDependence, KernelLimit, LinearLimit, ParticleLimit, ParticleOptions};
use ntk_core::ndarray::array;
use ntk_core::program::networks::{self, Rates, Readout, Weights};
use ntk_core::program::{Builder, Expr};

fn main() -> Result<(), Box<dyn Error>> {
    recurrent()?;
    gated()?;
    attention()?;
    tied()?;
    random_matrix()
}

fn recurrent() -> Result<(), Box<dyn Error>> {
    // ANCHOR: recurrent
    let mut p = Builder::new();
    let gram = array![[1.0, 0.3], [0.3, 1.0]]; // ξᵀξ̄/d of two tokens
    let u = p.inputs(&["u0", "u1"], &[0.0, 0.0], gram.clone(), Some(gram))?;
    let w = p.matrix_with("W", 1.5, 1.0)?; // σ², rate
    let v = p.inputs(&["v"], &[0.0], array![[1.0]], Some(array![[1.0]]))?[0];
    let s1 = p.apply(Expr::arg(0).erf(), &[u[0]])?;
    let back = p.matmul(w, s1)?;
    let g2 = p.combine(&[(1.0, back), (1.0, u[1])])?;
    let s2 = p.apply(Expr::arg(0).erf(), &[g2])?;
    p.output("f", v, s2)?;
    let [nngp, ntk] = KernelLimit::new(p.finish())?.kernels()?;
    // ANCHOR_END: recurrent
    println!("recurrent: NNGP {:.6}, NTK {:.6}", nngp[[0, 0]], ntk[[0, 0]]);
    Ok(())
}

fn gated() -> Result<(), Box<dyn Error>> {
    // ANCHOR: gated
    let gram = array![[1.0, 0.3, 0.5], [0.3, 1.0, 0.2], [0.5, 0.2, 1.0]];
    let weights = Weights { weight: 1.5, input: 1.0, bias: 0.3, readout: 1.0, rates: Rates::Unit };
    let (tanh, gate) = (Expr::arg(0).tanh(), Expr::arg(0).sigmoid());
    let program = networks::gru(&tanh, &gate, &weights, &gram, &[2, 1], Readout::Last)?; // two tokens and one
    let options = ParticleOptions { particles: 1 << 16, ..ParticleOptions::default() };
    let [_, ntk] = ParticleLimit::new(program, options)?.forward_tangents()?;
    // ANCHOR_END: gated
    println!("gated: NTK {:.4} ± {:.4}", ntk[[0, 0]].value, ntk[[0, 0]].error);
    Ok(())
}

fn attention() -> Result<(), Box<dyn Error>> {
    // ANCHOR: attention
    let mut p = Builder::new();
    let gram = array![[1.0, 0.3], [0.3, 1.0]];
    let x = p.inputs(&["x0", "x1"], &[0.0, 0.0], gram, None)?;
    let (k, o) = (p.matrix("K", 2.0)?, p.matrix_with("O", 1.0, 1.0)?);
    let keys = [p.matmul(k, x[0])?, p.matmul(k, x[1])?];
    let read = networks::attention(&mut p, &keys, &keys, &x, false)?; // softmax of ⟨k, k⟩/n
    let v = p.inputs(&["v"], &[0.0], array![[1.0]], Some(array![[1.0]]))?[0];
    let h = p.matmul(o, read[1])?;
    let y = p.apply(Expr::arg(0).relu(), &[h])?;
    p.output("f", v, y)?;
    println!("{}", p.program());
    let [nngp, ntk] = KernelLimit::new(p.finish())?.kernels()?;
    // ANCHOR_END: attention
    println!("attention: NNGP {:.6}, NTK {:.6}", nngp[[0, 0]], ntk[[0, 0]]);
    Ok(())
}

fn tied() -> Result<(), Box<dyn Error>> {
    // ANCHOR: tied
    let weights = Weights { weight: 1.4, input: 1.0, bias: 0.0, readout: 1.0, rates: Rates::Unit };
    let program = networks::autoencoder(&Expr::arg(0).relu(), &weights, &array![[1.0]], 1.0)?;
    assert!(program.checks().simple_gia.is_err()); // line 5: Wᵀ is used beside W
    let kernels = GradientDependence::new(&program, ParticleOptions::default())?;
    let (full, naive) = (kernels.full.ntk[[0, 0]], kernels.naive.ntk[[0, 0]]);
    // ANCHOR_END: tied
    println!("tied: NTK {:.3} ± {:.3}, naive {:.3}", full.value, full.error, naive.value);
    Ok(())
}

fn random_matrix() -> Result<(), Box<dyn Error>> {
    // ANCHOR: random_matrix
    let mut p = Builder::new();
    let (v, w) = (p.input("v", 0.0, 1.0)?, p.matrix("W", 0.5)?);
    let mut powers = vec![v]; // v, Mv, M²v, … for M = W + Wᵀ
    for k in 0..8 {
        let (a, b) = (p.matmul(w, powers[k])?, p.matmul_transposed(w, powers[k])?);
        powers.push(p.combine(&[(1.0, a), (1.0, b)])?);
    }
    let limit = LinearLimit::new(p.finish())?;
    for k in [2, 4, 6, 8] {
        println!("(1/n) tr M^{k} → {}", limit.exact(v, powers[k])?); // 1, 2, 5, 14
    }
    // ANCHOR_END: random_matrix
    Ok(())
}
