//! Shape inference: which grid and channels come out when a shape goes in, with errors that name the layer to change.

use super::grid::{AxisMap, Grid};
use super::layer::{Axes, ConvKind, Groups, Interpolation, Layer, Pooling};
use super::window::AxisTaps;
use crate::{Error, Net, NetKind, Width};

/// The shape of one sample: its grid of positions and its channels, which may be symbolic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    grid: Grid,
    channels: Width,
}

impl Shape {
    /// A vector of this many channels.
    pub fn vector(channels: usize) -> Self {
        Shape { grid: Grid::VECTOR, channels: Width::Fixed(channels) }
    }

    /// A grid of these sides with this many channels at each position.
    ///
    /// # Errors
    /// As [`Grid::new`].
    pub fn grid(sides: &[usize], channels: usize) -> Result<Self, Error> {
        Ok(Shape { grid: Grid::new(sides)?, channels: Width::Fixed(channels) })
    }

    /// The positions.
    pub fn positions(&self) -> Grid {
        self.grid
    }

    /// The channels of one position.
    pub fn channels(&self) -> Width {
        self.channels
    }

    fn with_grid(self, grid: Grid) -> Self {
        Shape { grid, ..self }
    }
}

impl From<Grid> for Shape {
    /// One channel at each position.
    fn from(grid: Grid) -> Self {
        Shape { grid, channels: Width::Fixed(1) }
    }
}

impl Layer {
    /// The map between positions of a layer without weights that is one (pooling, index, resize, linear), axis by axis.
    ///
    /// # Errors
    /// What does not fit the grid: [`Error::Rank`], [`Error::WindowSize`], [`Error::EmptyIndex`], …
    pub fn axis_maps(&self, grid: &Grid) -> Result<Option<Vec<AxisMap>>, Error> {
        let layer = self.kind_name();
        let sides = grid.sides();
        let rank = |expected: usize| {
            if expected == sides.len() {
                Ok(())
            } else {
                Err(Error::Rank { layer, expected, found: sides.len() })
            }
        };
        Ok(Some(match self {
            Layer::Pool { pooling, window } => {
                let axes = window.axes(layer, grid, false)?;
                let pool = |(axis, &taps): (&AxisTaps, &usize)| {
                    axis.pooled(|read| match pooling {
                        Pooling::Average => 1.0 / taps as f64,
                        Pooling::EdgeAverage => 1.0 / read.max(1) as f64,
                        Pooling::Sum => 1.0,
                    })
                };
                axes.iter().zip(&window.shape).map(pool).collect()
            }
            Layer::GlobalPool { pooling } => sides
                .iter()
                .map(|&side| {
                    let weight = if *pooling == Pooling::Sum { 1.0 } else { 1.0 / side as f64 };
                    AxisMap { inputs: side, rows: vec![(0..side).map(|p| (p, weight)).collect()] }
                })
                .collect(),
            Layer::Index { spans } => {
                rank(spans.len())?;
                let axes = spans.iter().zip(sides).enumerate().map(|(axis, (span, &side))| {
                    let positions = span.positions(side);
                    if positions.is_empty() {
                        return Err(Error::EmptyIndex { axis, side });
                    }
                    Ok(AxisMap { inputs: side, rows: positions.iter().map(|&p| vec![(p, 1.0)]).collect() })
                });
                axes.collect::<Result<_, _>>()?
            }
            Layer::Resize { sides: new, interpolation } => {
                rank(new.len())?;
                let new: Vec<usize> = new.iter().zip(sides).map(|(new, &side)| new.unwrap_or(side)).collect();
                let resized = |(&side, &new)| resized(*interpolation, side, new);
                sides.iter().zip(Grid::new(&new)?.sides()).map(resized).collect()
            }
            Layer::Linear { axis, rows, .. } => {
                let Some(&side) = sides.get(*axis) else {
                    return Err(Error::Axis { layer, axis: *axis, rank: sides.len() });
                };
                if rows.first().is_none_or(|row| row.len() != side) {
                    return Err(Error::LinearSide {
                        axis: *axis,
                        columns: rows.first().map_or(0, Vec::len),
                        side,
                    });
                }
                let sparse =
                    |row: &Vec<f64>| row.iter().copied().enumerate().filter(|(_, w)| *w != 0.0).collect();
                let mut axes: Vec<AxisMap> = sides.iter().map(|&side| AxisMap::identity(side)).collect();
                axes[*axis] = AxisMap { inputs: side, rows: rows.iter().map(sparse).collect() };
                axes
            }
            _ => return Ok(None),
        }))
    }

