//! Which positions layers read, against slow references that share no code with the library: padded copies for
//! windows, Python's own definition for slices, the weight matrix of `jax.image.resize` for resizing.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ntk_core::{
    Axes, AxisMap, ConvKind, Grid, Groups, Interpolation, Layer, Net, Padding, Pooling, Shape, Span,
    Variance, Width, Window,
};
use proptest::prelude::*;

/// Zeros around and between the positions 1, 2, … of an axis, as numbers to be read: 0 is padding.
struct Padded(Vec<usize>);

impl Padded {
    fn new(side: usize, spread: usize, before: usize, after: usize) -> Self {
        let mut line = vec![0; before];
        for position in 0..side {
            line.push(position + 1);
            line.extend(std::iter::repeat_n(0, if position + 1 < side { spread - 1 } else { 0 }));
        }
        line.extend(std::iter::repeat_n(0, after));
        Padded(line)
    }

    /// What stands under each tap of each window that lies inside.
    fn windows(&self, shape: usize, stride: usize, dilation: usize) -> Vec<Vec<Option<usize>>> {
        let reach = (shape - 1) * dilation + 1;
        let starts = (0..self.0.len()).step_by(stride).filter(|start| start + reach <= self.0.len());
        starts
            .map(|start| (0..shape).map(|tap| self.0[start + tap * dilation].checked_sub(1)).collect())
            .collect()
    }
}

/// The padding that keeps ⌈side/stride⌉ positions, before and after.
fn same(side: usize, reach: usize, stride: usize) -> (usize, usize) {
    let outputs = side.div_ceil(stride);
    let total = ((outputs - 1) * stride + reach).saturating_sub(side);
    (total / 2, total - total / 2)
}

/// The padding of a transposed convolution in `jax.lax`.
fn transposed(reach: usize, stride: usize, padding: Padding) -> (usize, usize) {
    let (total, before) = match padding {
        Padding::Valid => (reach + stride - 2 + reach.saturating_sub(stride), reach - 1),
        _ if stride > reach - 1 => (reach + stride - 2, reach - 1),
        _ => (reach + stride - 2, (reach + stride - 2).div_ceil(2)),
    };
    (before, total - before)
}

/// What a window reads: for each output its taps.
fn read(window: &Window, side: usize, transposed: bool) -> Option<Vec<Vec<Option<usize>>>> {
    let taps = window.axis("conv", 0, side, transposed).ok()?;
    assert_eq!((taps.inputs, taps.sources.len(), taps.centers.len()), (side, window.shape[0], taps.outputs));
    Some((0..taps.outputs).map(|output| taps.sources.iter().map(|tap| tap[output]).collect()).collect())
}

