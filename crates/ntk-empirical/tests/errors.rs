//! Every public entry point refuses bad input with a typed error that says what to do; none panics.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use std::ops::ControlFlow;

use ndarray::{Array2, Array3, Array4, array};
use ntk_core::{
    Activation, Affine, Attention, Axes, Batch, ConvKind, Graphs, Groups, Interpolation, KernelFn, Layer,
    Net, PositionDecay, PositionEmbedding, Shape, Span, Variance, Which, Width, Window,
};
use ntk_empirical::candle_core::{DType, Device, Result as CandleResult, Tensor, Var};
use ntk_empirical::{
    Autograd, Error, FiniteNet, Loss, Lowering, Model, MonteCarlo, Parameters, TrainOptions, device,
};

fn mlp() -> Net {
    Net::mlp(1, Activation::Tanh, 2, Variance::ONE, Variance::ONE)
}

fn lowering() -> Lowering {
    Lowering { width: 4, ..Lowering::for_inputs(Shape::vector(3)) }
}

fn finite() -> FiniteNet {
    FiniteNet::lower(&mlp(), &lowering()).unwrap()
}

/// Checks the variant and that the message holds a phrase and follows the style.
macro_rules! refuses {
    ($($call:expr => $variant:pat, $phrase:literal;)*) => {$({
        let error = match $call {
            Ok(_) => panic!("{} was accepted", stringify!($call)),
            Err(error) => error,
        };
        assert!(matches!(&error, $variant), "{}: {error:?}", stringify!($call));
        let message = error.to_string();
        assert!(message.contains($phrase), "{message:?} lacks {:?}", $phrase);
        assert!(!message.ends_with('.'), "{message:?}");
    })*};
}

#[test]
fn descriptions_and_lowerings() {
    let lower = |net: Net| FiniteNet::lower(&net, &lowering());
    let custom = Activation::Custom { name: "mystery".into(), parameters: vec![] };
    let layer = Layer::Custom { name: "enigma".into(), parameters: vec![] };
    let wide = |w| Net::dense_with(Width::Fixed(w), ntk_core::Affine::new(Variance::ONE, Variance::ZERO));
    let half = |r| Net::dense_with(Width::Hidden(r), ntk_core::Affine::new(Variance::ONE, Variance::ZERO));
    let rounded = Net::sum([Net::concat([half(0.5), half(0.5)]), half(1.0)]);
    refuses! {
        lower(Net::activation(Activation::ExpNormalized { gamma: 1.0, shift: -1.0 })) => Error::NoFiniteNetwork { .. }, "exp_normalized";
        lower(Net::activation(custom)) => Error::UnknownActivation { .. }, "\"mystery\"";
        lower(Net::layer(layer)) => Error::UnknownLayer { .. }, "Rules::layer";
        lower(wide(0)) => Error::Net(ntk_core::Error::ZeroWidth), "at least one unit";
        lower(wide(2) + wide(5)) => Error::Net(ntk_core::Error::BranchWidths { .. }), "equal widths";
        lower(Net::sum([])) => Error::Net(ntk_core::Error::NoBranches { .. }), "at least one branch";
        lower(Net::activation(Activation::Rbf { gamma: f64::NAN })) => Error::Net(_), "gamma";
        FiniteNet::lower(&rounded, &Lowering { width: 5, ..lowering() }) => Error::Net(ntk_core::Error::BranchWidths { .. }), "6 and 5";
        FiniteNet::lower(&mlp(), &Lowering { width: 0, ..lowering() }) => Error::ZeroWidth, "at least 1";
        FiniteNet::lower(&mlp(), &Lowering { inputs: Shape::vector(0), ..lowering() }) => Error::Net(_), "at least one unit";
        FiniteNet::lower(&mlp(), &Lowering { dtype: DType::U8, ..lowering() }) => Error::DType { .. }, "f32 or f64";
        device("gpu") => Error::UnknownDevice { .. }, "cuda:1";
        device("cuda:x") => Error::UnknownDevice { .. }, "cuda:x";
        device("cpu:0") => Error::UnknownDevice { .. }, "cpu:0";
    }
    #[cfg(not(any(feature = "cuda", feature = "metal")))]
    refuses! {
        device("cuda") => Error::Device { .. }, "does not open";
        device("metal:1") => Error::Device { .. }, "metal:1";
    }
}

