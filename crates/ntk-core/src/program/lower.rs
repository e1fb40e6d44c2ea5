//! A [`Net`] as a program: what its layers are in the language that all architectures have in common.

use ndarray::{Array1, Array2};

use super::networks::layer_norm;
use super::{Builder, Error, Expr, MatrixId, Program, VectorId};
use crate::{
    Affine, Attention, Axes, AxisMap, AxisTaps, Batch, ConvKind, Grid, Groups, Layer, LogitScaling, Net,
    NetKind, Parameterization, Weighting, Width,
};

/// What stands at a position: numbers of the input, or a vector of the program.
#[derive(Clone)]
enum Value {
    Input(Array1<f64>),
    Vector(VectorId),
}

/// Channels at a position, in parts of some width: several after a concatenation or a flatten.
type Parts = Vec<(f64, Value)>;

/// All samples at one place of the network.
#[derive(Clone)]
struct State {
    grid: Grid,
    samples: Vec<Vec<Parts>>,
}

impl Program {
    /// The program of a network on samples: all samples together, and the vector that each of them ends in.
    ///
    /// Covered are dense layers, convolutions of every kind, pooling, index, resize and linear maps of positions, sums over
    /// the edges of graphs, flatten, layer norms of the channels, attention with logits over d, activations that are
    /// expressions, sums, products and concatenations, in NTK parameterization. Fixed widths count as wide. The last layer
    /// must be affine. Attention with logits over √d is [`networks::attention_of_heads`](super::networks::attention_of_heads).
    ///
    /// ```
    /// use ndarray::array;
    /// use ntk_core::program::Program;
    /// use ntk_core::{Activation, Net, Variance};
    ///
    /// let net = Net::mlp(2, Activation::Relu, 1, Variance::TWO, Variance::ZERO);
    /// let (program, ends) = Program::of_net(&net, (&array![[1.0, 0.5], [0.0, 2.0]]).into())?;
    /// assert_eq!((ends.len(), program.matrices().len()), (2, 2));
    /// # Ok::<(), ntk_core::program::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Net`] for what does not fit the samples; [`Error::Uncovered`] for a layer that is not covered.
    pub fn of_net(net: &Net, x: Batch<'_>) -> Result<(Program, Vec<VectorId>), Error> {
        let wrong = |e: crate::Error| Error::Net { reason: e.to_string() };
        x.check().map_err(wrong)?;
        net.output_shape(&x.shape().map_err(wrong)?).map_err(wrong)?;
        for (given, layer) in [
            (x.token_ids().is_some(), "an embedding of tokens"),
            (x.lengths().is_some(), "a sample of its own length"),
        ] {
            if given {
                return Err(Error::Uncovered { layer: layer.to_owned() });
            }
        }
        let (positions, d) = (x.positions().positions(), x.features());
        let sample = |row: ndarray::ArrayView1<'_, f64>| {
            let at = |p: usize| Value::Input(row.slice(ndarray::s![p * d..(p + 1) * d]).to_owned());
            (0..positions).map(|p| vec![(d as f64, at(p))]).collect()
        };
        let graphs = x.graphs().map(|graphs| (0..x.len()).map(|sample| graphs.edges(sample)).collect());
        let mut lowering = Lowering { p: Builder::new(), layers: 0, graphs };
        let start =
            State { grid: x.positions(), samples: x.values().rows().into_iter().map(sample).collect() };
        let end = lowering.net(net, start)?;
        let last = |sample: &Vec<Parts>| match &sample[..] {
            [parts] => match parts[..] {
                [(_, Value::Vector(x))] => Ok(x),
                _ => Err(Error::Uncovered { layer: "an end without an affine layer".to_owned() }),
            },
            _ => Err(Error::Uncovered { layer: "an output with positions".to_owned() }),
        };
        let ends = end.samples.iter().map(last).collect::<Result<Vec<_>, _>>()?;
        Ok((lowering.p.finish(), ends))
    }
}

