//! A recurrent network written line by line as a tensor program, and its kernels in the limit of infinite width.

#![allow(clippy::print_stdout)] // An example prints.

use ntk_analytic::program::KernelLimit;
use ntk_core::ndarray::array;
use ntk_core::program::{Builder, Expr};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut p = Builder::new();
    let gram = array![[1.0, 0.3], [0.3, 1.0]]; // ξᵀξ̄/d of two tokens
    let u = p.inputs(&["u0", "u1"], &[0.0, 0.0], gram.clone(), Some(gram))?;
    let w = p.matrix("W", 1.5)?;
    let v = p.inputs(&["v"], &[0.0], array![[1.0]], Some(array![[1.0]]))?[0];
    let s1 = p.apply(Expr::arg(0).erf(), &[u[0]])?;
    let back = p.matmul(w, s1)?;
    let g2 = p.combine(&[(1.0, back), (1.0, u[1])])?;
    let s2 = p.apply(Expr::arg(0).erf(), &[g2])?;
    p.output("f", v, s2)?;
    let program = p.finish();
    println!("{program}\n");
    let [nngp, ntk] = KernelLimit::new(program)?.kernels()?;
    println!("NNGP {:.6}, NTK {:.6}", nngp[[0, 0]], ntk[[0, 0]]);
    assert!(ntk[[0, 0]] > nngp[[0, 0]]);
    Ok(())
}
