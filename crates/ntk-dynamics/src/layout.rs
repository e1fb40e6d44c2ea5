//! How targets (N, k) meet a Gram matrix of N or of N·k rows, and the checks that go with it.

use ndarray::{Array2, ArrayView1, ArrayView2};

use crate::Error;

/// The number of samples and outputs, and whether the Gram matrix tells outputs apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Layout {
    pub(crate) samples: usize,
    pub(crate) outputs: usize,
    full: bool,
}

impl Layout {
    /// The layout for targets of this shape.
    pub(crate) fn new(gram: usize, (samples, outputs): (usize, usize)) -> Result<Self, Error> {
        if outputs == 0 || (gram != samples && gram != samples * outputs) {
            return Err(Error::Targets { gram, samples, outputs });
        }
        Ok(Layout { samples, outputs, full: gram != samples })
    }

    /// Rows of the kernel for so many samples.
    pub(crate) fn rows(self, samples: usize) -> usize {
        if self.full { samples * self.outputs } else { samples }
    }

    /// The nearest number of kernel rows that belongs to whole samples.
    pub(crate) fn whole(self, rows: usize) -> usize {
        if self.full { rows.div_ceil(self.outputs) * self.outputs } else { rows }
    }

    /// Outputs (m, k), checked, as the kernel sees them: (m, k) or (m·k, 1).
    pub(crate) fn flat(
        self,
        what: &'static str,
        values: ArrayView2<'_, f64>,
        samples: usize,
    ) -> Result<Array2<f64>, Error> {
        check(what, values, (samples, self.outputs))?;
        Ok(self.reshaped(values.as_standard_layout().into_owned(), samples))
    }

    /// A result, (m, k) or (m·k, 1), as outputs (m, k), which must be finite.
    pub(crate) fn outputs(self, values: Array2<f64>) -> Result<Array2<f64>, Error> {
        if !values.iter().all(|v| v.is_finite()) {
            return Err(Error::Overflow);
        }
        Ok(self.split(values))
    }

    /// A result, (m, k) or (m·k, 1), as outputs (m, k).
    pub(crate) fn split(self, values: Array2<f64>) -> Array2<f64> {
        let samples = if self.full { values.nrows() / self.outputs } else { values.nrows() };
        reshape(values, samples, self.outputs)
    }

    /// Kernel rows of one sample.
    pub(crate) fn rows_each(self) -> usize {
        self.rows(1)
    }

    fn reshaped(self, values: Array2<f64>, samples: usize) -> Array2<f64> {
        let columns = if self.full { 1 } else { self.outputs };
        reshape(values, self.rows(samples), columns)
    }
}

/// Same entries in row-major order, other shape.
fn reshape(values: Array2<f64>, rows: usize, columns: usize) -> Array2<f64> {
    let mut entries = values.into_iter();
    Array2::from_shape_simple_fn((rows, columns), || entries.next().unwrap_or(f64::NAN))
}

/// Refuses an array of another shape or with entries that are not finite.
pub(crate) fn check(
    what: &'static str,
    values: ArrayView2<'_, f64>,
    expected: (usize, usize),
) -> Result<(), Error> {
    if values.dim() != expected {
        return Err(Error::Shape { what, expected, found: values.dim() });
    }
    match values.indexed_iter().find(|(_, value)| !value.is_finite()) {
        Some(((row, column), &value)) => Err(Error::NonFinite { what, row, column, value }),
        None => Ok(()),
    }
}

/// The same for a vector, which counts as a matrix of one column.
pub(crate) fn check_vector(what: &'static str, values: ArrayView1<'_, f64>, len: usize) -> Result<(), Error> {
    check(what, values.insert_axis(ndarray::Axis(1)), (len, 1))
}