struct Lowering {
    p: Builder,
    /// Affine layers so far, for names.
    layers: usize,
    /// The edges of each sample.
    graphs: Option<Vec<Vec<(usize, usize, f64)>>>,
}

fn uncovered(layer: &Layer) -> Error {
    Error::Uncovered { layer: layer.to_string() }
}

impl Lowering {
    fn net(&mut self, net: &Net, state: State) -> Result<State, Error> {
        match net.kind() {
            NetKind::Layer(layer) => self.layer(layer, state),
            NetKind::Serial(nets) => nets.iter().try_fold(state, |state, net| self.net(net, state)),
            NetKind::Sum(nets) => self.branches(nets, &state, "a sum", |p, xs| {
                let terms: Vec<(f64, VectorId)> = xs.iter().map(|&x| (1.0, x)).collect();
                p.combine(&terms)
            }),
            NetKind::Product(nets) => self.branches(nets, &state, "a product", |p, xs| {
                p.apply(Expr::product((0..xs.len()).map(Expr::arg)), xs)
            }),
            NetKind::Concat(nets) => {
                let all =
                    nets.iter().map(|net| self.net(net, state.clone())).collect::<Result<Vec<_>, _>>()?;
                let mut all = all.into_iter();
                let Some(mut joined) = all.next() else { return Ok(state) };
                for other in all {
                    for (parts, more) in
                        joined.samples.iter_mut().flatten().zip(other.samples.into_iter().flatten())
                    {
                        parts.extend(more);
                    }
                }
                Ok(joined)
            }
            NetKind::Join { .. } => Err(Error::Uncovered { layer: "a join".to_owned() }),
        }
    }

    /// Branches that meet part by part.
    fn branches(
        &mut self,
        nets: &[Net],
        state: &State,
        name: &str,
        join: impl Fn(&mut Builder, &[VectorId]) -> Result<VectorId, Error>,
    ) -> Result<State, Error> {
        let all = nets.iter().map(|net| self.net(net, state.clone())).collect::<Result<Vec<_>, _>>()?;
        let Some(mut joined) = all.first().cloned() else { return Ok(state.clone()) };
        for (s, sample) in joined.samples.iter_mut().enumerate() {
            for (q, parts) in sample.iter_mut().enumerate() {
                for (k, (_, part)) in parts.iter_mut().enumerate() {
                    let vector = |state: &State| match state.samples[s][q].get(k) {
                        Some((_, Value::Vector(x))) => Ok(*x),
                        _ => Err(Error::Uncovered { layer: format!("{name} with the input itself") }),
                    };
                    let xs = all.iter().map(vector).collect::<Result<Vec<_>, _>>()?;
                    *part = Value::Vector(join(&mut self.p, &xs)?);
                }
            }
        }
        Ok(joined)
    }

