//! What layers over positions say where they do not fit: the variant, and a message that names the remedy.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ntk_core::{
    Affine, Attention, Axes, ConvKind, Error, Grid, Groups, Interpolation, Layer, Net, Pooling,
    PositionCombine, PositionDecay, PositionEmbedding, Rate, Shape, Span, Variance, Width, Window,
};

/// The variant's name and the message.
fn told<T: std::fmt::Debug>(result: Result<T, Error>) -> (String, String) {
    let error = result.expect_err("bad input must be refused");
    let debug = format!("{error:?}");
    (debug.split([' ', '(']).next().unwrap_or_default().to_owned(), error.to_string())
}

/// Networks on an image of 5 × 4 positions and 6 channels, with the variant and the message of their refusal.
fn refused(rows: Vec<(Net, &str, &str)>) {
    for (net, variant, message) in rows {
        let image = Shape::grid(&[5, 4], 6).unwrap();
        assert_eq!(told(net.output_shape(&image)), (variant.to_owned(), message.to_owned()), "{net}");
    }
}

fn conv(window: Window) -> Net {
    Net::conv(window, Variance::ONE, Variance::ZERO)
}

fn grouped(kind: ConvKind, width: Width, groups: Groups) -> Net {
    let affine = Affine::new(Variance::ONE, Variance::ZERO);
    Net::conv_with(kind, width, affine, Window::same(&[3, 3]), groups)
}

#[test]
fn windows() {
    let no_strides = Window { strides: vec![], ..Window::same(&[3, 3]) };
    refused(vec![
        (
            conv(Window::same(&[3, 3]).strides(&[1, 0])),
            "WindowPart",
            "conv: the strides [1, 0] of a window must be numbers from 1 to 65536, at least one of them",
        ),
        (
            conv(Window::same(&[3, 3]).dilation(&[0, 1])),
            "WindowPart",
            "conv: the dilation [0, 1] of a window must be numbers from 1 to 65536, at least one of them",
        ),
        (
            conv(Window::same(&[])),
            "WindowPart",
            "conv: the shape [] of a window must be numbers from 1 to 65536, at least one of them",
        ),
        (
            Net::average_pool(Window::valid(&[2, usize::MAX])),
            "WindowPart",
            "average_pool: the shape [2, 18446744073709551615] of a window must be numbers from 1 to 65536, at least one of them",
        ),
        (
            conv(no_strides),
            "WindowRank",
            "conv: the strides [] must have one number for each axis of the window [3, 3]",
        ),
        (
            conv(Window::same(&[3, 3]).dilation(&[1, 2, 3])),
            "WindowRank",
            "conv: the dilation [1, 2, 3] must have one number for each axis of the window [3, 3]",
        ),
        (
            conv(Window::valid(&[3, 5])),
            "WindowSize",
            "conv: a window of 5 positions does not fit the 4 positions of axis 1: make it smaller, or pad with Padding::Same",
        ),
        (
            Net::layer(Layer::Pool {
                pooling: Pooling::Sum,
                window: Window::valid(&[3, 3]).dilation(&[3, 1]),
            }),
            "WindowSize",
            "sum_pool: a window of 7 positions does not fit the 5 positions of axis 0: make it smaller, or pad with Padding::Same",
        ),
        // The third of three is what no longer fits.
        (
            Net::serial([
                conv(Window::valid(&[3, 3])),
                conv(Window::valid(&[2, 2])),
                conv(Window::valid(&[2, 2])),
            ]),
            "WindowSize",
            "conv: a window of 2 positions does not fit the 1 positions of axis 1: make it smaller, or pad with Padding::Same",
        ),
        (conv(Window::same(&[3])), "Rank", "conv: describes 1 axes of positions, and its input has 2"),
        (
            Net::global_average_pool().then(conv(Window::same(&[3, 3]))),
            "Rank",
            "conv: describes 2 axes of positions, and its input has 0",
        ),
    ]);
    let axis = |window: Window, axis, side| told(window.axis("conv", axis, side, false));
    let no_axis = "conv: the window has 2 axes and no axis 2";
    assert_eq!(axis(Window::same(&[3, 3]), 2, 5), ("WindowAxis".to_owned(), no_axis.to_owned()));
    assert_eq!(axis(Window::same(&[3, 0]), 0, 5).0, "WindowPart");
    assert_eq!(axis(Window::same(&[3]), 0, 0).0, "Grid");
}