    /// The shape of the layer's output.
    ///
    /// # Errors
    /// What does not fit the input's grid or channels.
    pub fn output_shape(&self, input: &Shape) -> Result<Shape, Error> {
        self.check()?;
        let (grid, layer) = (input.grid, self.kind_name());
        let axis_of = |axis: usize| match axis < grid.rank() {
            true => Ok(()),
            false => Err(Error::Axis { layer, axis, rank: grid.rank() }),
        };
        Ok(match self {
            Layer::Dense { width, .. } | Layer::Embedding { width, .. } => Shape { grid, channels: *width },
            Layer::Conv { kind, width, window, groups, .. } => {
                let axes = window.axes(layer, &grid, *kind == ConvKind::Transposed)?;
                let sides: Vec<usize> = axes.iter().map(|axis| axis.outputs).collect();
                check_groups(*groups, input.channels, *width)?;
                Shape { grid: Grid::new(&sides)?, channels: *width }
            }
            Layer::Pool { .. } | Layer::Index { .. } | Layer::Resize { .. } => {
                let maps = self.axis_maps(&grid)?.unwrap_or_default();
                input.with_grid(Grid::new(&maps.iter().map(|map| map.rows.len()).collect::<Vec<_>>())?)
            }
            Layer::Linear { axis, rows, remove } => {
                self.axis_maps(&grid)?;
                input.with_grid(grid.with_side(*axis, (!remove).then_some(rows.len()))?)
            }
            Layer::GlobalPool { .. } => input.with_grid(Grid::VECTOR),
            Layer::Flatten => {
                let positions = grid.positions();
                let channels = match input.channels {
                    Width::Fixed(channels) => Width::Fixed(channels.saturating_mul(positions)),
                    Width::Hidden(ratio) => Width::Hidden(ratio * positions as f64),
                };
                Shape { grid: Grid::VECTOR, channels }
            }
            Layer::Aggregate { axis } => {
                axis_of(*axis)?;
                *input
            }
            Layer::Attention(attention) => Shape { grid, channels: attention.width },
            Layer::LayerNorm { axes, .. } => {
                if let Axes::With(axes) = axes {
                    axes.iter().try_for_each(|&axis| axis_of(axis))?;
                }
                *input
            }
            Layer::Activation(_) | Layer::Dropout { .. } | Layer::Custom { .. } => *input,
        })
    }
}

/// Whether the channels can be split into groups; hidden widths are asked again when the network is lowered.
pub(crate) fn check_groups(groups: Groups, input: Width, output: Width) -> Result<(), Error> {
    let divides = |groups: usize, width: Width| match width {
        Width::Fixed(channels) => channels.is_multiple_of(groups),
        Width::Hidden(_) => true,
    };
    match groups {
        Groups::Count(count) if divides(count, input) && divides(count, output) => Ok(()),
        Groups::Depthwise if input == output => Ok(()),
        _ => Err(Error::Groups { groups, input, output }),
    }
}

/// The map of a resize along one axis, centers of positions half a step from the edges.
fn resized(interpolation: Interpolation, side: usize, new: usize) -> AxisMap {
    let ratio = side as f64 / new as f64;
    let rows = (0..new).map(|output| {
        let center = (output as f64 + 0.5) * ratio;
        match interpolation {
            // In whole numbers, since a center may lie on the edge between two positions.
            Interpolation::Nearest => vec![((2 * output + 1) * side / (2 * new), 1.0)],
            Interpolation::Linear => {
                let weight = |p: usize| (1.0 - (center - 0.5 - p as f64).abs() / ratio.max(1.0)).max(0.0);
                let total: f64 = (0..side).map(weight).sum();
                (0..side).map(|p| (p, weight(p) / total)).filter(|(_, weight)| *weight != 0.0).collect()
            }
        }
    });
    AxisMap { inputs: side, rows: rows.collect() }
}

