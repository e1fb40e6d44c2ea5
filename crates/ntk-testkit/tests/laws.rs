//! Each law passes for an honest kernel and catches the one kernel that breaks it.

use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::{Array2, array};
use ntk_core::{Batch, Error, KernelBlock, KernelDiag, KernelFn, Which};
use ntk_testkit::laws::{self, Violation};
use ntk_testkit::strategies;
use proptest::prelude::*;

/// K = ⟨x, x′⟩ + 1, Θ = 2K.
#[derive(Debug)]
struct Linear;

fn affine(x1: Batch<'_>, x2: Batch<'_>) -> Array2<f64> {
    let entry = |(i, j)| x1.values().row(i).dot(&x2.values().row(j)) + 1.0;
    Array2::from_shape_fn((x1.len(), x2.len()), entry)
}

fn answer(k: Array2<f64>, which: Which) -> KernelBlock {
    KernelBlock { ntk: which.ntk().then(|| 2.0 * &k), nngp: which.nngp().then_some(k) }
}

impl KernelFn for Linear {
    type Error = Error;

    fn block(&self, x1: Batch<'_>, x2: Batch<'_>, which: Which) -> Result<KernelBlock, Error> {
        Batch::check_pair(x1, x2)?;
        Ok(answer(affine(x1, x2), which))
    }
}

/// How a kernel breaks a law.
#[derive(Clone, Copy, Debug)]
enum Defect {
    /// NaN in one place.
    Nan,
    /// A block of the wrong shape.
    Short,
    /// `symmetric` differs from its transpose in the last bit.
    LastBit,
    /// `block(a, b)` is not that of `block(b, a)`.
    Order,
    /// −K.
    Negative,
    /// The covariance exceeds the variances.
    Covariance,
    /// `diag` is that of another kernel.
    Diagonal,
    /// The NTK alone differs from the NTK of both.
    Alone,
    /// Gives both kernels whatever is asked.
    Both,
    /// Depends on the number of samples.
    Size,
    /// Depends on the place of a sample in the batch.
    Place,
    /// Differs from call to call.
    Impure,
    /// Answers anything.
    Credulous,
    /// Panics on NaN.
    Panics,
}

#[derive(Debug)]
struct Broken {
    defect: Defect,
    calls: AtomicUsize,
}

impl Broken {
    fn change(&self, k: &mut Array2<f64>, symmetric: bool) {
        let (n, m) = k.dim();
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        match self.defect {
            Defect::Nan => k[[0, m - 1]] = f64::NAN,
            Defect::Short => *k = Array2::zeros((n, m + 1)),
            Defect::LastBit if symmetric => k[[0, m - 1]] = k[[0, m - 1]].next_up(),
            Defect::Order if !symmetric => k[[0, m - 1]] += if n < m { 1e-6 } else { 0.0 },
            Defect::Negative => *k *= -1.0,
            Defect::Covariance if symmetric => {
                let factor = |i, j| if i == j { 1.0 } else { 10.0 };
                *k = Array2::from_shape_fn((n, m), |(i, j)| k[[i, j]] * factor(i, j));
            }
            Defect::Size => *k *= n as f64,
            Defect::Place => {
                *k = Array2::from_shape_fn((n, m), |(i, j)| k[[i, j]] * ((1 + i) * (1 + j)) as f64)
            }
            Defect::Impure => *k *= 1.0 + 1e-12 * calls as f64,
            _ => {}
        }
    }

    fn answer(
        &self,
        x1: Batch<'_>,
        x2: Batch<'_>,
        which: Which,
        symmetric: bool,
    ) -> Result<KernelBlock, Error> {
        match self.defect {
            Defect::Credulous if x1.features() != x2.features() || x1.check().is_err() => {
                return Ok(answer(Array2::zeros((x1.len(), x2.len())), which));
            }
            Defect::Panics => assert!(!x1.values().iter().any(|v| v.is_nan()), "NaN"),
            _ => {}
        }
        Batch::check_pair(x1, x2)?;
        let mut k = affine(x1, x2);
        self.change(&mut k, symmetric);
        Ok(match (self.defect, which) {
            (Defect::Alone, Which::Ntk) => answer(1.5 * &k, which),
            (Defect::Both, _) => answer(k, Which::Both),
            _ => answer(k, which),
        })
    }
}

impl KernelFn for Broken {
    type Error = Error;

    fn block(&self, x1: Batch<'_>, x2: Batch<'_>, which: Which) -> Result<KernelBlock, Error> {
        self.answer(x1, x2, which, false)
    }

    fn symmetric(&self, x: Batch<'_>, which: Which) -> Result<KernelBlock, Error> {
        self.answer(x, x, which, true)
    }

    fn diag(&self, x: Batch<'_>, which: Which) -> Result<KernelDiag, Error> {
        let k = self.answer(x, x, which, true)?;
        let factor = if matches!(self.defect, Defect::Diagonal) { 1.0 + 1e-9 } else { 1.0 };
        let diag = |k: Option<Array2<f64>>| k.map(|k| factor * &k.diag());
        Ok(KernelDiag { nngp: diag(k.nngp), ntk: diag(k.ntk) })
    }
}