#[test]
fn groups() {
    let (shared, width) = (ConvKind::Shared, Width::Fixed);
    refused(vec![
        (
            grouped(shared, width(8), Groups::Count(4)),
            "Groups",
            "conv: 6 channels to 8 cannot be split into groups Count(4): both must be multiples of the count, and equal if depthwise",
        ),
        (
            grouped(shared, width(8), Groups::Count(3)),
            "Groups",
            "conv: 6 channels to 8 cannot be split into groups Count(3): both must be multiples of the count, and equal if depthwise",
        ),
        (
            grouped(shared, Width::HIDDEN, Groups::Depthwise),
            "Groups",
            "conv: 6 channels to n cannot be split into groups Depthwise: both must be multiples of the count, and equal if depthwise",
        ),
        (
            grouped(shared, width(6), Groups::Count(0)),
            "LayerParameter",
            "conv: groups = 0 is out of its domain (a positive number)",
        ),
        (
            grouped(ConvKind::Local, width(6), Groups::Count(2)),
            "NoGroups",
            "conv_local: has no groups, but Count(2): leave them at Groups::Count(1), or use ConvKind::Shared",
        ),
        (
            grouped(ConvKind::Transposed, width(6), Groups::Depthwise),
            "NoGroups",
            "conv_transpose: has no groups, but Depthwise: leave them at Groups::Count(1), or use ConvKind::Shared",
        ),
    ]);
}

#[test]
fn maps_of_positions() {
    let layer = Net::layer;
    let index = |spans: &[Span]| layer(Layer::Index { spans: spans.to_vec() });
    let span = |start, stop, step| Span { start, stop, step };
    let linear = |axis, rows: &[&[f64]], remove| {
        layer(Layer::Linear { axis, rows: rows.iter().map(|row| row.to_vec()).collect(), remove })
    };
    let resize = |sides: &[Option<usize>]| {
        layer(Layer::Resize { sides: sides.to_vec(), interpolation: Interpolation::Linear })
    };
    refused(vec![
        (
            index(&[Span::ALL, span(Some(2), Some(2), 1)]),
            "EmptyIndex",
            "index: the span of axis 1 names none of its 4 positions",
        ),
        (
            index(&[span(None, Some(4), -1), Span::ALL]),
            "EmptyIndex",
            "index: the span of axis 0 names none of its 5 positions",
        ),
        (
            index(&[span(None, None, 0), Span::ALL]),
            "LayerParameter",
            "index: step = 0 is out of its domain (not 0)",
        ),
        (index(&[Span::ALL]), "Rank", "index: describes 1 axes of positions, and its input has 2"),
        (
            resize(&[Some(0), None]),
            "LayerParameter",
            "resize: side = 0 is out of its domain (a positive number)",
        ),
        (resize(&[Some(2); 3]), "Rank", "resize: describes 3 axes of positions, and its input has 2"),
        (
            resize(&[Some(usize::MAX), Some(2)]),
            "Grid",
            "a grid has at most 6 axes, at least one position along each and at most 2³¹ in all, not sides [18446744073709551615, 2]",
        ),
        (
            linear(1, &[&[1.0, 2.0]], false),
            "LinearSide",
            "linear: a matrix of 2 columns does not fit the 4 positions of axis 1",
        ),
        (
            linear(2, &[&[1.0, 2.0]], false),
            "Axis",
            "linear: there is no axis 2 among the 2 axes of positions of its input",
        ),
        (
            linear(0, &[&[1.0, f64::NAN]], false),
            "LayerParameter",
            "linear: rows = NaN is out of its domain (finite numbers)",
        ),
        (
            linear(0, &[&[1.0, 2.0], &[1.0]], false),
            "LayerParameter",
            "linear: rows = 2 is out of its domain (at least one row, all of one positive length)",
        ),
        (
            linear(0, &[], false),
            "LayerParameter",
            "linear: rows = 0 is out of its domain (at least one row, all of one positive length)",
        ),
        (
            linear(0, &[&[1.0; 5], &[2.0; 5]], true),
            "LayerParameter",
            "linear: rows = 2 is out of its domain (one row, where the axis is removed)",
        ),
        (
            layer(Layer::Aggregate { axis: 2 }),
            "Axis",
            "aggregate: there is no axis 2 among the 2 axes of positions of its input",
        ),
        (
            layer(Layer::LayerNorm { axes: Axes::With(vec![0, 7]), epsilon: 0.0 }),
            "Axis",
            "layer_norm: there is no axis 7 among the 2 axes of positions of its input",
        ),
    ]);
}

