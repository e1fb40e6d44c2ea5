//! Attention among the other layers: from the states of a pair to dense matrices and back.

use std::sync::atomic::{AtomicU64, Ordering};

use ndarray::Array2;
use ntk_core::Attention;
#[cfg(feature = "rayon")]
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::attention::{Limit, Output, Sample};
use super::op::Op;
use super::pass::Samples;
use super::stage::{Of, Stage as Any, Table};
use super::state::State;
use crate::Error;

/// An attention layer with what it needs of each sample.
pub(crate) struct Stage {
    limit: Limit,
    samples: Vec<Sample>,
    /// Variances before, where states come as distances.
    before: Option<Table>,
    /// Variances after, where they leave as distances.
    after: Option<Table>,
    /// The largest error of an integral so far, as bits; non-negative numbers are ordered as their bits are.
    error: AtomicU64,
}

impl Stage {
    pub(crate) fn error(&self) -> f64 {
        f64::from_bits(self.error.load(Ordering::Relaxed))
    }

    /// Carries a pair of samples through.
    pub(crate) fn run(&self, state: &mut State, of: Of) {
        if let Some(before) = &self.before {
            state.become_covariances(before.two(of));
        }
        let matrix = |values: &[f64]| {
            Array2::from_shape_vec((state.positions, state.positions), values.to_vec()).unwrap_or_default()
        };
        let (kernel, ntk) = (matrix(&state.values), (!state.ntk.is_empty()).then(|| matrix(&state.ntk)));
        let output = self.limit.pair([&self.samples[of.i], &self.samples[of.j]], &kernel, ntk.as_ref());
        match output {
            Ok(Output { kernel, ntk, error }) => {
                self.error.fetch_max(error.to_bits(), Ordering::Relaxed);
                state.values = kernel.into_raw_vec_and_offset().0;
                state.ntk = ntk.map_or_else(Vec::new, |ntk| ntk.into_raw_vec_and_offset().0);
            }
            // Rounding has made a covariance indefinite beyond repair: the caller sees a value that is no number.
            Err(_) => state.values.iter_mut().chain(&mut state.ntk).for_each(|value| *value = f64::NAN),
        }
        if let Some(after) = &self.after {
            state.become_distances(after.two(of), of.same);
        }
    }
}

/// Prepares the samples, which become those of the output.
///
/// # Errors
/// [`Error::Overflow`].
pub(crate) fn pass(
    op: &Op,
    attention: &Attention,
    shares: [f64; 2],
    samples: &mut Samples<'_>,
) -> Result<Any, Error> {
    let (positions, count) = (op.input.positions(), samples.variance.samples());
    let limit = Limit::new(&op.at, attention, &op.input, shares, samples.integral);
    let before = (!samples.covariances).then(|| samples.variance.clone());
    let own = |i: usize| -> Array2<f64> {
        let q = samples.variance.of(i);
        match samples.own.get(i) {
            _ if samples.covariances => Array2::zeros((positions, positions)),
            Some(own) => {
                let mut own = own.clone();
                own.dense(Of::own(i));
                own.become_covariances([q, q]);
                Array2::from_shape_vec((positions, positions), own.values).unwrap_or_default()
            }
            None => Array2::from_diag(&ndarray::ArrayView1::from(q)),
        }
    };
    let length = |i: usize| samples.lengths.as_ref().map_or(positions, |lengths| lengths[i]);
    let error = AtomicU64::new(0);
    let each = |i: usize| {
        let own = own(i);
        let sample = limit.sample(&own, length(i))?;
        // What the layer makes of the sample with itself, where variances are read later.
        let output = match op.need.own {
            Some(_) => {
                let output = limit.pair([&sample, &sample], &own, None)?;
                error.fetch_max(output.error.to_bits(), Ordering::Relaxed);
                Some(output.kernel)
            }
            None => None,
        };
        Ok((sample, output))
    };
    #[cfg(feature = "rayon")]
    let prepared: Result<Vec<_>, Error> = (0..count).into_par_iter().map(each).collect();
    #[cfg(not(feature = "rayon"))]
    let prepared: Result<Vec<_>, Error> = (0..count).map(each).collect();
    let (prepared, outputs): (Vec<Sample>, Vec<Option<Array2<f64>>>) = prepared?.into_iter().unzip();
    let outputs: Option<Vec<Array2<f64>>> = outputs.into_iter().collect();
    samples.mean = None;
    samples.covariances = outputs.is_none();
    let after = outputs.as_ref().map(|outputs| {
        let diagonals = outputs.iter().flat_map(|k| k.diag().to_vec());
        Table::new(positions, diagonals.map(|q| q.max(0.0)).collect())
    });
    if let (Some(after), Some(outputs)) = (&after, outputs) {
        for (i, (own, output)) in samples.own.iter_mut().zip(outputs).enumerate() {
            own.dense(Of::own(i));
            own.values = output.into_raw_vec_and_offset().0;
            own.covariances = true;
            own.become_distances([after.of(i), after.of(i)], true);
        }
        samples.variance = after.clone();
    }
    Ok(Any::Attention(Box::new(Stage { limit, samples: prepared, before, after, error })))
}

impl State {
    /// Distances from now on; those of a sample's position with itself are 0. q: variances.
    fn become_distances(&mut self, q: super::state::Two<'_>, same: bool) {
        self.each(|p, r, value, _| {
            let distance = 0.5 * (q[0][p] + q[1][r]) - *value;
            *value = if same && p == r { 0.0 } else { distance.max(0.0) };
        });
        self.covariances = false;
    }
}
