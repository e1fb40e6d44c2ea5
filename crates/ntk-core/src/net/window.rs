//! `Window`: which positions a convolution or a pooling reads for each position it writes; the finite and the infinite
//! network both ask here, so that they cannot disagree.

use crate::{AxisMap, Error, Grid};

/// What stands beyond the edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Padding {
    /// Zeros, so that ⌈side/stride⌉ positions come out; an odd one is added at the end.
    #[default]
    Same,
    /// Nothing: only windows that lie inside.
    Valid,
    /// The opposite edge, with as many positions as [`Padding::Same`].
    Circular,
}

/// A sliding window over positions.
///
/// ```
/// use ntk_core::{Padding, Window};
/// let window = Window::same(&[3, 3]).strides(&[2, 1]);
/// assert_eq!((window.padding, window.taps()), (Padding::Same, 9));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Positions of the window along each axis.
    pub shape: Vec<usize>,
    /// Step from one output to the next along each axis; for a transposed convolution, from one input to the next.
    pub strides: Vec<usize>,
    /// Step from one position of the window to the next along each axis.
    pub dilation: Vec<usize>,
    /// What stands beyond the edges.
    pub padding: Padding,
}

impl Window {
    /// The largest number in a window: beyond it positions could not be counted.
    pub const MAX: usize = 1 << 16;

    fn new(shape: &[usize], padding: Padding) -> Self {
        let ones = vec![1; shape.len()];
        Window { shape: shape.to_vec(), strides: ones.clone(), dilation: ones, padding }
    }

    /// A window of stride 1 that keeps the grid, zeros beyond the edges.
    pub fn same(shape: &[usize]) -> Self {
        Window::new(shape, Padding::Same)
    }

    /// A window of stride 1 that stays inside.
    pub fn valid(shape: &[usize]) -> Self {
        Window::new(shape, Padding::Valid)
    }

    /// A window of stride 1 on a torus.
    pub fn circular(shape: &[usize]) -> Self {
        Window::new(shape, Padding::Circular)
    }

    /// Windows side by side: stride = shape, inside.
    pub fn blocks(shape: &[usize]) -> Self {
        Window::valid(shape).strides(shape)
    }

    /// The same window with these strides.
    pub fn strides(self, strides: &[usize]) -> Self {
        Window { strides: strides.to_vec(), ..self }
    }

    /// The same window with this dilation.
    pub fn dilation(self, dilation: &[usize]) -> Self {
        Window { dilation: dilation.to_vec(), ..self }
    }

    /// Number of positions in the window.
    pub fn taps(&self) -> usize {
        self.shape.iter().fold(1, |taps, &side| taps.saturating_mul(side))
    }

    pub(crate) fn check(&self, layer: &'static str) -> Result<(), Error> {
        let parts = [("shape", &self.shape), ("strides", &self.strides), ("dilation", &self.dilation)];
        for (part, values) in parts {
            if values.iter().any(|v| !(1..=Window::MAX).contains(v)) || (part == "shape" && values.is_empty())
            {
                return Err(Error::WindowPart { layer, part, values: values.clone() });
            }
            if values.len() != self.shape.len() {
                return Err(Error::WindowRank {
                    layer,
                    part,
                    shape: self.shape.clone(),
                    values: values.clone(),
                });
            }
        }
        Ok(())
    }

    /// The positions that the outputs read along one axis of `side` positions; `transposed` exchanges the roles of
    /// input and output strides, as a transposed convolution does.
    ///
    /// # Errors
    /// [`Error::WindowPart`], [`Error::WindowRank`] for a window that is none; [`Error::WindowAxis`] if it has no such
    /// axis; [`Error::WindowSize`] if nothing comes out; [`Error::Grid`] for a side of 0 or beyond
    /// [`Grid::MAX_POSITIONS`].
    pub fn axis(
        &self,
        layer: &'static str,
        axis: usize,
        side: usize,
        transposed: bool,
    ) -> Result<AxisTaps, Error> {
        self.check(layer)?;
        Grid::new(&[side])?;
        let (Some(&k), Some(&stride), Some(&dilation)) =
            (self.shape.get(axis), self.strides.get(axis), self.dilation.get(axis))
        else {
            return Err(Error::WindowAxis { layer, axis, rank: self.shape.len() });
        };
        let reach = dilation * (k - 1) + 1;
        // Positions after spreading the input (transposed), positions out, and padding before the first.
        let (spread, outputs, before) = if transposed {
            let spread = (side - 1) * stride + 1;
            let total = match self.padding {
                Padding::Same | Padding::Circular => reach + stride - 2,
                Padding::Valid => reach + stride - 2 + reach.saturating_sub(stride),
            };
            let before = match self.padding {
                Padding::Valid => reach - 1,
                _ if stride > reach - 1 => reach - 1,
                _ => total.div_ceil(2),
            };
            (spread, spread + total + 1 - reach, before)
        } else {
            match self.padding {
                Padding::Valid => (side, (side + 1).saturating_sub(reach).div_ceil(stride), 0),
                Padding::Same | Padding::Circular => {
                    let outputs = side.div_ceil(stride);
                    (side, outputs, ((outputs - 1) * stride + reach).saturating_sub(side) / 2)
                }
            }
        };
        if outputs == 0 {
            return Err(Error::WindowSize { layer, axis, window: reach, side });
        }
        let step = if transposed { 1 } else { stride };
        let torus = if transposed { side * stride } else { side } as isize;
        let source = |tap: usize, output: usize| -> Option<usize> {
            let at = (output * step + tap * dilation) as isize - before as isize;
            let at = if self.padding == Padding::Circular { at.rem_euclid(torus) } else { at };
            if transposed {
                let inside = at >= 0 && at < spread as isize && (at as usize).is_multiple_of(stride);
                inside.then(|| at as usize / stride)
            } else {
                (at >= 0 && at < side as isize).then_some(at as usize)
            }
        };
        let sources = (0..k).map(|tap| (0..outputs).map(|output| source(tap, output)).collect()).collect();
        let center = |output: usize| {
            if transposed {
                // The last position under the window, whose padding may reach beyond the last of all.
                ((output + reach - 1 - before) / stride).min(side - 1)
            } else {
                output * stride + (reach - 1) / 2 - before
            }
        };
        let centers = (0..outputs).map(center).collect();
        Ok(AxisTaps { inputs: side, outputs, sources, centers })
    }