#[test]
fn inputs_and_cotangents() {
    let net = finite();
    let (good, narrow) = (Array2::<f64>::ones((2, 3)), Array2::<f64>::ones((2, 2)));
    let (empty, mut bad) = (Array2::<f64>::ones((0, 3)), good.clone());
    bad[[1, 2]] = f64::NAN;
    let loud = Net::mlp(1, Activation::Exp { a: 1.0, b: 1e6 }, 1, Variance::ONE, Variance::ONE);
    let loud = FiniteNet::lower(&loud, &lowering()).unwrap();
    let constant = Net::layer(Layer::LayerNorm { axes: ntk_core::Axes::Channels, epsilon: 0.0 });
    let constant = FiniteNet::lower(&constant, &lowering()).unwrap();
    refuses! {
        net.outputs((&narrow).into()) => Error::Features { expected: 3, found: 2 }, "3 features, not 2";
        net.outputs((&empty).into()) => Error::Net(ntk_core::Error::EmptyBatch { .. }), "(0, 3)";
        net.outputs((&bad).into()) => Error::Net(ntk_core::Error::NonFiniteInput { .. }), "sample 1, feature 2";
        net.ntk_blocks((&good).into(), (&narrow).into()) => Error::Net(ntk_core::Error::Features { .. }), "3 and 2";
        net.ntk_layers((&bad).into(), (&good).into()) => Error::Net(_), "not finite";
        net.block((&good).into(), (&bad).into(), Which::Both) => Error::Net(_), "not finite";
        net.symmetric((&empty).into(), Which::Ntk) => Error::Net(_), "at least one sample";
        net.output_gram((&narrow).into(), (&narrow).into()) => Error::Features { .. }, "not 2";
        net.vjp((&good).into(), good.view()) => Error::Targets { expected: (2, 2), found: (2, 3) }, "(2, 2), not (2, 3)";
        net.vjp((&good).into(), array![[1.0, f64::NAN], [0.0, 0.0]].view()) => Error::Target { .. }, "sample 0, output 1";
        net.jvp((&good).into(), &Parameters::new()) => Error::MissingParameter { .. }, "0.weight";
        net.linearize().unwrap().outputs((&narrow).into()) => Error::Features { .. }, "not 2";
        net.linearize().unwrap().set_omega(&Parameters::new()) => Error::MissingParameter { .. }, "missing";
        loud.outputs((&good).into()) => Error::NonFinite { .. }, "an output is not finite";
        loud.symmetric((&good).into(), Which::Ntk) => Error::NonFinite { .. }, "the tangent kernel is not finite";
        constant.outputs((&good).into()) => Error::NonFinite { .. }, "ε = 0";
    }
}

