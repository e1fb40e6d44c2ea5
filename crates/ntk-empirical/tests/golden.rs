//! Finite networks with given weights against neural-tangents: outputs, full blocks and mean trace of the tangent
//! kernel.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::ArrayD;
use ntk_core::{Batch, KernelFn, Shape, Which};
use ntk_empirical::candle_core::{Device, Tensor};
use ntk_empirical::{FiniteNet, Lowering, Parameters};
use ntk_testkit::golden::{self, Array, Tally};

#[derive(serde::Deserialize)]
struct File {
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    network: serde_json::Value,
    weights_in_order: Vec<Array>,
    x1: Array,
    x2: Array,
    f_x1: Array,
    ntk_full: Array,
    ntk_trace_mean: Array,
}

/// Weights of their own at every position, which the file lists as (positions …, channels × taps, outputs), in the order
/// (positions …, taps …, channels, outputs).
fn apart(values: &ArrayD<f64>, shape: &[usize]) -> ArrayD<f64> {
    let axes = values.ndim() - values.ndim().min(2);
    if axes == 0 || shape.len() != 2 * axes + 2 || values.len() != shape.iter().product::<usize>() {
        return values.clone();
    }
    let (positions, taps) = (&shape[..axes], &shape[axes..2 * axes]);
    let listed = [positions, &shape[2 * axes..2 * axes + 1], taps, &shape[2 * axes + 1..]].concat();
    let order: Vec<usize> = (0..axes).chain(axes + 1..2 * axes + 1).chain([axes, 2 * axes + 1]).collect();
    values.clone().into_shape_with_order(listed).unwrap().permuted_axes(order)
}

/// The worst relative error of the three quantities.
fn worst(case: &Case, net: &ntk_core::Net) -> Result<f64, Box<dyn std::error::Error>> {
    let (x1, x2) = (Batch::grid(case.x1.0.view())?, Batch::grid(case.x2.0.view())?);
    let mut finite = FiniteNet::lower(net, &Lowering { width: 16, ..Lowering::for_inputs(x1.shape()?) })?;
    // The file lists W then b in the order of the layers; our names sort otherwise. Its biases have axes of one.
    let mut weights = case.weights_in_order.iter();
    let (shapes, mut parameters) = (finite.parameters()?, Parameters::new());
    for name in finite.parameter_names() {
        let Array(values) = weights.next().ok_or("a weight is missing")?;
        let shape = shapes.get(&name).ok_or("a name is missing")?.dims();
        let values = &apart(values, shape);
        let of_bias = values.shape().first() == Some(&1) && values.shape().last() == shape.last();
        if values.shape() != shape && !(of_bias && values.len() == shape.iter().product::<usize>()) {
            return Err(format!("{name} has shape {shape:?}, not {:?}", values.shape()).into());
        }
        parameters.insert(name, Tensor::from_iter(values.iter().copied(), &Device::Cpu)?.reshape(shape)?);
    }
    if weights.next().is_some() {
        return Err("there are more weights than parameters".into());
    }
    finite.set_parameters(&parameters)?;
    let error = |got: ndarray::ArrayD<f64>, expected: &Array| {
        golden::error(&got, &expected.0, golden::largest(&expected.0))
    };
    let ntk = finite.block(x1, x2, Which::Ntk)?.ntk.ok_or("no kernel")?;
    Ok(error(finite.outputs(x1)?.into_dyn(), &case.f_x1)
        .max(error(finite.ntk_blocks(x1, x2)?.into_dyn(), &case.ntk_full))
        .max(error(ntk.into_dyn(), &case.ntk_trace_mean)))
}

fn shape(x: &Array) -> Shape {
    Batch::grid(x.0.view()).and_then(|batch| batch.shape()).unwrap()
}

#[test]
fn finite_networks_agree_with_neural_tangents() {
    let file: File = golden::read("empirical.json").unwrap();
    let mut tally = Tally::default();
    for case in &file.cases {
        match golden::net_for(&case.network, &shape(&case.x1)) {
            Err(unsupported) => tally.unsupported(&case.name, &unsupported),
            Ok(net) => match worst(case, &net) {
                Ok(error) => tally.case(&case.name, error, 1e-10),
                Err(error) => tally.fail(&case.name, &error),
            },
        }
    }
    tally.finish();
}