    /// [`Window::axis`] for every axis of a grid.
    ///
    /// # Errors
    /// Those of [`Window::axis`], and [`Error::Rank`] unless the window has as many axes as the grid.
    pub fn axes(&self, layer: &'static str, grid: &Grid, transposed: bool) -> Result<Vec<AxisTaps>, Error> {
        self.check(layer)?;
        if self.shape.len() != grid.rank() {
            return Err(Error::Rank { layer, expected: self.shape.len(), found: grid.rank() });
        }
        let sides = grid.sides().iter().enumerate();
        sides.map(|(axis, &side)| self.axis(layer, axis, side, transposed)).collect()
    }
}

/// A window along one axis, written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AxisTaps {
    /// Positions that come in.
    pub inputs: usize,
    /// Positions that go out.
    pub outputs: usize,
    /// `sources[tap][output]`: the position that is read, none where padding stands.
    pub sources: Vec<Vec<Option<usize>>>,
    /// The position that decides for each output whether it exists in a shorter sample: that under the center of the
    /// window, or under its end for a transposed convolution, whose outputs would otherwise read what does not exist.
    pub centers: Vec<usize>,
}

impl AxisTaps {
    /// The position of a grid that each tap of a window reads for each output, none where padding stands:
    /// `[tap][output]`, last axis fastest in both.
    pub fn product(axes: &[AxisTaps]) -> Vec<Vec<Option<usize>>> {
        let mut all: Vec<Vec<Option<usize>>> = vec![vec![Some(0)]];
        for axis in axes {
            let extend = |first: &Vec<Option<usize>>, tap: &Vec<Option<usize>>| -> Vec<Option<usize>> {
                first
                    .iter()
                    .flat_map(|p| tap.iter().map(move |r| Some((*p)? * axis.inputs + (*r)?)))
                    .collect()
            };
            all =
                all.iter().flat_map(|first| axis.sources.iter().map(move |tap| extend(first, tap))).collect();
        }
        all
    }

    /// How many outputs are valid if the first `length` positions are.
    pub fn valid(&self, length: usize) -> usize {
        self.centers.iter().filter(|&&center| center < length).count()
    }

    /// Each output as the sum of what it reads, times a weight that may depend on how many positions that is.
    pub(crate) fn pooled(&self, weight: impl Fn(usize) -> f64) -> AxisMap {
        let rows = (0..self.outputs).map(|output| {
            let mut read: Vec<usize> = self.sources.iter().filter_map(|tap| tap[output]).collect();
            read.sort_unstable();
            let weight = weight(read.len());
            // On a torus smaller than the window a position is read more than once.
            read.chunk_by(|a, b| a == b).map(|same| (same[0], weight * same.len() as f64)).collect()
        });
        AxisMap { inputs: self.inputs, rows: rows.collect() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // Tests may.
mod tests {
    use super::*;

    fn read(window: &Window, side: usize, transposed: bool) -> Vec<Vec<usize>> {
        let taps = window.axis("conv", 0, side, transposed).unwrap();
        (0..taps.outputs).map(|s| taps.sources.iter().filter_map(|tap| tap[s]).collect()).collect()
    }

    #[test]
    fn windows_read_what_they_cover() {
        assert_eq!(read(&Window::same(&[3]), 3, false), [vec![0, 1], vec![0, 1, 2], vec![1, 2]]);
        assert_eq!(read(&Window::same(&[2]), 3, false), [vec![0, 1], vec![1, 2], vec![2]]);
        assert_eq!(read(&Window::valid(&[2]).strides(&[2]), 5, false), [vec![0, 1], vec![2, 3]]);
        assert_eq!(read(&Window::circular(&[3]), 3, false), [vec![2, 0, 1], vec![0, 1, 2], vec![1, 2, 0]]);
        assert_eq!(read(&Window::valid(&[2]).dilation(&[2]), 4, false), [vec![0, 2], vec![1, 3]]);
        assert_eq!(read(&Window::same(&[3]).strides(&[2]), 4, false), [vec![0, 1, 2], vec![2, 3]]);
    }

    #[test]
    fn transposed_windows_spread_the_input() {
        // Two inputs, stride 2, window 3: 0 _ 1 padded by 2 before and 1 after.
        assert_eq!(read(&Window::same(&[3]).strides(&[2]), 2, true), [vec![0], vec![0], vec![0, 1], vec![1]]);
        assert_eq!(read(&Window::valid(&[3]).strides(&[2]), 2, true).len(), 5);
        let circular = read(&Window::circular(&[3]).strides(&[2]), 2, true);
        assert_eq!(circular.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 2, 1]);
    }

    #[test]
    fn empty_windows_are_refused() {
        let refused = |window: Window| window.axes("conv", &Grid::new(&[4]).unwrap(), false).is_err();
        assert!(refused(Window::same(&[])) && refused(Window::same(&[0])) && refused(Window::valid(&[5])));
        assert!(refused(Window::same(&[3]).strides(&[0])) && refused(Window::same(&[3]).strides(&[1, 1])));
        assert!(refused(Window::same(&[3, 3])) && !refused(Window::valid(&[4])));
    }
}
