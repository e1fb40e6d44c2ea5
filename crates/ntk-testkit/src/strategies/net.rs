//! Fully connected networks whose widths fit for every input: with a known limit, and any at all.

use ntk_core::{Affine, DropRate, Law, Net, Rate, Variance, Width};
use proptest::prelude::*;

use super::tame_activation;

/// Variances in [0, 4), often 0, 1 or 2.
pub fn variance() -> impl Strategy<Value = Variance> + Clone {
    prop_oneof![
        Just(Variance::ZERO),
        Just(Variance::ONE),
        Just(Variance::TWO),
        (0.0..4.0f64).prop_map(|v| Variance::new(v).unwrap_or(Variance::ONE)),
    ]
}

/// Affine layers in NTK parameterization with σ_w² in [0.5, 2.5), with and without bias, at times with rates that
/// differ from one.
pub fn affine() -> impl Strategy<Value = Affine> + Clone {
    let weight = (0.5..2.5f64).prop_map(|v| Variance::new(v).unwrap_or(Variance::ONE));
    let bias = prop_oneof![
        Just(Variance::ZERO),
        (0.01..1.0f64).prop_map(|v| Variance::new(v).unwrap_or(Variance::ONE))
    ];
    let rate = || {
        prop_oneof![
            4 => Just(None),
            1 => prop_oneof![Just(0.0), 0.1..3.0f64].prop_map(|rate| Rate::new(rate).ok()),
        ]
    };
    (weight, bias, rate(), rate()).prop_map(|(weight, bias, weight_rate, bias_rate)| {
        let plain = Affine::new(weight, bias);
        Affine {
            weight_rate: weight_rate.unwrap_or(plain.weight_rate),
            bias_rate: bias_rate.unwrap_or(plain.bias_rate),
            ..plain
        }
    })
}

fn dense() -> impl Strategy<Value = Net> + Clone {
    affine().prop_map(|affine| Net::dense_with(Width::HIDDEN, affine))
}

fn phi() -> impl Strategy<Value = Net> + Clone {
    tame_activation().prop_map(Net::activation)
}

/// Networks whose infinite-width limit is known, up to a readout of one to three outputs.
///
/// Every nonlinearity and layer norm reads the output of an affine layer (or a sum of such), and at most one branch
/// of a sum or product is correlated with the others, in the sense of [`ntk_core::Facts::uncorrelated`]. Chains,
/// residual connections, sums, products, concatenations and layer norm occur; dropout does not.
pub fn analytic_net() -> impl Strategy<Value = Net> {
    // From here on a block maps n channels to n channels, Gaussian to Gaussian.
    let leaf = prop_oneof![
        4 => (phi(), dense()).prop_map(|(phi, dense)| phi.then(dense)),
        1 => (phi(), dense()).prop_map(|(phi, dense)| Net::layer_norm().then(phi).then(dense)),
    ];
    let block = leaf.prop_recursive(3, 12, 3, |inner| {
        let branches = || prop::collection::vec(inner.clone(), 2..=3);
        prop_oneof![
            3 => branches().prop_map(Net::serial),
            3 => fresh(inner.clone()).prop_map(Net::residual),
            1 => (branches(), dense()).prop_map(|(nets, dense)| Net::sum(decorrelated(nets, &dense))),
            // A nonlinearity beside a branch of its own weights: not Gaussian, so an affine layer follows.
            1 => (phi(), fresh(inner.clone()), dense())
                .prop_map(|(phi, net, dense)| Net::sum([phi, net]).then(dense)),
            1 => (branches(), dense())
                .prop_map(|(nets, dense)| Net::product(decorrelated(nets, &dense)).then(dense)),
            1 => (branches(), dense()).prop_map(|(nets, dense)| Net::concat(nets).then(dense)),
        ]
    });
    (dense(), block, phi(), readout())
        .prop_map(|(dense, block, phi, readout)| Net::serial([dense, block, phi, readout]))
}

/// Networks of every kind whose widths fit for every input, a known limit or not: also nonlinearities in a row, sums
/// of dependent branches, dropout and standard parameterization. All of them are meaningful at finite width.
pub fn any_net() -> impl Strategy<Value = Net> {
    let dropout = (0.0..0.9f64).prop_map(|rate| DropRate::new(rate).map_or(Net::identity(), Net::dropout));
    let leaf = prop_oneof![
        4 => phi(),
        4 => dense(),
        2 => Just(Net::identity()),
        1 => Just(Net::layer_norm()),
        1 => dropout,
    ];
    let block = leaf.prop_recursive(4, 24, 3, |inner| {
        let branches = || prop::collection::vec(inner.clone(), 1..=3);
        prop_oneof![
            3 => branches().prop_map(Net::serial),
            2 => inner.clone().prop_map(Net::residual),
            1 => branches().prop_map(Net::sum),
            1 => branches().prop_map(Net::product),
            1 => (branches(), dense()).prop_map(|(nets, dense)| Net::concat(nets).then(dense)),
        ]
    });
    let net =
        (dense(), block, readout()).prop_map(|(dense, block, readout)| Net::serial([dense, block, readout]));
    prop_oneof![3 => net.clone(), 1 => (net, 1usize..20).prop_map(|(net, n)| net.standard().at_width(n))]
}

pub(super) fn readout() -> impl Strategy<Value = Net> + Clone {
    (1usize..=3, affine()).prop_map(|(outputs, affine)| Net::dense_with(Width::Fixed(outputs), affine))
}

/// Blocks that end in weights of their own.
fn fresh(block: impl Strategy<Value = Net> + Clone) -> impl Strategy<Value = Net> + Clone {
    (block, dense()).prop_map(|(net, dense)| if net.facts().uncorrelated() { net } else { net.then(dense) })
}

/// The same branches, all correlated ones but the first ended in weights of their own.
fn decorrelated(nets: Vec<Net>, dense: &Net) -> Vec<Net> {
    let mut correlated = 0;
    let ended = nets.into_iter().map(|net| {
        correlated += usize::from(!net.facts().uncorrelated());
        if correlated > 1 || net.facts().law == Law::Other { net.then(dense.clone()) } else { net }
    });
    ended.collect()
}
