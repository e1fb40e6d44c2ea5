//! Which part of a transformer does its tangent kernel come from?
//!
//! A small transformer written in plain `candle_nn`, saved to safetensors and read back: its gradients are checked, its
//! kernel is computed with progress, compared with a finite difference, and split by variables.

#![allow(clippy::print_stdout)] // An example prints.

use std::ops::ControlFlow;

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::{Embedding, Linear, Module, VarBuilder, VarMap, embedding, linear};
use ndarray::Array2;
use ntk_core::{Batch, KernelFn, Which};
use ntk_empirical::{Autograd, Error, Model, VarModel, load_weights};

const TOKENS: usize = 11;
const LENGTH: usize = 8;
const WIDTH: usize = 16;
const HEADS: usize = 4;

/// Layer normalization of sums: `candle_nn::LayerNorm` has no gradient on contiguous inputs.
struct Norm(Tensor, Tensor);

impl Norm {
    fn new(vb: VarBuilder<'_>) -> Result<Self> {
        let init = |value| candle_nn::Init::Const(value);
        Ok(Norm(vb.get_with_hints(WIDTH, "weight", init(1.0))?, vb.get_with_hints(WIDTH, "bias", init(0.0))?))
    }
}

impl Module for Norm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let centered = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let deviation = (centered.sqr()?.mean_keepdim(D::Minus1)? + 1e-5)?.sqrt()?;
        centered.broadcast_div(&deviation)?.broadcast_mul(&self.0)?.broadcast_add(&self.1)
    }
}

struct Block {
    norms: [Norm; 2],
    query_key_value: Linear,
    output: Linear,
    up: Linear,
    down: Linear,
}

impl Block {
    fn new(vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Block {
            norms: [Norm::new(vb.pp("norm1"))?, Norm::new(vb.pp("norm2"))?],
            query_key_value: linear(WIDTH, 3 * WIDTH, vb.pp("attention.input"))?,
            output: linear(WIDTH, WIDTH, vb.pp("attention.output"))?,
            up: linear(WIDTH, 4 * WIDTH, vb.pp("mlp.up"))?,
            down: linear(4 * WIDTH, WIDTH, vb.pp("mlp.down"))?,
        })
    }

    fn attention(&self, x: &Tensor) -> Result<Tensor> {
        let (n, length, _) = x.dims3()?;
        let parts = self.query_key_value.forward(x)?.reshape((n, length, 3, HEADS, WIDTH / HEADS))?;
        let part = |i: usize| parts.narrow(2, i, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
        let (query, key, value) = (part(0)?, part(1)?, part(2)?);
        let logits = (query.matmul(&key.t()?)? / ((WIDTH / HEADS) as f64).sqrt())?;
        // Not softmax_last_dim, which has no gradient.
        let weights = candle_nn::ops::softmax(&logits, D::Minus1)?;
        self.output.forward(&weights.matmul(&value)?.transpose(1, 2)?.reshape((n, length, WIDTH))?)
    }
}

impl Module for Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = (x + self.attention(&self.norms[0].forward(x)?)?)?;
        &x + self.down.forward(&self.up.forward(&self.norms[1].forward(&x)?)?.silu()?)?
    }
}

struct Transformer {
    tokens: Embedding,
    positions: Embedding,
    blocks: Vec<Block>,
    readout: Linear,
}

impl Transformer {
    fn new(vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Transformer {
            tokens: embedding(TOKENS, WIDTH, vb.pp("tokens"))?,
            positions: embedding(LENGTH, WIDTH, vb.pp("positions"))?,
            blocks: (0..2).map(|i| Block::new(vb.pp(format!("block{i}")))).collect::<Result<_>>()?,
            readout: linear(WIDTH, 3, vb.pp("readout"))?,
        })
    }
}

impl Module for Transformer {
    /// Tokens (n, length) → (n, 3).
    fn forward(&self, tokens: &Tensor) -> Result<Tensor> {
        let places = Tensor::arange(0, LENGTH as u32, tokens.device())?;
        let mut x = self.tokens.forward(tokens)?.broadcast_add(&self.positions.forward(&places)?)?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        self.readout.forward(&x.mean(1)?)
    }
}

