//! `Batch`: inputs that carry their convention, samples first and channels last, so that no call needs an axis.

use ndarray::{ArrayBase, ArrayView2, Data, Ix2, s};

use crate::Error;

/// A view of input samples, shape (n, d): axis 0 is the sample, the last axis the channel.
///
/// ```
/// use ndarray::array;
/// use ntk_core::Batch;
/// let x = array![[1.0, 0.5], [-0.3, 0.8]];
/// assert_eq!(Batch::from(&x).len(), 2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batch<'a> {
    values: ArrayView2<'a, f64>,
}

impl<'a> Batch<'a> {
    /// Number of samples n.
    pub fn len(&self) -> usize {
        self.values.nrows()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of features d of a sample.
    pub fn features(&self) -> usize {
        self.values.ncols()
    }

    /// The values, shape (n, d).
    pub fn values(&self) -> ArrayView2<'a, f64> {
        self.values
    }

    /// Samples `start..end`.
    ///
    /// # Panics
    /// If the range does not lie within the batch.
    pub fn range(&self, start: usize, end: usize) -> Batch<'a> {
        Batch { values: self.values.slice_move(s![start..end, ..]) }
    }

    /// Checks that there is something and that all of it is finite.
    ///
    /// # Errors
    /// [`Error::EmptyBatch`], [`Error::NonFiniteInput`].
    pub fn check(&self) -> Result<(), Error> {
        let (samples, features) = self.values.dim();
        if samples == 0 || features == 0 {
            return Err(Error::EmptyBatch { samples, features });
        }
        match self.values.indexed_iter().find(|(_, v)| !v.is_finite()) {
            Some(((sample, feature), &value)) => Err(Error::NonFiniteInput { sample, feature, value }),
            None => Ok(()),
        }
    }

    /// Checks both batches and that they have the same features.
    ///
    /// # Errors
    /// Those of [`Batch::check`], and [`Error::Features`].
    pub fn check_pair(x1: Batch<'_>, x2: Batch<'_>) -> Result<(), Error> {
        x1.check()?;
        x2.check()?;
        if x1.features() == x2.features() {
            Ok(())
        } else {
            Err(Error::Features { left: x1.features(), right: x2.features() })
        }
    }
}

impl<'a> From<ArrayView2<'a, f64>> for Batch<'a> {
    fn from(values: ArrayView2<'a, f64>) -> Self {
        Batch { values }
    }
}

impl<'a, S: Data<Elem = f64>> From<&'a ArrayBase<S, Ix2>> for Batch<'a> {
    fn from(values: &'a ArrayBase<S, Ix2>) -> Self {
        Batch { values: values.view() }
    }
}