#[test]
fn parameters_and_files() {
    let (mut net, good) = (finite(), finite().parameters().unwrap());
    let with = |name: &str, values: Array2<f64>| {
        let mut parameters = good.clone();
        parameters.insert_array(name, &values).unwrap();
        parameters
    };
    let folder = std::env::temp_dir().join(format!("ntk-empirical-errors-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let whole = folder.join("whole.safetensors");
    net.save(&whole).unwrap();
    let bytes = std::fs::read(&whole).unwrap();
    let mut small = Parameters::new();
    small.insert_array("0.weight", &Array2::ones((3, 4))).unwrap();
    let partial = folder.join("partial.safetensors");
    small.save(&partial).unwrap();
    let truncated = file("truncated.safetensors", &bytes[..bytes.len() - 9]);
    let header = file("header.safetensors", &bytes[..20]);
    let nonsense = file("nonsense.safetensors", b"not a tensor at all");
    refuses! {
        net.set_parameters(&Parameters::new()) => Error::MissingParameter { .. }, "\"0.weight\"";
        net.set_parameters(&with("9.weight", array![[1.0]])) => Error::UnknownParameter { .. }, "\"9.weight\"";
        net.set_parameters(&with("0.weight", Array2::ones((4, 3)))) => Error::ParameterShape { .. }, "[3, 4], not [4, 3]";
        net.set_parameters(&with("0.weight", Array2::from_elem((3, 4), f64::INFINITY))) => Error::NonFiniteParameter { .. }, "0.weight";
        net.load(folder.join("absent")) => Error::File { .. }, "absent";
        net.load(&truncated) => Error::File { .. }, "truncated.safetensors";
        net.load(&header) => Error::File { .. }, "header.safetensors";
        net.load(&nonsense) => Error::File { .. }, "nonsense.safetensors";
        net.load(&partial) => Error::MissingParameter { .. }, "0.bias";
        net.save(folder.join("no").join("folder")) => Error::File { .. }, "folder";
        good.dot(&small) => Error::MissingParameter { .. }, "0.bias";
        small.dot(&with("0.weight", Array2::ones((4, 3)))) => Error::MissingParameter { .. }, "missing";
        good.dot(&with("0.weight", Array2::ones((4, 3)))) => Error::ParameterShape { .. }, "[4, 3]";
        good.array("nowhere") => Error::MissingParameter { .. }, "nowhere";
    }
    // After all that, nothing has changed, and the whole file reads back to the bit.
    let before = finite().outputs((&Array2::ones((1, 3))).into()).unwrap();
    assert_eq!(net.outputs((&Array2::ones((1, 3))).into()).unwrap(), before);
    let mut other = FiniteNet::lower(&mlp(), &Lowering { seed: 9, ..lowering() }).unwrap();
    other.load(&whole).unwrap();
    assert_eq!(other.outputs((&Array2::ones((1, 3))).into()).unwrap(), before);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn training() {
    let x = Array2::from_shape_fn((3, 3), |(i, j)| (i + 2 * j) as f64);
    let y = array![[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]];
    let train = |options: TrainOptions, y: &Array2<f64>| {
        finite().train(&options, (&x).into(), y.view(), |_| ControlFlow::Continue(()))
    };
    let descent = TrainOptions::descent;
    let entropy = || TrainOptions { loss: Loss::CrossEntropy, ..descent(0.1, 2) };
    refuses! {
        train(descent(0.0, 1), &y) => Error::Setting { option: "learning_rate", .. }, "above 0";
        train(descent(f64::NAN, 1), &y) => Error::Setting { option: "learning_rate", .. }, "NaN";
        train(TrainOptions { momentum: 1.0, ..descent(0.1, 1) }, &y) => Error::Setting { option: "momentum", .. }, "[0, 1)";
        train(TrainOptions { batch: Some(0), ..descent(0.1, 1) }, &y) => Error::Setting { option: "batch", .. }, "at least 1";
        train(descent(0.1, 1), &array![[1.0, 0.0]]) => Error::Targets { .. }, "(3, 2), not (1, 2)";
        train(descent(0.1, 1), &(&y * f64::INFINITY)) => Error::Target { .. }, "finite";
        train(entropy(), &(&y * 2.0)) => Error::Target { sample: 0, .. }, "probability";
        train(entropy(), &(&y * 0.5)) => Error::Target { sample: 0, .. }, "sums to 1";
        train(descent(1e200, 50), &y) => Error::Diverged { .. }, "lower the learning rate";
    }
    assert!(train(entropy(), &y).is_ok());
}

/// A model with a chosen output, or without variables.
struct Odd {
    weight: Option<Var>,
    columns: usize,
}

impl Model for Odd {
    fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        if self.columns == 0 { x.sum_all() } else { x.narrow(1, 0, self.columns) }
    }

    fn named_vars(&self) -> Vec<(String, Var)> {
        self.weight.iter().map(|var| ("weight".to_owned(), var.clone())).collect()
    }
}

/// A model whose rates do not fit.
struct Rated(Vec<f64>);

impl Model for Rated {
    fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        Ok(x.clone())
    }

    fn named_vars(&self) -> Vec<(String, Var)> {
        vec![("weight".to_owned(), Var::zeros((1, 1), DType::F64, &Device::Cpu).unwrap())]
    }

    fn rates(&self) -> Vec<f64> {
        self.0.clone()
    }
}

#[test]
fn models_and_estimates() {
    let weight = || Some(Var::zeros((1, 1), DType::F64, &Device::Cpu).unwrap());
    let x = array![[1.0, 2.0, 3.0]];
    let scalar = Autograd::new(Odd { weight: weight(), columns: 0 }).unwrap();
    let fine = Autograd::new(Odd { weight: weight(), columns: 2 }).unwrap();
    let elu = FiniteNet::lower(&Net::mlp(1, Activation::ELU, 1, Variance::ONE, Variance::ONE), &lowering())
        .unwrap();
    let monte_carlo = |max_draws, relative_error| MonteCarlo {
        relative_error,
        ..MonteCarlo::new(mlp(), lowering(), max_draws)
    };
    let bad =
        MonteCarlo::new(Net::activation(Activation::ExpNormalized { gamma: 1.0, shift: 0.0 }), lowering(), 4);
    refuses! {
        Autograd::new(Odd { weight: None, columns: 1 }) => Error::ModelVariables { vars: 0, rates: 0 }, "at least one variable";
        Autograd::new(Rated(vec![])) => Error::ModelVariables { vars: 1, rates: 0 }, "not 1 variables and 0 rates";
        Autograd::new(Rated(vec![-1.0])) => Error::Setting { option: "rate", .. }, "at least 0";
        scalar.symmetric((&x).into(), Which::Ntk) => Error::ModelOutput { .. }, "(n, outputs)";
        fine.jacobian((&array![[f64::NAN, 0.0]]).into()) => Error::Net(_), "not finite";
        fine.block((&x).into(), (&array![[1.0]]).into(), Which::Nngp) => Error::Net(_), "3 and 1";
        Autograd::new(&elu).unwrap().symmetric((&x).into(), Which::Ntk) => Error::Candle(_), "elu";
        monte_carlo(1, 0.0).symmetric((&x).into(), Which::Ntk) => Error::Setting { option: "max_draws", .. }, "at least 2";
        monte_carlo(8, -1.0).symmetric((&x).into(), Which::Ntk) => Error::Setting { option: "relative_error", .. }, "at least 0";
        monte_carlo(8, 0.0).block((&x).into(), (&array![[1.0]]).into(), Which::Ntk) => Error::Net(_), "3 and 1";
        bad.symmetric((&x).into(), Which::Ntk) => Error::NoFiniteNetwork { .. }, "infinite width only";
    }
}

#[test]
fn layers_over_positions() {
    let grid = |sides: &[usize], channels| Shape::grid(sides, channels).unwrap();
    let lower = |net: Net, inputs: Shape| {
        FiniteNet::lower(&net, &Lowering { width: 4, ..Lowering::for_inputs(inputs) })
    };
    let one = |layer: Layer| Net::layer(layer);
    let conv = |kind, window: Window, groups| {
        Net::conv_with(kind, Width::HIDDEN, Affine::new(Variance::ONE, Variance::ZERO), window, groups)
    };
    let shared = |window| conv(ConvKind::Shared, window, Groups::Count(1));
    let flat = || Net::flatten().then(Net::readout(1, Variance::ONE, Variance::ZERO));
    let far = PositionEmbedding {
        decay: PositionDecay::Exponential { scale: 5.0 },
        power: 4.0,
        ..PositionEmbedding::sum(Variance::ONE)
    };
    let spans = vec![Span { start: Some(7), stop: None, step: 1 }];
    let rows = vec![vec![1.0; 3]];
    refuses! {
        lower(shared(Window::valid(&[5, 5])), grid(&[4, 8], 3)) => Error::Net(ntk_core::Error::WindowSize { .. }), "5 positions";
        lower(shared(Window::same(&[3]).strides(&[0])), grid(&[4], 3)) => Error::Net(ntk_core::Error::WindowPart { .. }), "strides";
        lower(shared(Window::same(&[3])), grid(&[4, 4], 3)) => Error::Net(ntk_core::Error::Rank { .. }), "axes";
        lower(shared(Window::same(&[3])), Shape::vector(3)) => Error::Net(ntk_core::Error::Rank { .. }), "axes";
        lower(conv(ConvKind::Shared, Window::same(&[3]), Groups::Count(3)), grid(&[4], 3)) => Error::Net(ntk_core::Error::Groups { .. }), "groups";
        lower(conv(ConvKind::Shared, Window::same(&[3]), Groups::Depthwise), grid(&[4], 3)) => Error::Net(ntk_core::Error::Groups { .. }), "depthwise";
        lower(conv(ConvKind::Local, Window::same(&[3]), Groups::Count(2)), grid(&[4], 4)) => Error::Net(ntk_core::Error::NoGroups { .. }), "groups";
        lower(one(Layer::Index { spans }), grid(&[4], 3)) => Error::Net(ntk_core::Error::EmptyIndex { .. }), "none of its 4";
        lower(one(Layer::Linear { axis: 0, rows, remove: false }), grid(&[4], 3)) => Error::Net(ntk_core::Error::LinearSide { .. }), "4 positions";
        lower(one(Layer::Aggregate { axis: 1 }), grid(&[4], 3)) => Error::Net(ntk_core::Error::Axis { .. }), "no axis 1";
        lower(Net::join(0, [Net::identity(), Net::flatten()]), grid(&[4], 3)) => Error::Net(_), "axis 0";
        lower(Net::attention(Attention { position: Some(far), ..Attention::default() }), grid(&[9], 3)) => Error::Net(ntk_core::Error::LayerParameter { .. }), "power";
        lower(Net::dense(Variance::ONE, Variance::ZERO).then(Net::embedding(Variance::ONE)), grid(&[4], 3)) => Error::EmbeddingPlace, "first layer";
        lower(Net::embedding(Variance::ONE) + Net::dense(Variance::ONE, Variance::ZERO), grid(&[4], 3)) => Error::EmbeddingPlace, "every branch";
        lower(Net::activation(Activation::Tanh), grid(&[4], 0)) => Error::Net(_), "at least one unit";
    }
    let (x, tokens) = (Array3::<f64>::ones((2, 4, 3)), array![[0u32, 1, 2, 0]]);
    let (numbers, words) = (Batch::grid(x.view()).unwrap(), Batch::tokens(tokens.view(), 3).unwrap());
    let inputs = || grid(&[4], 3);
    let plain = lower(shared(Window::same(&[3])).then(flat()), inputs()).unwrap();
    let text = lower(Net::embedding(Variance::ONE).then(flat()), inputs()).unwrap();
    let graph = lower(one(Layer::Aggregate { axis: 0 }).then(flat()), inputs()).unwrap();
    let vectors = Array2::<f64>::ones((2, 12));
    let (edge, long) = (vec![vec![(0, 4, 1.0)]; 2], [5, 1]);
    let wide = lower(one(Layer::Aggregate { axis: 1 }).then(flat()), grid(&[4, 2], 3)).unwrap();
    let (image, beyond) = (Array4::<f64>::ones((2, 4, 2, 3)), vec![vec![(0, 3, 1.0)]; 2]);
    let image = Batch::grid(image.view()).unwrap();
    refuses! {
        plain.outputs((&vectors).into()) => Error::Positions { .. }, "[4], not []";
        plain.outputs(words) => Error::RefusesTokens, "Net::embedding";
        plain.outputs(numbers.with_lengths(&long)) => Error::Net(ntk_core::Error::Length { .. }), "length 5";
        text.outputs(numbers) => Error::NeedsTokens, "Batch::tokens";
        plain.ntk_blocks(numbers, words) => Error::Net(ntk_core::Error::Batches { .. }), "same kind";
        graph.outputs(numbers) => Error::NeedsGraphs, "with_graphs";
        graph.forward(&Tensor::ones((2, 12), DType::F64, &Device::Cpu).unwrap()) => Error::NeedsGraphs, "with_graphs";
        graph.outputs(numbers.with_graphs(Graphs::Sparse(&edge))) => Error::Net(ntk_core::Error::Edge { .. }), "0 → 4";
        wide.outputs(image.with_graphs(Graphs::Sparse(&beyond))) => Error::Net(ntk_core::Error::Edge { nodes: 2, .. }), "its 2 nodes";
        wide.outputs(image.with_lengths(&[1, 1])) => Error::Net(ntk_core::Error::LengthGrid { .. }), "one axis";
        Autograd::new(&plain).unwrap().jacobian(numbers.with_lengths(&[1, 2])) => Error::ModelInput { .. }, "not lengths";
        Autograd::new(&plain).unwrap().jacobian(numbers.with_graphs(Graphs::Sparse(&beyond))) => Error::ModelInput { .. }, "not graphs";
    }
    // Layers that have no meaning beyond a length, by name; after the positions have ended, all do.
    let resize = || one(Layer::Resize { sides: vec![Some(2)], interpolation: Interpolation::Linear });
    let whole = Span::ALL;
    for (net, name) in [
        (shared(Window::circular(&[3])), "conv"),
        (conv(ConvKind::Transposed, Window::same(&[3]), Groups::Count(1)), "conv_transpose"),
        (conv(ConvKind::Local, Window::same(&[3]), Groups::Count(1)), "conv_local"),
        (Net::average_pool(Window::circular(&[2])), "average_pool"),
        (one(Layer::Index { spans: vec![whole] }), "index"),
        (resize(), "resize"),
        (one(Layer::Linear { axis: 0, rows: vec![vec![1.0; 4]], remove: true }), "linear"),
        (one(Layer::LayerNorm { axes: Axes::All, epsilon: 0.1 }), "layer_norm"),
        (Net::join(0, [Net::identity(), Net::identity()]), "join"),
    ] {
        let net = lower(net.then(flat()), inputs()).unwrap();
        assert!(net.outputs(numbers).is_ok(), "{name}");
        let error = net.outputs(numbers.with_lengths(&[1, 2])).unwrap_err();
        assert!(matches!(&error, Error::Lengths { layer } if layer == name), "{name}: {error}");
    }
    let ended = Net::global_average_pool().then(one(Layer::LayerNorm { axes: Axes::All, epsilon: 0.1 }));
    assert!(lower(ended, inputs()).unwrap().outputs(numbers.with_lengths(&[1, 2])).is_ok());
}