/// Any numbers will do here, if they are the same every time; a real model loads or trains them.
fn draw(map: &VarMap) -> Result<()> {
    let variables = map.data().lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for (name, var) in variables.iter() {
        let deviation = (2.0 * var.dim(0)? as f64 / var.elem_count() as f64).sqrt();
        let entry = |i: usize| (1.7 * i as f64 * (1.0 + name.len() as f64)).sin() * 2f64.sqrt() * deviation;
        if var.rank() > 1 {
            let values = Tensor::from_iter((0..var.elem_count()).map(entry), &Device::Cpu)?;
            var.set(&values.reshape(var.shape())?)?;
        } else if name.ends_with("bias") {
            var.set(&var.zeros_like()?)?;
        }
    }
    Ok(())
}

fn main() -> std::result::Result<(), Error> {
    let build = || -> Result<_> {
        let map = VarMap::new();
        let transformer = Transformer::new(VarBuilder::from_varmap(&map, DType::F64, &Device::Cpu))?;
        Ok((map, transformer))
    };
    let path = std::env::temp_dir().join(format!("ntk-transformer-{}.safetensors", std::process::id()));
    let (map, _) = build()?;
    draw(&map)?;
    map.save(&path)?;
    let (map, transformer) = build()?;
    load_weights(&map, &path)?;

    let tokens = Array2::from_shape_fn((12, LENGTH), |(i, p)| ((i * i + 3 * p * p + i * p) % TOKENS) as u32);
    let batch = Batch::tokens(tokens.view(), TOKENS)?;
    let model = Autograd::new(VarModel::new(&map, transformer))?.with_observer(|progress| {
        if progress.done % 4 == 0 {
            eprintln!("{} of {} samples", progress.done, progress.total);
        }
        ControlFlow::Continue(())
    });
    model.check_gradients(batch.range(0, 2), 1e-5)?;
    println!("{} parameters, every gradient agrees with a difference", model.parameter_count());

    let parts = model.ntk_parts(batch, batch)?;
    let trace = |k: &Array2<f64>| k.diag().sum();
    let total: f64 = parts.iter().map(|(_, k)| trace(k)).sum();
    for group in ["tokens", "positions", "block0", "block1", "readout"] {
        let share: f64 =
            parts.iter().filter(|(name, _)| name.starts_with(group)).map(|(_, k)| trace(k)).sum();
        println!("{group:>10}: {:5.1} % of the trace", 100.0 * share / total);
    }
    if let Some(ntk) = model.symmetric(batch, Which::Ntk)?.ntk {
        println!("{:>10}: {:5.1} %", "sum", 100.0 * total / trace(&ntk));
    }

    // A step along the gradient of output 0 of sample 0 changes that of sample j at the rate Θ_00(j, 0).
    let (theta, (gradient, _)) =
        (model.ntk_blocks(batch, batch.range(0, 1))?, model.jacobian(batch.range(0, 1))?);
    let step = 1e-6;
    let move_by = |step: f64| -> Result<()> {
        let mut column = 0;
        for (_, var) in model.model().named_vars() {
            let part = gradient.row(0).iter().skip(column).take(var.elem_count()).map(|g| g * step).collect();
            column += var.elem_count();
            var.set(
                &(var.as_detached_tensor() + Tensor::from_vec::<_, f64>(part, var.dims(), &Device::Cpu)?)?,
            )?;
        }
        Ok(())
    };
    move_by(step)?;
    let up: Array2<f64> = model.outputs(batch)?;
    move_by(-2.0 * step)?;
    let rates = (up - model.outputs(batch)?) / (2.0 * step);
    for j in 0..3 {
        println!("sample {j}: Θ = {:9.5}, difference {:9.5}", theta[[j, 0, 0, 0]], rates[[j, 0]]);
    }
    std::fs::remove_file(&path).map_err(candle_core::Error::wrap)?;
    Ok(())
}
