//! Linear maps between the positions of a sample, the same for all channels: pooling, indexing, resizing, graphs.

use candle_core::{DType, Device, Result, Tensor, WithDType};
use ntk_core::AxisMap;

use crate::input::Edges;
use crate::tensor::{from_vec, with_slice};

/// y_s = Σ w x_p over the (p, w) of row s.
#[derive(Clone)]
struct Rows {
    inputs: usize,
    /// Where each row starts among the entries, and where the last one ends.
    starts: Vec<usize>,
    entries: Vec<(usize, f64)>,
}

/// A map and its transpose.
#[derive(Clone)]
pub(crate) struct PositionMap {
    forward: Rows,
    backward: Rows,
}

impl Rows {
    /// From (output, input, weight).
    fn new(outputs: usize, inputs: usize, all: impl Iterator<Item = (usize, usize, f64)>) -> Rows {
        let mut rows = vec![Vec::new(); outputs];
        all.for_each(|(output, input, weight)| rows[output].push((input, weight)));
        let mut starts = vec![0];
        starts.extend(rows.iter().scan(0, |end, row| {
            *end += row.len();
            Some(*end)
        }));
        Rows { inputs, starts, entries: rows.concat() }
    }

    fn outputs(&self) -> usize {
        self.starts.len() - 1
    }

    /// x: (m, inputs · c) → (m, outputs · c).
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        match (x.dtype(), x.device()) {
            (DType::F32, Device::Cpu) => self.apply_to::<f32>(x),
            (_, Device::Cpu) => self.apply_to::<f64>(x),
            _ => self.composed(x),
        }
    }

    fn apply_to<T: WithDType>(&self, x: &Tensor) -> Result<Tensor> {
        let (m, width) = x.dims2()?;
        let (c, outputs) = (width / self.inputs, self.outputs());
        let mut y = vec![T::zero(); m * outputs * c];
        with_slice::<T, _>(x, |x| {
            for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(outputs * c)) {
                for (y, ends) in y.chunks_exact_mut(c).zip(self.starts.windows(2)) {
                    for &(input, weight) in &self.entries[ends[0]..ends[1]] {
                        let weight = T::from_f64(weight);
                        y.iter_mut().zip(&x[input * c..]).for_each(|(y, &x)| *y += weight * x);
                    }
                }
            }
        })?;
        Tensor::from_vec(y, (m, outputs * c), &Device::Cpu)
    }

    /// The same by candle's operations.
    fn composed(&self, x: &Tensor) -> Result<Tensor> {
        let mut matrix = vec![0.0; self.outputs() * self.inputs];
        for (output, ends) in self.starts.windows(2).enumerate() {
            for &(input, weight) in &self.entries[ends[0]..ends[1]] {
                matrix[output * self.inputs + input] += weight;
            }
        }
        let matrix = from_vec(matrix, (self.outputs(), self.inputs), x.dtype(), x.device())?;
        let m = x.dim(0)?;
        matrix.broadcast_matmul(&x.reshape((m, self.inputs, ()))?)?.reshape((m, ()))
    }
}

impl PositionMap {
    fn new(outputs: usize, inputs: usize, all: &[(usize, usize, f64)]) -> Self {
        PositionMap {
            forward: Rows::new(outputs, inputs, all.iter().copied()),
            backward: Rows::new(
                inputs,
                outputs,
                all.iter().map(|&(output, input, weight)| (input, output, weight)),
            ),
        }
    }

    /// The map whose axes are given.
    pub(crate) fn of_axes(axes: &[AxisMap]) -> Self {
        let map = AxisMap::product(axes);
        let row = |(output, row): (usize, &Vec<(usize, f64)>)| {
            row.iter().map(|&(input, weight)| (output, input, weight)).collect::<Vec<_>>()
        };
        let all: Vec<_> = map.rows.iter().enumerate().flat_map(row).collect();
        PositionMap::new(map.rows.len(), map.inputs, &all)
    }

    /// y_to = Σ a x_from.
    pub(crate) fn of_graph(nodes: usize, edges: &Edges) -> Self {
        let all: Vec<_> = edges.iter().map(|&(from, to, weight)| (to, from, weight)).collect();
        PositionMap::new(nodes, nodes, &all)
    }

    /// Positions that go out.
    pub(crate) fn outputs(&self) -> usize {
        self.forward.outputs()
    }

    /// x: (m, inputs · c) → (m, outputs · c).
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward.apply(x)
    }

    /// The transposed map. d: (…, outputs · c) → (…, inputs · c).
    pub(crate) fn backward(&self, d: &Tensor) -> Result<Tensor> {
        let (n, o, width) = d.dims3()?;
        self.backward.apply(&d.reshape((n * o, width))?)?.reshape((n, o, ()))
    }

    /// The map by candle's operations, so that candle differentiates it.
    pub(crate) fn composed(&self, x: &Tensor) -> Result<Tensor> {
        self.forward.composed(x)
    }
}
