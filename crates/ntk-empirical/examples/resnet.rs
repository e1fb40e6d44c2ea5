//! What does a residual network that was written in candle have for a tangent kernel, and what does fine-tuning a part
//! of it see?
//!
//! Convolutions, batch normalization in evaluation mode and skip connections in plain `candle_nn`, saved to safetensors
//! and read back: the kernel of all parameters, of the last layer alone, and a finite difference.

#![allow(clippy::print_stdout)] // An example prints.

use std::ops::ControlFlow;

use candle_core::{DType, Device, Module, ModuleT, Result, Tensor};
use candle_nn::{BatchNorm, Conv2d, Conv2dConfig, Linear, VarBuilder, VarMap, batch_norm, conv2d, linear};
use ndarray::{Array2, Array4};
use ntk_core::{Batch, KernelFn, Which};
use ntk_empirical::{Autograd, Error, Model, VarModel, channels_first, load_weights};

const SIDE: usize = 8;

struct Block {
    convolutions: [Conv2d; 2],
    norms: [BatchNorm; 2],
    shortcut: Option<Conv2d>,
}

impl Block {
    fn new(input: usize, output: usize, stride: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let config = |stride, padding| Conv2dConfig { stride, padding, ..Default::default() };
        Ok(Block {
            convolutions: [
                conv2d(input, output, 3, config(stride, 1), vb.pp("conv1"))?,
                conv2d(output, output, 3, config(1, 1), vb.pp("conv2"))?,
            ],
            norms: [batch_norm(output, 1e-5, vb.pp("norm1"))?, batch_norm(output, 1e-5, vb.pp("norm2"))?],
            shortcut: match stride {
                1 => None,
                _ => Some(conv2d(input, output, 1, config(stride, 0), vb.pp("shortcut"))?),
            },
        })
    }
}

impl ModuleT for Block {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let [norm1, norm2] = &self.norms;
        let y = norm1.forward_t(&self.convolutions[0].forward(x)?, train)?.silu()?;
        let y = norm2.forward_t(&self.convolutions[1].forward(&y)?, train)?;
        match &self.shortcut {
            Some(shortcut) => (y + shortcut.forward(x)?)?.silu(),
            None => (y + x)?.silu(),
        }
    }
}

struct ResNet {
    stem: Conv2d,
    blocks: Vec<Block>,
    readout: Linear,
}

impl ResNet {
    fn new(vb: VarBuilder<'_>) -> Result<Self> {
        let same = Conv2dConfig { padding: 1, ..Default::default() };
        Ok(ResNet {
            stem: conv2d(3, 8, 3, same, vb.pp("stem"))?,
            blocks: vec![Block::new(8, 8, 1, vb.pp("block0"))?, Block::new(8, 16, 2, vb.pp("block1"))?],
            readout: linear(16, 4, vb.pp("readout"))?,
        })
    }
}

impl ModuleT for ResNet {
    /// Images (n, 3, side, side) → (n, 4).
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let mut x = self.stem.forward(x)?;
        for block in &self.blocks {
            x = block.forward_t(&x, train)?;
        }
        self.readout.forward(&x.mean((2, 3))?)
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
        let resnet = ResNet::new(VarBuilder::from_varmap(&map, DType::F64, &Device::Cpu))?;
        Ok((map, resnet))
    };
    let path = std::env::temp_dir().join(format!("ntk-resnet-{}.safetensors", std::process::id()));
    let (map, _) = build()?;
    draw(&map)?;
    map.save(&path)?;
    let (map, resnet) = build()?;
    load_weights(&map, &path)?;

    let images = Array4::from_shape_fn((10, SIDE, SIDE, 3), |(i, y, x, c)| {
        ((1 + i % 2) as f64 * (x + c) as f64 + 0.7 * (i * y) as f64).sin()
    });
    let batch = Batch::grid(images.view())?;
    // A batch holds images with their channels last.
    let images = |x: &Tensor| channels_first(x, &[SIDE, SIDE]);
    let training = Autograd::new(VarModel::new(&map, |x: &Tensor| resnet.forward_t(&images(x)?, true)))?;
    if let Err(error) = training.symmetric(batch, Which::Ntk) {
        println!("in training mode: {error}");
    }
    // That evaluation in training mode has moved the running statistics.
    load_weights(&map, &path)?;

    let evaluation = || VarModel::new(&map, |x: &Tensor| resnet.forward_t(&images(x)?, false));
    let model = Autograd::new(evaluation())?.with_memory(64 << 20).with_observer(|progress| {
        if progress.done % 5 == 0 {
            eprintln!("{} of {} samples", progress.done, progress.total);
        }
        ControlFlow::Continue(())
    });
    model.check_gradients(batch.range(0, 2), 1e-5)?;
    println!("{} parameters, every gradient agrees with a difference", model.parameter_count());

    let last = Autograd::new(evaluation().select(|name| name.starts_with("readout.")))?;
    if let (Some(all), Some(last)) =
        (model.symmetric(batch, Which::Ntk)?.ntk, last.symmetric(batch, Which::Ntk)?.ntk)
    {
        let cosine = (&all * &last).sum() / ((&all * &all).sum() * (&last * &last).sum()).sqrt();
        println!("trace: all {:.3}, readout alone {:.3}", all.diag().sum(), last.diag().sum());
        println!("alignment of the two kernels: {cosine:.3}");
    }

    // A step along the gradient of output 0 of image 0 changes that of image j at the rate Θ_00(j, 0).
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
        println!("image {j}: Θ = {:10.6}, difference {:10.6}", theta[[j, 0, 0, 0]], rates[[j, 0]]);
    }
    std::fs::remove_file(&path).map_err(candle_core::Error::wrap)?;
    Ok(())
}