    fn layer(&mut self, layer: &Layer, state: State) -> Result<State, Error> {
        let wrong = |e: crate::Error| Error::Net { reason: e.to_string() };
        if let Some(maps) = layer.axis_maps(&state.grid).map_err(wrong)? {
            let grid = layer.output_shape(&state.grid.into()).map_err(wrong)?.positions();
            return self.mapped(&[AxisMap::product(&maps)], grid, &state);
        }
        match layer {
            Layer::Dense { width, affine } => {
                let here: Vec<Vec<Option<usize>>> = vec![(0..state.grid.positions()).map(Some).collect()];
                self.affine(layer, *affine, *width, &state, state.grid, &here, false)
            }
            Layer::Conv { kind, width, affine, window, groups } => {
                if *groups != Groups::Count(1) {
                    return Err(uncovered(layer));
                }
                let transposed = *kind == ConvKind::Transposed;
                let axes = window.axes("conv", &state.grid, transposed).map_err(wrong)?;
                let taps = AxisTaps::product(&axes);
                let sides: Vec<usize> = axes.iter().map(|axis| axis.outputs).collect();
                let grid = Grid::new(&sides).map_err(wrong)?;
                self.affine(layer, *affine, *width, &state, grid, &taps, *kind == ConvKind::Local)
            }
            Layer::Flatten => {
                let joined = |sample: Vec<Parts>| vec![sample.into_iter().flatten().collect::<Parts>()];
                Ok(State { grid: Grid::VECTOR, samples: state.samples.into_iter().map(joined).collect() })
            }
            Layer::Aggregate { axis } => {
                let graphs = self.graphs.clone().unwrap_or_default();
                let sides = state.grid.sides();
                let map = |edges: &Vec<(usize, usize, f64)>| {
                    let mut axes: Vec<AxisMap> = sides.iter().map(|&side| AxisMap::identity(side)).collect();
                    axes[*axis].rows = vec![Vec::new(); sides[*axis]];
                    for &(from, to, weight) in edges {
                        axes[*axis].rows[to].push((from, weight));
                    }
                    AxisMap::product(&axes)
                };
                let maps: Vec<AxisMap> = graphs.iter().map(map).collect();
                self.mapped(&maps, state.grid, &state)
            }
            Layer::Attention(attention) => self.attention(layer, attention, state),
            Layer::Activation(phi) => {
                let f = Expr::activation(phi).ok_or_else(|| uncovered(layer))?;
                self.each(layer, state, |p, x| p.apply(f.clone(), &[x]))
            }
            Layer::LayerNorm { axes: Axes::Channels, epsilon } => {
                let epsilon = *epsilon;
                self.each(layer, state, |p, x| layer_norm(p, x, epsilon))
            }
            _ => Err(uncovered(layer)),
        }
    }

    /// Every vector by itself.
    fn each(
        &mut self,
        layer: &Layer,
        mut state: State,
        f: impl Fn(&mut Builder, VectorId) -> Result<VectorId, Error>,
    ) -> Result<State, Error> {
        let whole = matches!(layer, Layer::LayerNorm { .. });
        for parts in state.samples.iter_mut().flatten() {
            let several = whole && parts.len() > 1;
            for (_, part) in parts.iter_mut() {
                match part {
                    Value::Vector(x) if !several => *x = f(&mut self.p, *x)?,
                    _ => return Err(uncovered(layer)),
                }
            }
        }
        Ok(state)
    }

    /// A linear map of positions: one for all samples, or one for each.
    fn mapped(&mut self, maps: &[AxisMap], grid: Grid, state: &State) -> Result<State, Error> {
        let mut samples = Vec::new();
        for (sample, map) in state.samples.iter().zip(maps.iter().cycle()) {
            let mut all = Vec::new();
            for row in &map.rows {
                let mut parts = Parts::new();
                for (k, (width, first)) in sample[0].iter().enumerate() {
                    parts.push((
                        *width,
                        match first {
                            Value::Input(x) => {
                                let mut sum = Array1::zeros(x.len());
                                for (q, w) in row {
                                    if let Value::Input(x) = &sample[*q][k].1 {
                                        sum.scaled_add(*w, x);
                                    }
                                }
                                Value::Input(sum)
                            }
                            Value::Vector(x) => {
                                let mut terms: Vec<(f64, VectorId)> = Vec::new();
                                for (q, w) in row {
                                    if let Value::Vector(x) = sample[*q][k].1 {
                                        terms.push((*w, x));
                                    }
                                }
                                if terms.is_empty() {
                                    terms.push((0.0, *x));
                                }
                                Value::Vector(self.p.combine(&terms)?)
                            }
                        },
                    ));
                }
                all.push(parts);
            }
            samples.push(all);
        }
        Ok(State { grid, samples })
    }