fn broken(defect: Defect) -> Broken {
    Broken { defect, calls: AtomicUsize::new(0) }
}

fn samples() -> Array2<f64> {
    array![[1.0, 0.5], [-0.3, 0.8], [0.7, -2.0], [0.1, 0.2], [-1.0, -1.0]]
}

/// The message of the violation that a law finds.
fn found(result: Result<(), Violation>) -> String {
    result.expect_err("the law must not hold").to_string()
}

#[test]
fn each_law_catches_the_kernel_that_breaks_it() {
    let x = samples();
    let x = Batch::from(&x);
    let cases = [
        (Defect::Nan, found(laws::kernel_is_finite(&broken(Defect::Nan), x))),
        (Defect::Short, found(laws::kernel_is_finite(&broken(Defect::Short), x))),
        (Defect::LastBit, found(laws::kernel_is_symmetric(&broken(Defect::LastBit), x))),
        (Defect::Order, found(laws::kernel_is_symmetric(&broken(Defect::Order), x))),
        (Defect::Negative, found(laws::kernel_is_psd(&broken(Defect::Negative), x))),
        (Defect::Covariance, found(laws::cauchy_schwarz(&broken(Defect::Covariance), x))),
        (Defect::Diagonal, found(laws::diagonal_agrees(&broken(Defect::Diagonal), x))),
        (Defect::Alone, found(laws::which_changes_nothing(&broken(Defect::Alone), x))),
        (Defect::Both, found(laws::which_changes_nothing(&broken(Defect::Both), x))),
        (Defect::Size, found(laws::tiling_changes_nothing(&broken(Defect::Size), x, 2))),
        (
            Defect::Place,
            found(laws::permuting_samples_permutes_the_kernel(&broken(Defect::Place), x, &[1, 0, 2, 3, 4])),
        ),
        (Defect::Impure, found(laws::caching_changes_nothing(&broken(Defect::Impure), x))),
        (Defect::Credulous, found(laws::bad_input_is_refused(&broken(Defect::Credulous), x))),
        (Defect::Panics, found(laws::bad_input_is_refused(&broken(Defect::Panics), x))),
    ];
    let expected = [
        "kernel_is_finite: the NNGP has entry (0, 4) = NaN, which is not finite",
        "kernel_is_finite: the NNGP has shape [5, 6], not [5, 5]",
        "kernel_is_symmetric: the NNGP has entry (0, 4) = -4.9999999999999994e-1, not -5e-1 within 0.0e0",
        "kernel_is_symmetric: the NNGP has entry (2, 0) = 6.699999999999999e-1, not 6.70001e-1",
        "kernel_is_psd: the NNGP, scaled to a unit diagonal, has the eigenvalue -2.5466",
        "cauchy_schwarz: the NNGP has entry (0, 1)",
        "diagonal_agrees: the NNGP has entry (0, 0) = 2.25000000225e0, not 2.25e0 within 2.2e-10",
        "which_changes_nothing: the NTK has entry (0, 0) = 6.75e0, not 4.5e0",
        "which_changes_nothing: asked for Nngp, the kernel also gives the NTK",
        "tiling_changes_nothing: the NNGP has entry (0, 0) = 4.5e0, not 1.125e1",
        "permuting_samples_permutes_the_kernel: the NNGP has entry (0, 0) = 1.73e0, not 6.92e0",
        "caching_changes_nothing: the NNGP has entry (0, 0)",
        "bad_input_is_refused: block of batches of different features is answered, and should be an error",
        "bad_input_is_refused: block of a batch with NaN panics, and should be an error",
    ];
    for ((defect, message), expected) in cases.iter().zip(expected) {
        assert!(message.starts_with(expected), "{defect:?}: {message}");
        assert!(laws::check_kernel_fn(&broken(*defect), x).is_err(), "{defect:?} passes the suite");
    }
}

#[test]
fn a_kernel_in_single_precision_states_its_own_tolerance() {
    /// Linear, rounded to f32.
    #[derive(Debug)]
    struct Single;
    impl KernelFn for Single {
        type Error = Error;
        fn block(&self, x1: Batch<'_>, x2: Batch<'_>, which: Which) -> Result<KernelBlock, Error> {
            let round = |k: Array2<f64>| k.mapv(|v| f64::from(v as f32));
            let block = Linear.block(x1, x2, which)?;
            // Rounds differently with the number of samples, as a blocked matrix product does.
            let noise = 1.0 + f64::from(f32::EPSILON) * x1.len() as f64;
            Ok(KernelBlock {
                nngp: block.nngp.map(|k| round(k) * noise),
                ntk: block.ntk.map(|k| round(k) * noise),
            })
        }
    }
    let x = samples();
    assert!(laws::check_kernel_fn(&Single, (&x).into()).is_err());
    laws::check_kernel_fn_within(&Single, (&x).into(), 1e-5).unwrap();
}

