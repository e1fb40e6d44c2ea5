//! Networks on devices that are compiled in, against the CPU; a device that does not open is named with the reason.
#![cfg(any(feature = "cuda", feature = "metal"))]
#![allow(clippy::unwrap_used, clippy::print_stdout)] // Helpers are not tests in clippy's eyes.

mod common;

use std::ops::ControlFlow;

use ndarray::Array2;
use ntk_core::{Activation, KernelFn, Net, Shape, Variance, Which};
use ntk_empirical::candle_core::{DType, Device};
use ntk_empirical::{FiniteNet, Lowering, Mode, TrainOptions, device};

fn agrees(name: &str, dtypes: &[(DType, f64)]) {
    let device = match device(name) {
        Ok(device) => device,
        Err(reason) => {
            println!("SKIPPED: {reason}");
            return;
        }
    };
    let x = Array2::from_shape_fn((6, 5), |(i, j)| (0.7 * (5 * i + j + 1) as f64).sin());
    let y = Array2::from_shape_fn((6, 2), |(i, j)| f64::from(u8::from((i + j) % 2 == 0)));
    // One composed on the device and one that passes through the CPU; matrices large enough for the threaded paths.
    for phi in [Activation::Tanh, Activation::Relu, Activation::Mish] {
        let hidden = || Net::dense(Variance::TWO, Variance::ONE).then(Net::activation(phi.clone()));
        let inner = Net::activation(phi.clone()).then(Net::dense(Variance::ONE, Variance::ZERO)).residual();
        let net = Net::serial([
            hidden(),
            inner,
            Net::layer_norm(),
            hidden(),
            Net::readout(2, Variance::ONE, Variance::ONE),
        ]);
        for &(dtype, tolerance) in dtypes {
            let run = |device: Device| {
                let lowering =
                    Lowering { width: 128, dtype, device, ..Lowering::for_inputs(Shape::vector(5)) };
                let mut net = FiniteNet::lower(&net, &lowering).unwrap();
                let kernels = net.symmetric((&x).into(), Which::Both).unwrap();
                let options = TrainOptions { momentum: 0.9, ..TrainOptions::descent(0.1, 10) };
                let end = net.train(&options, (&x).into(), y.view(), |_| ControlFlow::Continue(())).unwrap();
                [kernels.nngp.unwrap(), kernels.ntk.unwrap(), end.outputs]
            };
            for (there, here) in run(device.clone()).iter().zip(&run(Device::Cpu)) {
                let scale = here.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
                let worst = (there - here).iter().fold(0.0, |m: f64, v| m.max(v.abs()));
                assert!(worst <= tolerance * scale, "{name} {dtype:?} {phi:?}: {worst:e} of {scale:e}");
            }
        }
    }
}

/// Every layer over positions.
fn layers_agree(name: &str, dtype: DType, tolerance: f64) {
    let device = match device(name) {
        Ok(device) => device,
        Err(reason) => {
            println!("SKIPPED: {reason}");
            return;
        }
    };
    for case in common::cases() {
        let run = |device: Device| {
            let net = case.lowered_in(dtype, device, 3, Mode::Training);
            let kernels = net.symmetric(case.batch(), Which::Both).unwrap();
            let jv = net.jvp(case.batch(), &common::direction(&net, 1)).unwrap();
            [kernels.nngp.unwrap(), kernels.ntk.unwrap(), jv]
        };
        for (there, here) in run(device.clone()).iter().zip(&run(Device::Cpu)) {
            common::close(&case.name, there, here, tolerance);
        }
    }
}

#[cfg(feature = "cuda")]
#[test]
fn layers_on_cuda_agree_with_the_cpu() {
    layers_agree("cuda", DType::F64, 1e-10);
}

/// Metal has no f64.
#[cfg(feature = "metal")]
#[test]
fn layers_on_metal_agree_with_the_cpu() {
    layers_agree("metal", DType::F32, 1e-3);
}

#[cfg(feature = "cuda")]
#[test]
fn cuda_agrees_with_the_cpu() {
    agrees("cuda", &[(DType::F64, 1e-11), (DType::F32, 1e-4)]);
}

/// Metal has no f64.
#[cfg(feature = "metal")]
#[test]
fn metal_agrees_with_the_cpu() {
    agrees("metal", &[(DType::F32, 1e-4)]);
}
