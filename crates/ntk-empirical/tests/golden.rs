//! Finite networks with given weights against neural-tangents: outputs, full blocks and mean trace of the tangent
//! kernel.

use ntk_core::{KernelFn, Shape, Which};
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

/// The worst relative error of the three quantities.
fn worst(case: &Case, net: &ntk_core::Net) -> Result<f64, Box<dyn std::error::Error>> {
    let (x1, x2) = (case.x1.matrix().ok_or("x1 is no matrix")?, case.x2.matrix().ok_or("x2 is no matrix")?);
    let lowering = Lowering { width: 16, ..Lowering::for_inputs(Shape::vector(x1.ncols())) };
    let mut finite = FiniteNet::lower(net, &lowering)?;
    // The file lists W then b in the order of the layers; our names sort otherwise.
    let mut weights = case.weights_in_order.iter();
    let mut parameters = Parameters::new();
    for name in finite.parameter_names() {
        let values = weights.next().and_then(Array::matrix).ok_or("a weight is missing")?;
        parameters.insert_array(name, &values)?;
    }
    if weights.next().is_some() {
        return Err("there are more weights than parameters".into());
    }
    finite.set_parameters(&parameters)?;
    let error = |got: ndarray::ArrayD<f64>, expected: &Array| {
        golden::error(&got, &expected.0, golden::largest(&expected.0))
    };
    let ntk = finite.block((&x1).into(), (&x2).into(), Which::Ntk)?.ntk.ok_or("no kernel")?;
    Ok(error(finite.outputs((&x1).into())?.into_dyn(), &case.f_x1)
        .max(error(finite.ntk_blocks((&x1).into(), (&x2).into())?.into_dyn(), &case.ntk_full))
        .max(error(ntk.into_dyn(), &case.ntk_trace_mean)))
}

#[test]
fn finite_networks_agree_with_neural_tangents() {
    let file: File = golden::read("empirical.json").unwrap();
    let mut tally = Tally::default();
    for case in &file.cases {
        match golden::net(&case.network) {
            Err(unsupported) => tally.unsupported(&case.name, &unsupported),
            Ok(net) => match worst(case, &net) {
                Ok(error) => tally.case(&case.name, error, 1e-10),
                Err(error) => tally.fail(&case.name, &error),
            },
        }
    }
    tally.finish();
}
