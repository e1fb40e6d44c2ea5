//! What can be wrong with a model, found before work starts: its variables, its use of a batch, candle's gradients.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use candle_core::{DType, Result as CandleResult, Tensor, Var};
use ndarray::Array2;
use ntk_core::Batch;

use super::{Autograd, Model};
use crate::draw::Stream;
use crate::finite::finite;
use crate::parameters::check_finite;
use crate::{Error, tensor};

/// Refuses variables that do not fit each other or what is said of them.
pub(super) fn variables(vars: &[(String, Var)], rates: &[f64]) -> Result<(), Error> {
    let Some((first, example)) = vars.first().filter(|_| vars.len() == rates.len()) else {
        return Err(Error::ModelVariables { vars: vars.len(), rates: rates.len() });
    };
    if let Some(&value) = rates.iter().find(|r| !(r.is_finite() && **r >= 0.0)) {
        return Err(Error::Setting { option: "rate", value, domain: "a finite number of at least 0" });
    }
    if !matches!(example.dtype(), DType::F32 | DType::F64) {
        let device = if example.device().is_cpu() { "the CPU" } else { "this device" };
        return Err(Error::DType { dtype: example.dtype().as_str(), device });
    }
    let (mut names, mut ids) = (HashSet::new(), HashMap::new());
    for (name, var) in vars {
        let other = ids.insert(var.id(), name);
        if let Some(other) = other.or(names.get(name).copied()) {
            return Err(Error::RepeatedVariable { name: name.clone(), other: other.clone() });
        }
        names.insert(name);
        let kind = |var: &Var| format!("{} on {:?}", var.dtype().as_str(), var.device().location());
        if kind(var) != kind(example) {
            let (expected, found) = (kind(example), kind(var));
            return Err(Error::MixedVariables { first: first.clone(), expected, name: name.clone(), found });
        }
        check_finite(name, var)?;
    }
    Ok(())
}

impl<M: Model> Autograd<M> {
    /// Checks both batches and, once, the model on the first and the last sample; says how many outputs there are.
    pub(crate) fn probe(&self, x1: Batch<'_>, x2: Batch<'_>) -> Result<usize, Error> {
        Batch::check_pair(x1, x2)?;
        let (first, last) = (x1.range(0, 1), x2.range(x2.len() - 1, x2.len()));
        if self.probed.load(Ordering::Relaxed) {
            return Ok(self.forward(&self.tensor(first)?)?.dim(1)?);
        }
        let alone = self.tensor(last)?;
        let different = first.reborrow() != last.reborrow();
        let batch = if different { Tensor::cat(&[&self.tensor(first)?, &alone], 0)? } else { alone.clone() };
        let y = self.forward(&batch)?;
        let outputs = self.numbers(&y)?;
        let difference = self.difference(&outputs, &self.evaluate(&batch)?);
        if let Some(difference) = difference {
            return Err(Error::Randomness { difference });
        }
        if different {
            // The last sample beside itself before it is alone: statistics of a single sample may not exist.
            let row = outputs.row(1).insert_axis(ndarray::Axis(0)).to_owned();
            for other in [Tensor::cat(&[&alone, &alone], 0)?, alone] {
                let same = self.evaluate(&other)?.row(0).insert_axis(ndarray::Axis(0)).to_owned();
                if let Some(difference) = self.difference(&row, &same) {
                    return Err(Error::BatchDependence { difference });
                }
            }
        }
        self.refuse_cut_variables(&batch, &y, &outputs)?;
        self.probed.store(different, Ordering::Relaxed);
        Ok(outputs.ncols())
    }

    /// Moves the variables that have no path to the output, which an operation without a gradient may have cut.
    fn refuse_cut_variables(&self, x: &Tensor, y: &Tensor, outputs: &Array2<f64>) -> Result<(), Error> {
        let gradients = y.sum_all()?.backward()?;
        for (name, var) in self.vars.iter().filter(|(_, var)| gradients.get(var).is_none()) {
            let moved = var.as_detached_tensor().affine(1.1, 0.1)?;
            let outputs_moved = with_value(var, &moved, || tensor_array(&self.forward(x)?))?;
            if self.difference(outputs, &outputs_moved).is_some() {
                return Err(Error::CutVariable { name: name.clone() });
            }
        }
        Ok(())
    }

