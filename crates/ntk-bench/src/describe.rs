//! What can be asked about the project itself: the format of network files, and what each interpretation knows.

mod schema;
mod support;

use ntk_core::{Activation, DropRate, Layer, Net, Variance};

pub use schema::schema;
pub use support::support;

/// One value of every activation.
fn activations() -> Vec<Activation> {
    use Activation as A;
    let (name, parameters) = ("my_activation".to_owned(), vec![1.0]);
    vec![
        A::Relu,
        A::LeakyRelu { alpha: 0.1 },
        A::Abs,
        A::AbRelu { a: -0.5, b: 1.0 },
        A::Step,
        A::Sign,
        A::ERF,
        A::SigmoidLike,
        A::Gelu,
        A::SIN,
        A::COS,
        A::Rbf { gamma: 0.5 },
        A::Exp { a: 1.0, b: 0.5 },
        A::Gaussian { a: 1.0, b: -0.5 },
        A::Gabor,
        A::ExpNormalized { gamma: 1.0, shift: -1.0 },
        A::Hermite { degree: 3 },
        A::Monomial { degree: 2 },
        A::Polynomial { coefficients: vec![0.5, 1.0, -0.25] },
        A::RectifiedMonomial { degree: 2 },
        A::Tanh,
        A::Sigmoid,
        A::Softplus,
        A::Silu,
        A::Mish,
        A::ELU,
        A::Selu,
        A::HardTanh,
        A::HardSigmoid,
        A::Relu6,
        A::Custom { name, parameters },
    ]
}

/// Layers and combinators, each in the smallest network that shows it.
fn networks() -> Vec<(&'static str, Net)> {
    let dense = || Net::dense(Variance::TWO, Variance::ONE);
    let relu = || Net::activation(Activation::Relu);
    let readout = || Net::readout(1, Variance::ONE, Variance::ZERO);
    let branch = || dense().then(relu()).then(dense());
    let standard = || Net::mlp(2, Activation::Relu, 1, Variance::TWO, Variance::ONE).standard();
    // Each of these numbers lies in the domain of its type, so nothing is left out.
    let dropout = DropRate::new(0.5).map(Net::dropout).unwrap_or_else(|_| Net::identity());
    let custom = Net::layer(Layer::Custom { name: "my_layer".to_owned(), parameters: vec![1.0] });
    vec![
        ("dense, NTK parameterization", readout()),
        ("dense, standard parameterization, hidden width n", standard()),
        ("dense, standard parameterization, fixed width", standard().at_width(64)),
        ("serial chain", dense().then(relu()).then(readout())),
        ("activation after activation", dense().then(relu()).then(relu()).then(readout())),
        ("layer normalization after dense", dense().then(Net::layer_norm()).then(relu()).then(readout())),
        ("layer normalization of the input", Net::layer_norm().then(readout())),
        ("dropout after an activation", dense().then(relu()).then(dropout.clone()).then(readout())),
        ("dropout of the input", dropout.then(readout())),
        ("residual block", dense().then(branch().residual()).then(relu()).then(readout())),
        ("residual block without weights at its end", dense().then(relu().residual()).then(readout())),
        ("sum of branches", (branch() + branch()).then(relu()).then(readout())),
        ("product of branches", Net::product([branch(), branch()]).then(readout())),
        ("concatenation of branches", Net::concat([branch(), branch()]).then(readout())),
        ("custom layer without a rule", dense().then(custom).then(readout())),
    ]
}
