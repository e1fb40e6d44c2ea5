//! The law of the weights of a wide network at one time of its training, and draws from it.

use ndarray::{Array2, ArrayView2, s};
use ntk_linalg::normals;

use super::vector::columns;
use super::weights::Weights;
use crate::Error;

/// The law of U = √n A, V = √n B and Wⱼ = n (Mⱼ − Mⱼ(0)) in the limit (n² → nⱼnⱼ₋₁ with unequal widths).
///
/// A neuron i of layer j carries independent standard normal features g(i), the coordinates of a space. Its row of U is
/// Aᵀg(i), of V Bᵀg(i): Gaussian. An entry of Wⱼ is g(i)ᵀ Gⱼ g′(i′), of two neurons: bilinear, and far from Gaussian,
/// with a kurtosis up to 9. The start Z of a matrix is asymptotically independent of all of them.
///
/// Laws at several times of one [`Limit`](super::Limit) share their features: together they are a law of paths.
///
/// Source: \[chizat2022infinite\] Theorem 2.1.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightLaw {
    input: Array2<f64>,
    updates: Vec<Array2<f64>>,
    output: Array2<f64>,
}

impl WeightLaw {
    pub(super) fn new(weights: &Weights) -> Self {
        WeightLaw {
            input: columns(&weights.input),
            updates: weights.updates.iter().map(super::vector::Matrix::dense).collect(),
            output: columns(&weights.output),
        }
    }

    /// The factor A, (coordinates of layer 0, d).
    pub fn input(&self) -> ArrayView2<'_, f64> {
        self.input.view()
    }

    /// The factor B, (coordinates of layer q, k).
    pub fn output(&self) -> ArrayView2<'_, f64> {
        self.output.view()
    }

    /// The factors G₁, …, G_q, (coordinates of layer j, coordinates of layer j − 1).
    pub fn updates(&self) -> &[Array2<f64>] {
        &self.updates
    }

    /// The covariance of a row of U at this time with the same row at another, AᵀA′, (d, d).
    ///
    /// # Errors
    /// [`Error::Shape`] for the law of a network of another shape.
    pub fn input_covariance(&self, other: &WeightLaw) -> Result<Array2<f64>, Error> {
        covariance("the other law's A", &self.input, &other.input)
    }

    /// The same of V, BᵀB′, (k, k).
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn output_covariance(&self, other: &WeightLaw) -> Result<Array2<f64>, Error> {
        covariance("the other law's B", &self.output, &other.output)
    }

    /// The variance of an entry of each W, ‖Gⱼ‖², j = 1, …, q.
    pub fn update_variances(&self) -> Vec<f64> {
        self.updates.iter().map(square).collect()
    }

    /// The kurtosis E w⁴/(E w²)² of an entry of each W, 3 + 6 Σs⁴/(Σs²)² with the singular values s of Gⱼ; 9 for rank
    /// one. None where W = 0.
    pub fn update_kurtoses(&self) -> Vec<Option<f64>> {
        let kurtosis = |g: &Array2<f64>| {
            let variance = square(g);
            (variance > 0.0).then(|| 3.0 + 6.0 * square(&g.t().dot(g)) / (variance * variance))
        };
        self.updates.iter().map(kurtosis).collect()
    }

    /// Rows of U of `neurons` neurons of layer 0, (neurons, d).
    pub fn sample_input(&self, neurons: usize, seed: u64) -> Array2<f64> {
        features(seed, 0, neurons, self.input.nrows()).dot(&self.input)
    }

    /// Rows of V of `neurons` neurons of layer q, (neurons, k).
    pub fn sample_output(&self, neurons: usize, seed: u64) -> Array2<f64> {
        features(seed, self.updates.len(), neurons, self.output.nrows()).dot(&self.output)
    }

    /// W_`layer`, `layer` = 1, …, q, between `rows` neurons of that layer and `columns` of the one before.
    ///
    /// The neurons are those that the other samplers, and laws at other times, draw from the same seed if as many are
    /// asked for, so that rows of U and V and entries of W are joint.
    ///
    /// # Errors
    /// [`Error::Setting`] for a layer without W.
    pub fn sample_update(
        &self,
        layer: usize,
        rows: usize,
        columns: usize,
        seed: u64,
    ) -> Result<Array2<f64>, Error> {
        let Some(g) = layer.checked_sub(1).and_then(|at| self.updates.get(at)) else {
            let domain = "1 up to the number of middle matrices";
            return Err(Error::Setting { option: "layer", value: layer as f64, domain });
        };
        let left = features(seed, layer, rows, g.nrows());
        let right = features(seed, layer - 1, columns, g.ncols());
        Ok(left.dot(g).dot(&right.t()))
    }
}

/// Features of so many neurons of a layer, (count, coordinates); more coordinates, as of a later time, leave the others
/// as they are.
fn features(seed: u64, layer: usize, count: usize, coordinates: usize) -> Array2<f64> {
    // Seeds of layers are as far apart as steps of SplitMix64, which no two small seeds are.
    let seed = seed.wrapping_add((layer as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    normals(seed, (coordinates, count)).reversed_axes()
}

/// XᵀX′; coordinates that one of the two does not know are zero there.
fn covariance(what: &'static str, a: &Array2<f64>, b: &Array2<f64>) -> Result<Array2<f64>, Error> {
    if a.ncols() != b.ncols() {
        return Err(Error::Shape { what, expected: (b.nrows(), a.ncols()), found: b.dim() });
    }
    let rows = a.nrows().min(b.nrows());
    Ok(a.slice(s![..rows, ..]).t().dot(&b.slice(s![..rows, ..])))
}

fn square(a: &Array2<f64>) -> f64 {
    a.iter().map(|x| x * x).sum()
}
