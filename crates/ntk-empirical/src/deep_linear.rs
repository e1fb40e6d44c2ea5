//! Deep linear networks of finite width, in a parameterization that learns features or in one that does not.
//!
//! x ↦ βᵀx with β = γ Aᵀ M₁ᵀ ⋯ M_qᵀ B: A is (n₀, d), Mⱼ is (nⱼ, nⱼ₋₁), B is (n_q, k), and entries start independent with
//! mean 0 and variance σ²/n, n the width that the matrix reads from (n₀ for A). Training moves all matrices at the rate
//! η/γ². With γ = 1 these are the normalized coordinates of the maximal-update parameterization, whose infinitely wide
//! limit is `ntk_dynamics::deep_linear`; with γ = √n that of the NTK, in which features stand still as n grows.

mod train;

use ndarray::{Array2, ArrayView2, s};
use ntk_core::Variance;

use crate::Error;
use crate::draw::Stream;

/// How outputs and rates follow the width.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scaling {
    /// γ = 1: entries of the hidden layers move as much as they are large. (Maximal update, \[chizat2022infinite\].)
    #[default]
    MaximalUpdate,
    /// γ = √n, n = [`DeepLinearOptions::width`]: relative changes are of the order n^(−1/2).
    Ntk,
}

/// The law of the entries at the start, up to their variance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Entries {
    /// Normal.
    #[default]
    Gaussian,
    /// ± with equal probability: the limit is the same.
    Rademacher,
}

/// Shape, scaling and draw of a deep linear network.
#[derive(Clone, Debug, PartialEq)]
pub struct DeepLinearOptions {
    /// d.
    pub inputs: usize,
    /// k.
    pub outputs: usize,
    /// n; hidden layer j has round(cⱼ n) neurons.
    pub width: usize,
    /// cⱼ for the q + 1 hidden layers.
    pub ratios: Vec<f64>,
    /// σ² of A, of all Mⱼ, and of B.
    pub variances: [Variance; 3],
    /// γ.
    pub scaling: Scaling,
    /// The law of the entries.
    pub entries: Entries,
    /// The draw: same seed, same bits.
    pub seed: u64,
}

impl DeepLinearOptions {
    /// One input, one output, q = `middle` matrices between hidden layers of one width; variances 1, seed 0.
    pub fn new(middle: usize, width: usize) -> Self {
        DeepLinearOptions {
            inputs: 1,
            outputs: 1,
            width,
            ratios: vec![1.0; middle + 1],
            variances: [Variance::ONE; 3],
            scaling: Scaling::default(),
            entries: Entries::default(),
            seed: 0,
        }
    }

    /// Widths of the hidden layers.
    fn widths(&self) -> Result<Vec<usize>, Error> {
        for (option, value) in
            [("inputs", self.inputs), ("outputs", self.outputs), ("ratios", self.ratios.len())]
        {
            if value == 0 {
                return Err(Error::Setting { option, value: 0.0, domain: "at least one" });
            }
        }
        let width = |&ratio: &f64| {
            let width = (ratio * self.width as f64).round();
            // Widths that are exact as numbers; NaN is none of them.
            if (1.0..=2f64.powi(53)).contains(&width) {
                Ok(width as usize)
            } else {
                let domain = "such that each hidden layer has a neuron, and a number of them that is finite";
                Err(Error::Setting { option: "a ratio of widths", value: ratio, domain })
            }
        };
        self.ratios.iter().map(width).collect()
    }
}

/// One draw of a deep linear network, in f64, and its training under any loss of the predictor.
///
/// A step of descent reads the middle matrices twice and writes them once: 6 n² operations each and 8 n² bytes of memory,
/// on one thread.
///
/// ```
/// use ndarray::array;
/// use ntk_empirical::{DeepLinear, DeepLinearOptions};
/// let options = DeepLinearOptions { inputs: 2, seed: 3, ..DeepLinearOptions::new(1, 256) };
/// let mut network = DeepLinear::draw(&options)?;
/// let target = array![[1.2], [-0.7]];
/// network.descend(|beta| &target - &beta, 0.1, 100)?; // −∇F of F = ½ ‖β − b‖²
/// assert!((&network.predictor() - &target).iter().all(|x| x.abs() < 1e-9));
/// # Ok::<(), ntk_empirical::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DeepLinear {
    gain: f64,
    /// A, (n₀, d).
    input: Array2<f64>,
    middle: Vec<Array2<f64>>,
    /// Bᵀ, (k, n_q).
    output: Array2<f64>,
    /// z₀, …, z_q, each (k, nⱼ).
    backward: Vec<Array2<f64>>,
    predictor: Array2<f64>,
}