    /// Attention whose logits tend to constants: queries are keys up to their scales.
    fn attention(&mut self, layer: &Layer, attention: &Attention, state: State) -> Result<State, Error> {
        if attention.scaling != LogitScaling::InverseDimension || attention.position.is_some() {
            return Err(uncovered(layer));
        }
        let name = self.layers;
        self.layers += 1;
        let rate = attention.rate.get();
        let [query, key, value, output] = [
            attention.query_variance,
            attention.key_variance,
            attention.value_variance,
            attention.output_variance,
        ]
        .map(|variance| variance.get());
        // One matrix makes queries and keys: their product has σ_Q σ_K. Its gradient is that of constants, 0.
        let k = self.p.matrix(&format!("K{name}"), (query * key).sqrt())?;
        let v = self.p.matrix_with(&format!("V{name}"), value, rate * value)?;
        let o = self.p.matrix_with(&format!("O{name}"), output, rate * output)?;
        let bias = attention.bias.get();
        let one = |value: f64| Array2::from_elem((1, 1), value);
        let bias = match bias > 0.0 {
            true => {
                Some(self.p.inputs(&[&format!("b{name}")], &[0.0], one(bias), Some(one(rate * bias)))?[0])
            }
            false => None,
        };
        let mut samples = Vec::new();
        for sample in &state.samples {
            let mut product = |w: MatrixId| -> Result<Vec<VectorId>, Error> {
                let one = |parts: &Parts| match parts[..] {
                    [(_, Value::Vector(x))] => self.p.matmul(w, x),
                    _ => Err(uncovered(layer)),
                };
                sample.iter().map(one).collect()
            };
            let (keys, values) = (product(k)?, product(v)?);
            let mut out = Vec::new();
            for (i, &query) in keys.iter().enumerate() {
                let seen: Vec<usize> =
                    (0..keys.len()).filter(|&j| attention.mask.allows(&state.grid, i, j)).collect();
                let logits = seen
                    .iter()
                    .map(|&j| self.p.moment(Expr::arg(0) * Expr::arg(1), &[query, keys[j]], &[]))
                    .collect::<Result<Vec<_>, _>>()?;
                let share = |j: usize| match attention.weighting {
                    Weighting::Softmax => {
                        let others = (0..seen.len()).map(|l| (Expr::param(l) - Expr::param(j)).exp());
                        Expr::sum(others).power(-1.0)
                    }
                    Weighting::Identity => Expr::param(j),
                    Weighting::Abs => Expr::param(j).relu() + (Expr::param(j) * -1.0).relu(),
                    Weighting::Relu => Expr::param(j).relu(),
                };
                let sum = Expr::sum((0..seen.len()).map(|j| share(j) * Expr::arg(j)));
                let read: Vec<VectorId> = seen.iter().map(|&j| values[j]).collect();
                let read = self.p.apply_with(sum, &read, &logits)?;
                let mut terms = vec![(1.0, self.p.matmul(o, read)?)];
                terms.extend(bias.map(|b| (1.0, b)));
                let Width::Hidden(ratio) = attention.width else { return Err(uncovered(layer)) };
                out.push(vec![(ratio, Value::Vector(self.p.combine(&terms)?))]);
            }
            samples.push(out);
        }
        Ok(State { grid: state.grid, samples })
    }