#[test]
fn branches() {
    let halved = || conv(Window::same(&[3, 3]).strides(&[1, 2]));
    let kept = || conv(Window::same(&[3, 3]));
    let grids = |combinator: &str| {
        format!("the branches of a {combinator} must end on the same grid, not on [5, 4] and [5, 2]")
    };
    refused(vec![
        (Net::sum([kept(), halved()]), "BranchGrids", &grids("sum")),
        (Net::product([kept(), halved()]), "BranchGrids", &grids("product")),
        (Net::concat([kept(), halved()]), "BranchGrids", &grids("concatenation")),
        (Net::join(0, [kept(), halved()]), "BranchGrids", &grids("join")),
        (
            Net::join(2, [kept(), halved()]),
            "Axis",
            "join: there is no axis 2 among the 2 axes of positions of its input",
        ),
        (
            Net::join(0, [kept(), Net::identity()]),
            "BranchWidths",
            "the branches of a join must have equal widths, not n and 6: end one in Net::dense_with of the other's width",
        ),
        (Net::join(0, []), "NoBranches", "a join needs at least one branch"),
        (
            Net::join(
                1,
                [kept(), Net::global_average_pool().then(Net::dense(Variance::ONE, Variance::ZERO))],
            ),
            "Axis",
            "join: there is no axis 1 among the 0 axes of positions of its input",
        ),
    ]);
    assert!(Net::join(1, [kept(), halved()]).output_shape(&Shape::grid(&[5, 4], 6).unwrap()).is_ok());
}

#[test]
fn attention_and_embedding() {
    let attention = Attention::default;
    let position = |power, decay| {
        let position = Some(PositionEmbedding { power, decay, ..PositionEmbedding::sum(Variance::ONE) });
        Net::attention(Attention { position, ..attention() })
    };
    let wide = PositionCombine::Concat(Width::Fixed(0));
    let none = Some(PositionEmbedding { combine: wide, ..PositionEmbedding::sum(Variance::ONE) });
    let biased = Affine { bias_rate: Rate::ONE, ..Affine::new(Variance::ONE, Variance::ZERO) };
    let no_unit = "a layer needs at least one unit: give Width::Fixed and Net::readout a positive number";
    refused(vec![
        (Net::attention(Attention { key: Width::Fixed(0), ..attention() }), "ZeroWidth", no_unit),
        (Net::attention(Attention { position: none, ..attention() }), "ZeroWidth", no_unit),
        (
            Net::attention(Attention { heads: Width::Hidden(-1.0), ..attention() }),
            "WidthRatio",
            "a hidden width is a finite positive multiple of n, not -1",
        ),
        (
            position(0.0, PositionDecay::Independent),
            "LayerParameter",
            "attention: power = 0 is out of its domain (a number in (0, 2])",
        ),
        (
            position(2.0, PositionDecay::Inverse { scale: f64::NAN }),
            "LayerParameter",
            "attention: scale = NaN is out of its domain (a finite positive number)",
        ),
        (
            position(2.0, PositionDecay::Exponential { scale: -1.0 }),
            "LayerParameter",
            "attention: scale = -1 is out of its domain (a finite positive number)",
        ),
        (
            Net::layer(Layer::Embedding { width: Width::HIDDEN, affine: biased }),
            "LayerParameter",
            "embedding: bias = 0 is out of its domain (0: an embedding has no bias)",
        ),
    ]);
}

#[test]
fn grids() {
    let message = |sides: &str| {
        format!(
            "a grid has at most 6 axes, at least one position along each and at most 2³¹ in all, not sides {sides}"
        )
    };
    for (sides, shown) in [
        (&[3, 0][..], "[3, 0]"),
        (&[1; 7], "[1, 1, 1, 1, 1, 1, 1]"),
        (&[1 << 16, 1 << 16], "[65536, 65536]"),
        (&[usize::MAX, 2], "[18446744073709551615, 2]"),
    ] {
        assert_eq!(told(Grid::new(sides)), ("Grid".to_owned(), message(shown)));
        assert_eq!(told(Shape::grid(sides, 3)).0, "Grid");
    }
}