impl DeepLinear {
    /// Draws the weights.
    ///
    /// # Errors
    /// [`Error::Setting`] if something is empty or a ratio of widths is not a positive number; [`Error::ZeroWidth`].
    pub fn draw(options: &DeepLinearOptions) -> Result<Self, Error> {
        if options.width == 0 {
            return Err(Error::ZeroWidth);
        }
        let widths = options.widths()?;
        let matrix = |name: &str, rows: usize, columns: usize, variance: Variance, fan: usize| {
            let scale = (variance.get() / fan as f64).sqrt();
            let stream = Stream::new(options.seed, name);
            let mut numbers = match options.entries {
                Entries::Gaussian => stream.normals(rows * columns),
                Entries::Rademacher => stream.signs(rows * columns),
            }
            .into_iter();
            Array2::from_shape_simple_fn((rows, columns), || numbers.next().map_or(0.0, |x| scale * x))
        };
        let [first, last] = [widths[0], widths[widths.len() - 1]];
        let [input, middle, output] = options.variances;
        let middle = widths
            .windows(2)
            .enumerate()
            .map(|(j, n)| matrix(&format!("M{}", j + 1), n[1], n[0], middle, n[0]));
        let mut network = DeepLinear {
            gain: match options.scaling {
                Scaling::MaximalUpdate => 1.0,
                Scaling::Ntk => (options.width as f64).sqrt(),
            },
            middle: middle.collect(),
            input: matrix("A", first, options.inputs, input, first),
            output: matrix("B", options.outputs, last, output, last),
            backward: Vec::new(),
            predictor: Array2::zeros((options.inputs, options.outputs)),
        };
        network.refresh();
        Ok(network)
    }

    /// β, (d, k).
    pub fn predictor(&self) -> ArrayView2<'_, f64> {
        self.predictor.view()
    }

    /// A, (n₀, d): rows of U = √n₀ A are Gaussian in the limit.
    pub fn input(&self) -> ArrayView2<'_, f64> {
        self.input.view()
    }

    /// M₁, …, M_q, each (nⱼ, nⱼ₋₁).
    pub fn middle(&self) -> &[Array2<f64>] {
        &self.middle
    }

    /// B, (n_q, k).
    pub fn output(&self) -> ArrayView2<'_, f64> {
        self.output.t()
    }

    /// The tangent kernel K with β′ = K r between unit inputs, (d k, d k), input by input and output by output.
    ///
    /// K = Σⱼ (Hⱼ₋₁ᵀHⱼ₋₁) ⊗ (zⱼᵀzⱼ) with Hⱼ = Mⱼ ⋯ M₁ A and zⱼ = Mⱼ₊₁ᵀ ⋯ M_qᵀ B, j = 0, …, q + 1; the first and the last
    /// factor are identities. At the start, with equal widths and variances 1, about (q + 2) I.
    pub fn tangent_kernel(&self) -> Array2<f64> {
        let (d, k) = self.predictor.dim();
        let hidden = self.forward(self.input.t().to_owned());
        let mut kernel = Array2::zeros((d * k, d * k));
        for term in 0..=hidden.len() {
            let gram = |rows: &Array2<f64>| rows.dot(&rows.t());
            let left = if term == 0 { Array2::eye(d) } else { gram(&hidden[term - 1]) };
            let right = self.backward.get(term).map_or_else(|| Array2::eye(k), gram);
            for ((i, j), &value) in left.indexed_iter() {
                let mut block = kernel.slice_mut(s![i * k..(i + 1) * k, j * k..(j + 1) * k]);
                block.scaled_add(value, &right);
            }
        }
        kernel
    }

    /// The quantities that gradient flow conserves, one for each hidden layer, (nⱼ, nⱼ): AAᵀ − M₁ᵀM₁, MⱼMⱼᵀ − Mⱼ₊₁ᵀMⱼ₊₁,
    /// M_qM_qᵀ − BBᵀ (for q = 0: AAᵀ − BBᵀ). Costs O(n³).
    ///
    /// # Errors
    /// [`Error::Linalg`] does not occur for a network that was drawn.
    pub fn balance(&self) -> Result<Vec<Array2<f64>>, Error> {
        let product = |a: ArrayView2<'_, f64>| ntk_linalg::product(a, a.t());
        let balance = |layer: usize| {
            let before = if layer == 0 { self.input.view() } else { self.middle[layer - 1].view() };
            let after = self.middle.get(layer).unwrap_or(&self.output).t();
            Ok(product(before)? - product(after)?)
        };
        (0..=self.middle.len()).map(balance).collect()
    }
}