impl Net {
    /// The shape of the output for an input of a given shape.
    ///
    /// # Errors
    /// Those of [`Net::check`] and [`Layer::output_shape`]; [`Error::BranchWidths`], [`Error::BranchGrids`] where
    /// branches that are combined differ; [`Error::MixedWidths`] where a concatenation has a hidden and a fixed one.
    ///
    /// ```
    /// use ntk_core::{Net, Shape, Variance, Width};
    /// let net = Net::readout(3, Variance::ONE, Variance::ZERO);
    /// assert_eq!(net.output_shape(&Shape::vector(7))?.channels(), Width::Fixed(3));
    /// # Ok::<(), ntk_core::Error>(())
    /// ```
    pub fn output_shape(&self, input: &Shape) -> Result<Shape, Error> {
        match self.kind() {
            NetKind::Layer(layer) => layer.output_shape(input),
            NetKind::Serial(nets) => nets.iter().try_fold(*input, |shape, net| net.output_shape(&shape)),
            NetKind::Sum(nets) => combine("sum", nets, input, equal_widths("sum")),
            NetKind::Product(nets) => combine("product", nets, input, equal_widths("product")),
            NetKind::Concat(nets) => combine("concatenation", nets, input, |a, b| {
                let channels = match (a.channels, b.channels) {
                    (Width::Fixed(a), Width::Fixed(b)) => Width::Fixed(a.saturating_add(b)),
                    (Width::Hidden(a), Width::Hidden(b)) => Width::Hidden(a + b),
                    (left, right) => return Err(Error::MixedWidths { left, right }),
                };
                Ok(Shape { channels, ..a })
            }),
            NetKind::Join { axis, nets } => {
                let mut shapes = nets.iter().map(|net| net.output_shape(input));
                let first = shapes.next().ok_or(Error::NoBranches { combinator: "join" })??;
                let side = |shape: Shape| {
                    let rank = shape.grid.rank();
                    shape.grid.sides().get(*axis).copied().ok_or(Error::Axis {
                        layer: "join",
                        axis: *axis,
                        rank,
                    })
                };
                let (mut total, one) = (side(first)?, first.grid.with_side(*axis, Some(1))?);
                for shape in shapes {
                    let shape = shape?;
                    total += side(shape)?;
                    if shape.grid.with_side(*axis, Some(1))? != one {
                        return Err(different_grids("join", first, shape));
                    }
                    equal_widths("join")(first, shape)?;
                }
                Ok(first.with_grid(first.grid.with_side(*axis, Some(total))?))
            }
        }
    }
}

fn equal_widths(combinator: &'static str) -> impl Fn(Shape, Shape) -> Result<Shape, Error> {
    move |a, b| {
        if a.channels == b.channels {
            Ok(a)
        } else {
            Err(Error::BranchWidths { combinator, left: a.channels, right: b.channels })
        }
    }
}

fn different_grids(combinator: &'static str, left: Shape, right: Shape) -> Error {
    let sides = |shape: Shape| shape.grid.sides().to_vec();
    Error::BranchGrids { combinator, left: sides(left), right: sides(right) }
}

/// Folds the shapes of branches that keep one grid.
fn combine(
    combinator: &'static str,
    nets: &[Net],
    input: &Shape,
    both: impl Fn(Shape, Shape) -> Result<Shape, Error>,
) -> Result<Shape, Error> {
    let mut shapes = nets.iter().map(|net| net.output_shape(input));
    let first = shapes.next().ok_or(Error::NoBranches { combinator })??;
    shapes.try_fold(first, |a, b| {
        let b = b?;
        if a.grid != b.grid {
            return Err(different_grids(combinator, a, b));
        }
        both(a, b)
    })
}