#[test]
fn one_sample_is_enough_and_none_is_refused() {
    let x = samples();
    laws::check_kernel_fn(&Linear, Batch::from(&x).range(0, 1)).unwrap();
    let none = found(laws::check_kernel_fn(&Linear, Batch::from(&x).range(0, 0)));
    assert!(none.starts_with("kernel_is_finite: the kernel refuses valid inputs: a batch needs"), "{none}");
}

/// K = ⟨φ(x), φ(x′)⟩ + 1 with the positions of x that exist, their sums over the graph, and how often each token
/// occurs.
#[derive(Debug, Default)]
struct Positions {
    /// What it does not check.
    blind: Option<Blind>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Blind {
    Lengths,
    Graphs,
    Tokens,
    Positions,
}

fn features(x: Batch<'_>) -> Array2<f64> {
    let (channels, positions) = (x.features(), x.positions().positions());
    let row = |i: usize| -> Vec<f64> {
        let length = x.lengths().map_or(positions, |lengths| lengths[i]);
        if let Some(tokens) = x.token_ids() {
            let count =
                |token: usize| tokens.row(i).iter().take(length).filter(|&&t| t as usize == token).count();
            return (0..channels).map(|token| count(token) as f64).collect();
        }
        let values = x.values().row(i).to_vec();
        let mut all: Vec<f64> =
            values.iter().enumerate().map(|(at, v)| if at / channels < length { *v } else { 0.0 }).collect();
        let mut sums = vec![0.0; values.len()];
        for (from, to, weight) in x.graphs().map(|graphs| graphs.edges(i)).unwrap_or_default() {
            for c in 0..channels {
                // An edge that leads nowhere is for the check to find.
                if let (Some(sum), Some(value)) =
                    (sums.get_mut(to * channels + c), values.get(from * channels + c))
                {
                    *sum += weight * value;
                }
            }
        }
        all.extend(sums);
        all
    };
    let rows: Vec<Vec<f64>> = (0..x.len()).map(row).collect();
    Array2::from_shape_fn((x.len(), rows[0].len()), |(i, j)| rows[i][j])
}

impl KernelFn for Positions {
    type Error = Error;

    fn block(&self, x1: Batch<'_>, x2: Batch<'_>, which: Which) -> Result<KernelBlock, Error> {
        match (Batch::check_pair(x1, x2), self.blind) {
            (Err(Error::Length { .. }), Some(Blind::Lengths))
            | (Err(Error::Edge { .. }), Some(Blind::Graphs))
            | (Err(Error::Token { .. }), Some(Blind::Tokens))
            | (Err(Error::Batches { .. }), Some(Blind::Positions)) => {
                return Ok(answer(Array2::zeros((x1.len(), x2.len())), which));
            }
            (checked, _) => checked?,
        }
        Ok(answer(features(x1).dot(&features(x2).t()) + 1.0, which))
    }
}

#[test]
fn what_is_wrong_with_positions_is_found() {
    let (values, tokens) = (ndarray::Array3::ones((3, 4, 2)), ndarray::Array2::ones((3, 4)));
    let edges = vec![vec![(0, 1, 1.0)]; 3];
    let sequence = Batch::grid(values.view()).unwrap();
    let cases = [
        (Blind::Lengths, sequence.with_lengths(&[4, 2, 1]), "block of a batch with a length of 0"),
        (
            Blind::Graphs,
            sequence.with_graphs(ntk_core::Graphs::Sparse(&edges)),
            "block of a batch with an edge to no node",
        ),
        (Blind::Tokens, Batch::tokens(tokens.view(), 3).unwrap(), "block of a batch with unknown tokens"),
        (Blind::Positions, sequence, "block of batches of different positions"),
    ];
    for (blind, x, expected) in cases {
        let kernel = Positions { blind: Some(blind) };
        let message = found(laws::bad_input_is_refused(&kernel, x));
        assert_eq!(message, format!("bad_input_is_refused: {expected} is answered, and should be an error"));
        assert!(laws::check_kernel_fn(&kernel, x).is_err());
        laws::check_kernel_fn(&Positions::default(), x).unwrap();
    }
}

proptest! {
    #![proptest_config(ntk_testkit::cases(256))]

    #[test]
    fn an_honest_kernel_over_positions_obeys_all_laws(
        image in strategies::grid_inputs(5, &[3, 2], 2),
        sequence in strategies::sequence_inputs(4, 3, 2),
        graph in strategies::graph_inputs(4, 3, 2),
        tokens in strategies::token_inputs(4, 3, 3),
    ) {
        for batch in [image, sequence, graph, tokens] {
            laws::check_kernel_fn(&Positions::default(), batch.view())?;
        }
    }

    #[test]
    fn an_honest_kernel_obeys_all_laws(x in prop_oneof![strategies::inputs(), strategies::nasty_inputs()]) {
        laws::check_kernel_fn(&Linear, (&x).into())?;
    }
}