    /// σ_w/√(fan-in) Σ over taps and parts of W x, plus a bias. `taps[tap][output]` is the position read, none for padding.
    #[allow(clippy::too_many_arguments)] // One affine layer of a grid; a struct would be built here and taken apart there.
    fn affine(
        &mut self,
        layer: &Layer,
        affine: Affine,
        width: Width,
        state: &State,
        grid: Grid,
        taps: &[Vec<Option<usize>>],
        local: bool,
    ) -> Result<State, Error> {
        if affine.parameterization != Parameterization::Ntk {
            return Err(Error::Uncovered { layer: "standard parameterization".to_owned() });
        }
        let (name, outputs) = (self.layers, grid.positions());
        self.layers += 1;
        let (weight, bias) = (affine.weight.get(), affine.bias.get());
        let one = |value: f64| Array2::from_elem((1, 1), value);
        // Weights and biases of a locally connected layer are drawn for each position.
        let places = if local { outputs } else { 1 };
        let mut biases = Vec::new();
        if affine.has_bias() {
            for place in 0..places {
                let tangent = one(affine.bias_rate.get() * bias);
                biases.push(
                    self.p.inputs(&[&format!("b{name}_{place}")], &[0.0], one(bias), Some(tangent))?[0],
                );
            }
        }
        let parts = state.samples.first().and_then(|s| s.first()).cloned().unwrap_or_default();
        let total: f64 = parts.iter().map(|(width, _)| width).sum();
        let mut terms: Vec<Vec<Vec<(f64, VectorId)>>> = vec![vec![Vec::new(); outputs]; state.samples.len()];
        for (tap, reads) in taps.iter().enumerate() {
            for (k, (part, first)) in parts.iter().enumerate() {
                let share = (part / total / taps.len() as f64).sqrt();
                for place in 0..places {
                    let here = if local { place..place + 1 } else { 0..outputs };
                    let name = format!("{name}_{tap}_{k}_{place}");
                    let mut read = |this: &mut Self,
                                    vector: &mut dyn FnMut(
                        &mut Self,
                        &Value,
                        usize,
                    )
                        -> Result<VectorId, Error>| {
                        for (s, sample) in state.samples.iter().enumerate() {
                            for output in here.clone() {
                                if let Some(from) = reads[output] {
                                    let x = vector(this, &sample[from][k].1, s * outputs + output)?;
                                    terms[s][output].push((share, x));
                                }
                            }
                        }
                        Ok::<(), Error>(())
                    };
                    match first {
                        Value::Vector(_) => {
                            let rate = affine.weight_rate.get() * weight;
                            let w = self.p.matrix_with(&format!("W{name}"), weight, rate)?;
                            read(self, &mut |this, x, _| match x {
                                Value::Vector(x) => this.p.matmul(w, *x),
                                Value::Input(_) => Err(uncovered(layer)),
                            })?;
                        }
                        Value::Input(_) => {
                            let mut rows = Vec::new();
                            for sample in &state.samples {
                                for output in here.clone() {
                                    if let Some(from) = reads[output] {
                                        rows.push(&sample[from][k].1);
                                    }
                                }
                            }
                            let inner = |i: usize, j: usize| match (rows[i], rows[j]) {
                                (Value::Input(x), Value::Input(y)) => x.dot(y) / part,
                                _ => 0.0,
                            };
                            if rows.is_empty() {
                                continue;
                            }
                            let gram = Array2::from_shape_fn((rows.len(), rows.len()), |(i, j)| {
                                weight * inner(i, j)
                            });
                            let names: Vec<String> =
                                (0..rows.len()).map(|r| format!("u{name}_{r}")).collect();
                            let names: Vec<&str> = names.iter().map(String::as_str).collect();
                            let tangent = &gram * affine.weight_rate.get();
                            let mut vectors = self
                                .p
                                .inputs(&names, &vec![0.0; rows.len()], gram, Some(tangent))?
                                .into_iter();
                            read(self, &mut |_, _, _| vectors.next().ok_or_else(|| uncovered(layer)))?;
                        }
                    }
                }
            }
        }
        let ratio = match width {
            Width::Hidden(ratio) => ratio,
            Width::Fixed(units) => units as f64,
        };
        let mut samples = Vec::new();
        for terms in terms {
            let mut all = Vec::new();
            for (output, mut terms) in terms.into_iter().enumerate() {
                let bias = biases.get(if local { output } else { 0 });
                terms.extend(bias.map(|&b| (1.0, b)));
                if terms.is_empty() {
                    return Err(Error::Uncovered { layer: "an output that reads padding alone".to_owned() });
                }
                all.push(vec![(ratio, Value::Vector(self.p.combine(&terms)?))]);
            }
            samples.push(all);
        }
        Ok(State { grid, samples })
    }
}