proptest! {
    #![proptest_config(ntk_testkit::cases(256))]

    #[test]
    fn windows_read_what_padded_copies_hold(
        side in 1usize..9, shape in 1usize..6, stride in 1usize..4, dilation in 1usize..4,
    ) {
        let reach = (shape - 1) * dilation + 1;
        let with = |padding| {
            Window { padding, ..Window::same(&[shape]).strides(&[stride]).dilation(&[dilation]) }
        };
        let expected = Padded::new(side, 1, 0, 0).windows(shape, stride, dilation);
        prop_assert_eq!(read(&with(Padding::Valid), side, false), Some(expected).filter(|e| !e.is_empty()));
        let (before, after) = same(side, reach, stride);
        let expected = Padded::new(side, 1, before, after).windows(shape, stride, dilation);
        prop_assert_eq!(expected.len(), side.div_ceil(stride));
        prop_assert_eq!(read(&with(Padding::Same), side, false), Some(expected));
        // A torus is an axis repeated often enough.
        let turns = before.div_ceil(side);
        let line: Vec<usize> = (0..(turns + 1) * side + after).map(|p| p % side + 1).collect();
        let expected = Padded(line[turns * side - before..].to_vec()).windows(shape, stride, dilation);
        prop_assert_eq!(read(&with(Padding::Circular), side, false), Some(expected));
    }

    #[test]
    fn transposed_windows_read_what_spread_copies_hold(
        side in 1usize..7, shape in 1usize..6, stride in 1usize..4, dilation in 1usize..3,
    ) {
        let reach = (shape - 1) * dilation + 1;
        for padding in [Padding::Valid, Padding::Same, Padding::Circular] {
            let window = Window { padding, ..Window::same(&[shape]).strides(&[stride]).dilation(&[dilation]) };
            let got = read(&window, side, true);
            let (before, after) = transposed(reach, stride, padding);
            if padding == Padding::Circular {
                // All windows, folded onto the torus of side · stride positions about their middle.
                let (before, after) = transposed(reach, stride, Padding::Valid);
                let all = Padded::new(side, stride, before, after).windows(shape, 1, dilation);
                let torus = side * stride;
                let first = (all.len() - torus) / 2;
                let folded: Vec<Vec<Option<usize>>> = (0..torus)
                    .map(|output| {
                        let same_place = |(at, _): &(usize, _)| at % torus == (output + first) % torus;
                        let taps = all.iter().enumerate().filter(same_place).map(|(_, taps)| taps);
                        taps.fold(vec![None; shape], |a, b| a.iter().zip(b).map(|(a, b)| a.or(*b)).collect())
                    })
                    .collect();
                prop_assert_eq!(got, Some(folded));
            } else {
                let expected = Padded::new(side, stride, before, after).windows(shape, 1, dilation);
                prop_assert_eq!(got, Some(expected));
            }
        }
    }

    #[test]
    fn shorter_samples_have_fewer_outputs(
        side in 1usize..9, shape in 1usize..6, stride in 1usize..4, dilation in 1usize..4, transposed: bool,
        padding in prop_oneof![Just(Padding::Same), Just(Padding::Valid), Just(Padding::Circular)],
    ) {
        let window = Window { padding, ..Window::same(&[shape]).strides(&[stride]).dilation(&[dilation]) };
        let Ok(taps) = window.axis("conv", 0, side, transposed) else { return Ok(()) };
        prop_assert!(taps.centers.is_sorted());
        prop_assert_eq!((taps.valid(0), taps.valid(side)), (0, taps.outputs));
        for length in 1..=side {
            let valid = taps.valid(length);
            prop_assert!(valid >= taps.valid(length - 1));
            // A grid that is kept keeps its lengths.
            if padding == Padding::Same && stride == 1 && !transposed {
                prop_assert_eq!(valid, length);
            }
            // An output of a transposed convolution exists if all that it reads does.
            if padding != Padding::Circular && transposed && shape >= stride && dilation == 1 {
                let whole = |output: &usize| taps.sources.iter().all(|tap| tap[*output].is_none_or(|p| p < length));
                prop_assert_eq!(valid, (0..taps.outputs).filter(whole).count());
            }
        }
    }

    #[test]
    fn slices_are_those_of_python(
        side in 1usize..8,
        start in proptest::option::of(-10isize..10),
        stop in proptest::option::of(-10isize..10),
        step in prop_oneof![-4isize..0, 1isize..5],
    ) {
        // `slice.indices` and `range`, from the definition in the language reference.
        let n = side as isize;
        let (lower, upper) = if step < 0 { (-1, n - 1) } else { (0, n) };
        let clip = |at: isize| if at < 0 { (at + n).max(lower) } else { at.min(upper) };
        let first = start.map_or(if step < 0 { upper } else { lower }, clip);
        let last = stop.map_or(if step < 0 { lower } else { upper }, clip);
        let inside = |at: &isize| if step < 0 { *at > last } else { *at < last };
        let expected: Vec<usize> =
            std::iter::successors(Some(first), |at| Some(at + step)).take_while(inside).map(|at| at as usize).collect();
        let span = Span { start, stop, step };
        prop_assert_eq!(&span.positions(side), &expected);
        let layer = Layer::Index { spans: vec![Span::ALL, span] };
        let shape = layer.output_shape(&Shape::grid(&[3, side], 2)?);
        if expected.is_empty() {
            let refused = matches!(shape, Err(ntk_core::Error::EmptyIndex { axis: 1, side: s }) if s == side);
            prop_assert!(refused);
        } else {
            prop_assert_eq!(shape?, Shape::grid(&[3, expected.len()], 2)?);
        }
    }

    #[test]
    fn resizing_follows_jax(side in 1usize..12, new in 1usize..12) {
        let maps = |interpolation| {
            let layer = Layer::Resize { sides: vec![Some(new)], interpolation };
            Ok::<_, ntk_core::Error>(layer.axis_maps(&Grid::new(&[side])?)?.unwrap_or_default().remove(0))
        };
        // jax.image.resize, nearest: floor((i + 0.5) · m / n), of which the quotient is rounded once.
        let nearest: Vec<usize> =
            (0..new).map(|i| ((i as f64 + 0.5) * side as f64 / new as f64).floor() as usize).collect();
        let got = maps(Interpolation::Nearest)?;
        prop_assert_eq!(got.rows, nearest.iter().map(|&p| vec![(p, 1.0)]).collect::<Vec<_>>());
        // Linear, antialiased: the triangle of half width max(m/n, 1) about (i + 0.5) m/n − 0.5, columns normalized.
        let inverse = side as f64 / new as f64;
        let got = dense(&maps(Interpolation::Linear)?);
        for (i, row) in got.iter().enumerate() {
            let sample = (i as f64 + 0.5) * inverse - 0.5;
            let triangle: Vec<f64> = (0..side)
                .map(|p| (1.0 - (sample - p as f64).abs() / inverse.max(1.0)).max(0.0))
                .collect();
            let total: f64 = triangle.iter().sum();
            for (got, weight) in row.iter().zip(&triangle) {
                prop_assert!((got - weight / total).abs() < 1e-15);
            }
        }
    }

    #[test]
    fn pooling_sums_what_the_window_reads(
        sides in prop::collection::vec(1usize..6, 1..=2), shape in 1usize..4, stride in 1usize..3,
        padding in prop_oneof![Just(Padding::Same), Just(Padding::Valid), Just(Padding::Circular)],
    ) {
        let window = Window { padding, ..Window::same(&vec![shape; sides.len()]).strides(&vec![stride; sides.len()]) };
        let grid = Grid::new(&sides)?;
        let Ok(axes) = window.axes("pool", &grid, false) else { return Ok(()) };
        for pooling in [Pooling::Average, Pooling::EdgeAverage, Pooling::Sum] {
            let layer = Layer::Pool { pooling, window: window.clone() };
            let maps = layer.axis_maps(&grid)?.unwrap_or_default();
            let rows = dense(&AxisMap::product(&maps));
            let outputs: Vec<usize> = axes.iter().map(|axis| axis.outputs).collect();
            prop_assert_eq!(layer.output_shape(&Shape::grid(&sides, 3)?)?, Shape::grid(&outputs, 3)?);
            for (output, row) in rows.iter().enumerate() {
                // Every combination of taps along the axes, one after another.
                let at = Grid::new(&outputs)?.coordinates(output);
                let mut expected = vec![0.0; grid.positions()];
                let mut read = 0.0;
                for taps in 0..window.taps() {
                    let taps = Grid::new(&window.shape)?.coordinates(taps);
                    let sources = axes.iter().enumerate().map(|(i, axis)| axis.sources[taps[i]][at[i]]);
                    let position = sources.zip(&sides).try_fold(0, |flat, (p, side)| Some(flat * side + p?));
                    if let Some(position) = position {
                        expected[position] += 1.0;
                        read += 1.0;
                    }
                }
                let weight = match pooling {
                    Pooling::Average => 1.0 / window.taps() as f64,
                    Pooling::EdgeAverage => 1.0 / f64::max(read, 1.0),
                    Pooling::Sum => 1.0,
                };
                for (got, count) in row.iter().zip(&expected) {
                    prop_assert!((got - count * weight).abs() < 1e-15, "{pooling:?} {got} {count} {weight}");
                }
            }
        }
    }

    #[test]
    fn grids_number_their_positions(sides in prop::collection::vec(1usize..5, 0..=4)) {
        let grid = Grid::new(&sides)?;
        prop_assert_eq!((grid.rank(), grid.sides(), grid.positions()), (sides.len(), &sides[..], sides.iter().product()));
        for position in 0..grid.positions() {
            let at = grid.coordinates(position);
            let flat = sides.iter().zip(at).fold(0, |flat, (side, at)| flat * side + at);
            prop_assert!(flat == position && at[sides.len()..].iter().all(|&at| at == 0));
        }
    }
}