    /// Compares candle's gradient of a fixed random combination of the outputs with a central difference, variable by
    /// variable, along a direction with a random half: an error of more than `tolerance`, relative, is refused.
    ///
    /// In f64 a tolerance of 1e-5 suits smooth models; in f32, whose differences are coarse, 0.05. Two evaluations a
    /// variable; variables are moved and put back, so that nobody else may use the model meanwhile.
    ///
    /// # Errors
    /// [`Error::WrongGradient`], and as [`Autograd::jacobian`].
    pub fn check_gradients(&self, x: Batch<'_>, tolerance: f64) -> Result<(), Error> {
        if !(tolerance.is_finite() && tolerance > 0.0) {
            let domain = "a finite number above 0";
            return Err(Error::Setting { option: "tolerance", value: tolerance, domain });
        }
        self.probe(x, x)?;
        let x = self.tensor(x)?;
        let y = self.forward(&x)?;
        let weights = Stream::new(0, "outputs").normals(y.elem_count());
        let u = tensor::from_vec(weights.clone(), y.dims(), self.dtype(), self.device())?;
        let gradients = (&y * u)?.sum_all()?.backward()?;
        let size = self.numbers(&y)?.iter().zip(&weights).map(|(y, u)| (y * u).abs()).sum::<f64>();
        let combined = || -> Result<f64, Error> {
            let y = self.numbers(&self.forward(&x)?)?;
            Ok(y.iter().zip(&weights).map(|(y, u)| y * u).sum())
        };
        for (name, var) in &self.vars {
            let theta = flat(var)?;
            let gradient = match gradients.get(var) {
                Some(gradient) => flat(gradient)?,
                None => vec![0.0; theta.len()],
            };
            // Half along the gradient, where a wrong size shows best, and half anywhere, where a missing part does.
            let (random, scale) = (Stream::new(1, name).normals(theta.len()), norm(&theta));
            let (r, g) = (norm(&random), norm(&gradient));
            let step = self.epsilon().cbrt() * if scale > 0.0 { scale } else { 1.0 };
            let direction = random.iter().zip(&gradient);
            let direction: Vec<f64> =
                direction.map(|(a, b)| step * (a / r + if g > 0.0 { b / g } else { 0.0 })).collect();
            let at = |sign: f64| -> CandleResult<Tensor> {
                let moved = theta.iter().zip(&direction).map(|(t, d)| t + sign * d).collect();
                tensor::from_vec(moved, var.dims(), var.dtype(), var.device())
            };
            let (up, down) = (at(1.0)?, at(-1.0)?);
            // The difference of the variables as they were stored, which rounding may have changed.
            let moved = flat(&up)?.into_iter().zip(flat(&down)?).zip(&gradient);
            let backward: f64 = moved.map(|((up, down), g)| (up - down) * g).sum();
            let difference = with_value(var, &up, combined)? - with_value(var, &down, combined)?;
            let noise = 256.0 * self.epsilon() * size;
            let allowed = tolerance * backward.abs().max(difference.abs()) + noise;
            if (backward - difference).abs() > allowed {
                return Err(Error::WrongGradient { name: name.clone(), backward, difference });
            }
        }
        Ok(())
    }

    fn evaluate(&self, x: &Tensor) -> Result<Array2<f64>, Error> {
        self.numbers(&self.forward(x)?)
    }

    fn numbers(&self, y: &Tensor) -> Result<Array2<f64>, Error> {
        finite(tensor_array(y)?, "an output")
    }

    fn epsilon(&self) -> f64 {
        if self.dtype() == DType::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) }
    }

    /// The largest difference of two evaluations, if rounding does not explain it.
    fn difference(&self, a: &Array2<f64>, b: &Array2<f64>) -> Option<f64> {
        let largest = |a: &mut dyn Iterator<Item = f64>| {
            a.fold(0.0, |m: f64, v| if m.is_nan() || v <= m { m } else { v })
        };
        let difference = largest(&mut a.iter().zip(b).map(|(a, b)| (a - b).abs()));
        let scale = largest(&mut a.iter().map(|a| a.abs()));
        (difference.is_nan() || difference > self.epsilon().sqrt() * scale).then_some(difference)
    }
}

fn tensor_array(y: &Tensor) -> Result<Array2<f64>, Error> {
    Ok(tensor::array(y)?)
}

/// Runs with another value of a variable, which gets its own back whatever happens.
fn with_value<T>(var: &Var, value: &Tensor, run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let own = var.as_detached_tensor().copy()?;
    var.set(value)?;
    let result = run();
    var.set(&own)?;
    result
}

fn flat(t: &Tensor) -> CandleResult<Vec<f64>> {
    tensor::to_f64(t)?.flatten_all()?.to_vec1()
}

fn norm(v: &[f64]) -> f64 {
    v.iter().map(|v| v * v).sum::<f64>().sqrt()
}
