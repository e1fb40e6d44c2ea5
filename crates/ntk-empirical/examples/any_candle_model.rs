//! What is the tangent kernel of a model that was written in candle, not as a `Net`?
//!
//! Wraps a small gated network in `Model` and prints its kernel, by one backward pass for each sample.

#![allow(clippy::print_stdout)] // An example prints.

use ndarray::array;
use ntk_core::{KernelFn, Which};
use ntk_empirical::candle_core::{DType, Device, Result, Tensor, Var};
use ntk_empirical::{Autograd, Model};

/// f(x) = Σᵢ vᵢ tanh(aᵢ·x) · sin(bᵢ·x) / √n.
struct Gated {
    a: Var,
    b: Var,
    v: Var,
}

impl Gated {
    fn new(features: usize, n: usize) -> Result<Self> {
        // Any numbers will do here; a real model loads or trains them.
        let entries = |rows: usize, columns: usize, seed: f64| {
            let values = (0..rows * columns).map(|i| (seed + 1.7 * i as f64).sin() * 2f64.sqrt());
            Var::from_tensor(&Tensor::from_iter(values, &Device::Cpu)?.reshape((rows, columns))?)
        };
        Ok(Gated { a: entries(features, n, 0.1)?, b: entries(features, n, 0.2)?, v: entries(n, 1, 0.3)? })
    }
}

impl Model for Gated {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let units = (x.matmul(&self.a)?.tanh()? * x.matmul(&self.b)?.sin()?)?;
        units.matmul(&self.v)? / (self.v.dim(0)? as f64).sqrt()
    }

    fn named_vars(&self) -> Vec<(String, Var)> {
        vec![("a".into(), self.a.clone()), ("b".into(), self.b.clone()), ("v".into(), self.v.clone())]
    }
}

fn main() -> std::result::Result<(), ntk_empirical::Error> {
    let model = Gated::new(2, 256)?;
    assert_eq!(model.v.dtype(), DType::F64);
    let kernel = Autograd::new(model)?;
    let x = array![[1.0, 0.5], [-0.3, 0.8], [0.0, 0.0]];
    let blocks = kernel.symmetric((&x).into(), Which::Both)?;
    if let (Some(ntk), Some(gram)) = (blocks.ntk, blocks.nngp) {
        println!("tangent kernel\n{ntk:8.4}\nproducts of the outputs\n{gram:8.4}");
    }
    Ok(())
}