/// A map with its zeros.
fn dense(map: &AxisMap) -> Vec<Vec<f64>> {
    let row = |sparse: &Vec<(usize, f64)>| {
        let mut row = vec![0.0; map.inputs];
        sparse.iter().for_each(|&(p, weight)| row[p] += weight);
        row
    };
    map.rows.iter().map(row).collect()
}

fn shape(sides: &[usize], channels: usize) -> Shape {
    Shape::grid(sides, channels).unwrap()
}

#[test]
fn global_pools_and_linear_maps_are_maps_too() {
    let grid = Grid::new(&[2, 3]).unwrap();
    let maps = |layer: Layer| layer.axis_maps(&grid).unwrap().map(|maps| dense(&AxisMap::product(&maps)));
    let average = maps(Layer::GlobalPool { pooling: Pooling::Average }).unwrap();
    assert!(average.len() == 1 && average[0].iter().all(|w| (w - 1.0 / 6.0).abs() < 1e-16));
    assert_eq!(maps(Layer::GlobalPool { pooling: Pooling::Sum }).unwrap(), [[1.0; 6]]);
    let rows = vec![vec![1.0, -1.0, 0.0]];
    let linear = |remove| Layer::Linear { axis: 1, rows: rows.clone(), remove };
    let expected = [[1.0, -1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0, -1.0, 0.0]];
    assert_eq!(maps(linear(false)).unwrap(), expected);
    assert_eq!(maps(linear(true)).unwrap(), expected);
    assert_eq!(linear(false).output_shape(&shape(&[2, 3], 5)).unwrap(), shape(&[2, 1], 5));
    assert_eq!(linear(true).output_shape(&shape(&[2, 3], 5)).unwrap(), shape(&[2], 5));
    assert_eq!(maps(Layer::Flatten), None);
    assert_eq!(maps(Layer::Dropout { rate: ntk_core::DropRate::new(0.5).unwrap() }), None);
}

/// Sides and channels that come out.
fn out(net: &Net, input: &Shape) -> (Vec<usize>, Width) {
    let shape = net.output_shape(input).unwrap();
    (shape.positions().sides().to_vec(), shape.channels())
}

#[test]
fn output_shapes_of_every_layer() {
    let image = shape(&[7, 6], 3);
    let (one, zero) = (Variance::ONE, Variance::ZERO);
    let conv = |window: Window| out(&Net::conv(window, one, zero), &image);
    let pool = |window: Window| out(&Net::average_pool(window), &image);
    let hidden = |sides: &[usize]| (sides.to_vec(), Width::HIDDEN);
    let kept = |sides: &[usize]| (sides.to_vec(), Width::Fixed(3));
    for (got, expected) in [
        (conv(Window::same(&[3, 3])), hidden(&[7, 6])),
        (conv(Window::same(&[3, 3]).strides(&[2, 4])), hidden(&[4, 2])),
        (conv(Window::circular(&[9, 2]).strides(&[3, 1])), hidden(&[3, 6])),
        (conv(Window::valid(&[3, 2])), hidden(&[5, 5])),
        (conv(Window::valid(&[3, 2]).dilation(&[2, 5])), hidden(&[3, 1])),
        (conv(Window::valid(&[1, 3]).strides(&[3, 2])), hidden(&[3, 2])),
        (pool(Window::blocks(&[2, 3])), kept(&[3, 2])),
        (pool(Window::same(&[2, 2]).strides(&[2, 2])), kept(&[4, 3])),
    ] {
        assert_eq!(got, expected);
    }
    let affine = ntk_core::Affine::new(one, zero);
    let special = |kind, width, window: Window, groups| {
        out(&Net::conv_with(kind, width, affine, window, groups), &image)
    };
    let (up, all) = (Window::same(&[3, 3]).strides(&[2, 1]), Groups::Count(1));
    assert_eq!(special(ConvKind::Transposed, Width::HIDDEN, up, all), hidden(&[14, 6]));
    let up = Window::valid(&[3, 1]).strides(&[2, 2]);
    assert_eq!(special(ConvKind::Transposed, Width::HIDDEN, up, all), hidden(&[15, 12]));
    assert_eq!(
        special(ConvKind::Local, Width::Fixed(4), Window::valid(&[2, 2]), all),
        (vec![6, 5], Width::Fixed(4))
    );
    let groups = special(ConvKind::Shared, Width::Fixed(6), Window::same(&[3, 3]), Groups::Count(3));
    assert_eq!(groups, (vec![7, 6], Width::Fixed(6)));
    let depthwise = special(ConvKind::Shared, Width::Fixed(3), Window::same(&[3, 3]), Groups::Depthwise);
    assert_eq!(depthwise, kept(&[7, 6]));

    let layers = [
        (Layer::Flatten, (vec![], Width::Fixed(126))),
        (Layer::GlobalPool { pooling: Pooling::Sum }, kept(&[])),
        (Layer::Aggregate { axis: 1 }, kept(&[7, 6])),
        (Layer::LayerNorm { axes: Axes::With(vec![0]), epsilon: 0.0 }, kept(&[7, 6])),
        (Layer::Resize { sides: vec![None, Some(9)], interpolation: Interpolation::Linear }, kept(&[7, 9])),
        (Layer::Attention(Box::default()), hidden(&[7, 6])),
        (Layer::Embedding { width: Width::HIDDEN, affine }, hidden(&[7, 6])),
        (Layer::Dense { width: Width::Fixed(2), affine }, (vec![7, 6], Width::Fixed(2))),
    ];
    for (layer, expected) in layers {
        assert_eq!(out(&Net::layer(layer.clone()), &image), expected, "{layer}");
    }
    let block = || Net::conv(Window::same(&[3, 3]), one, zero);
    assert_eq!(out(&block().then(Net::flatten()), &image), (vec![], Width::Hidden(42.0)));
    assert_eq!(out(&Net::join(0, [block(), block()]), &image), hidden(&[14, 6]));
    assert_eq!(
        out(&Net::join(1, [block(), Net::conv(Window::same(&[3, 3]).strides(&[1, 2]), one, zero)]), &image),
        hidden(&[7, 9])
    );
    assert_eq!(out(&Net::concat([block(), block()]), &image), (vec![7, 6], Width::Hidden(2.0)));
    assert_eq!(out(&block().then(block().residual()), &image), hidden(&[7, 6]));
    // A vector is a grid of no axes, for all layers that need none.
    let vector = Shape::vector(4);
    assert_eq!(out(&Net::flatten(), &vector), (vec![], Width::Fixed(4)));
    assert_eq!(out(&Net::global_average_pool(), &vector), (vec![], Width::Fixed(4)));
    assert_eq!(Shape::from(Grid::new(&[3]).unwrap()), shape(&[3], 1));
}
