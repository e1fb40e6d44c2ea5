//! Attribution against training again, and projected gradients against the kernel that they estimate.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::{Array1, Array2, Array4, ArrayView2, Axis, array, concatenate, s};
use ntk_core::{Activation, Batch, KernelFn, Net, Shape, Variance, Which};
use ntk_empirical::{
    Attribution, Autograd, Error, FiniteNet, Lowering, Mode, Projection, Trak, blocks_as_matrix,
};
use ntk_linalg::{Cholesky, Symmetric};

mod common;
use common::{cases, close, numbers};

const RIDGE: f64 = 0.05;

fn network(outputs: usize) -> FiniteNet {
    let net = Net::mlp(2, Activation::Tanh, outputs, Variance::TWO, Variance::new(0.2).unwrap());
    FiniteNet::lower(&net, &Lowering { width: 24, seed: 3, ..Lowering::for_inputs(Shape::vector(3)) })
        .unwrap()
}

fn shifted(mut k: Array2<f64>) -> Symmetric {
    k.diag_mut().iter_mut().for_each(|v| *v += RIDGE);
    Symmetric::new(k).unwrap()
}

/// Predictions of kernel regression on the samples that are kept; blocks (n, n, o, o), (m, n, o, o), residual (n, o).
fn regression(
    blocks: &Array4<f64>,
    cross: &Array4<f64>,
    residual: &Array2<f64>,
    kept: &[usize],
) -> Array2<f64> {
    let (theta, cross) = (blocks.select(Axis(0), kept).select(Axis(1), kept), cross.select(Axis(1), kept));
    let residual = residual.select(Axis(0), kept);
    let o = residual.ncols();
    let right = residual.into_shape_with_order((kept.len() * o, 1)).unwrap();
    let alpha = Cholesky::new(shifted(blocks_as_matrix(&theta))).unwrap().solve(right.view()).unwrap();
    let f = blocks_as_matrix(&cross).dot(&alpha);
    f.into_shape_with_order((cross.len_of(Axis(0)), o)).unwrap()
}

#[test]
fn shares_add_up_and_leaving_out_is_training_again() {
    let (n, m) = (7, 4);
    let (x, new) = (numbers(n, 3, 1), numbers(m, 3, 5));
    for o in [1, 3] {
        let net = network(o);
        let residual = numbers(n, o, 2) - net.outputs((&x).into()).unwrap();
        let theta = net.ntk_blocks((&x).into(), (&x).into()).unwrap();
        let cross = net.ntk_blocks((&new).into(), (&x).into()).unwrap();
        let attribution = Attribution::new(blocks_as_matrix(&theta), residual.view(), RIDGE).unwrap();
        let cross_matrix = blocks_as_matrix(&cross);
        let all: Vec<usize> = (0..n).collect();
        let full = regression(&theta, &cross, &residual, &all);
        let shares = attribution.representers(cross_matrix.view()).unwrap();
        close("shares", &shares.sum_axis(Axis(1)), &full, 1e-12);
        let changes = attribution.leave_one_out(cross_matrix.view()).unwrap();
        for i in 0..n {
            let kept: Vec<usize> = all.iter().copied().filter(|&j| j != i).collect();
            let without = regression(&theta, &cross, &residual, &kept);
            let change = changes.slice(s![.., i, ..]).to_owned();
            close("leave one out", &(&change + &full), &without, 1e-11);
            close("its change", &change, &(without - &full), 1e-9);
        }
    }
}

#[test]
fn one_kernel_for_all_outputs_is_one_regression_for_each() {
    let (x, new, y) = (numbers(6, 3, 1), numbers(2, 3, 4), numbers(6, 2, 9));
    let net = network(2);
    let kernel =
        |a: &Array2<f64>, b: &Array2<f64>| net.block(a.into(), b.into(), Which::Ntk).unwrap().ntk.unwrap();
    let (theta, cross) = (net.symmetric((&x).into(), Which::Ntk).unwrap().ntk.unwrap(), kernel(&new, &x));
    let both = Attribution::new(theta.clone(), y.view(), RIDGE).unwrap();
    for c in 0..2 {
        let one = Attribution::new(theta.clone(), y.slice(s![.., c..=c]), RIDGE).unwrap();
        for (all, alone) in [
            (both.representers(cross.view()), one.representers(cross.view())),
            (both.leave_one_out(cross.view()), one.leave_one_out(cross.view())),
        ] {
            close(
                "output",
                &all.unwrap().slice(s![.., .., c]).to_owned(),
                &alone.unwrap().remove_axis(Axis(2)),
                1e-13,
            );
        }
    }
    // Leave-one-out cross-validation: y_i − f₋ᵢ(x_i) = α_i/G_ii, which is without the sample's own noise.
    let itself = both.leave_one_out(theta.view()).unwrap();
    let fitted = theta.dot(&both.alpha());
    let inverse = Cholesky::new(shifted(theta.clone())).unwrap().solve(Array2::eye(6).view()).unwrap();
    for i in 0..6 {
        let residual = y[[i, 0]] - fitted[[i, 0]] - itself[[i, i, 0]];
        assert!((residual - both.alpha()[[i, 0]] / inverse[[i, i]]).abs() < 1e-11);
    }
}

#[test]
fn scores_are_a_ridge_regression_on_features() {
    let (n, k) = (9, 4);
    let (phi, query, y) =
        (numbers(n, k, 0), numbers(3, k, 8), Array1::from_iter((0..n).map(|i| (i as f64).cos())));
    let trak = Trak::new(phi.clone(), RIDGE).unwrap();
    // φ (ΦᵀΦ + λ)⁻¹ Φᵀ = φ Φᵀ (ΦΦᵀ + λ)⁻¹: the weights of the kernel regression with the kernel of the features.
    let inverse = Cholesky::new(shifted(phi.dot(&phi.t()))).unwrap().solve(Array2::eye(n).view()).unwrap();
    let expected = query.dot(&phi.t()).dot(&inverse);
    close("scores", &trak.scores(query.view()).unwrap(), &expected, 1e-12);
    let weighted = trak.with_weights(y.view()).unwrap().scores(query.view()).unwrap();
    let prediction = expected.dot(&y);
    assert!(weighted.sum_axis(Axis(1)).iter().zip(&prediction).all(|(a, b)| (a - b).abs() < 1e-12));
}

/// Jᵀ u of each sample, times the projection written out.
fn explicit(net: &FiniteNet, x: Batch<'_>, u: ArrayView2<'_, f64>, projection: &Projection) -> Array2<f64> {
    let (jacobian, o) = Autograd::new(net).unwrap().jacobian(x).unwrap();
    let gradients = Array2::from_shape_fn((x.len(), jacobian.ncols()), |(i, p)| {
        (0..o).map(|c| u[[i, c]] * jacobian[[i * o + c, p]]).sum()
    });
    let parameters = net.parameters().unwrap();
    let matrices: Vec<Array2<f64>> = net
        .parameter_names()
        .iter()
        .map(|name| projection.matrix(name, parameters.get(name).unwrap().elem_count()))
        .collect();
    gradients.dot(&concatenate(Axis(0), &matrices.iter().map(|m| m.view()).collect::<Vec<_>>()).unwrap())
}

#[test]
fn streamed_projection_is_the_explicit_one() {
    let projection = Projection { dimension: 150, seed: 4 };
    for case in cases().iter().filter(|case| case.plain() && !case.dropout) {
        let net = case.lowered(2, Mode::Evaluation);
        let u = numbers(case.batch().len(), net.output_width(), 3);
        let streamed = net.projected_gradients(case.batch(), u.view(), &projection).unwrap();
        close(&case.name, &streamed, &explicit(&net, case.batch(), u.view(), &projection), 1e-10);
        let reverse = Autograd::new(&net).unwrap();
        let reverse = reverse.projected_gradients(case.batch(), u.view(), &projection).unwrap();
        close(&case.name, &reverse, &streamed, 1e-10);
    }
}

#[test]
fn tiles_change_nothing_and_seeds_repeat() {
    let (net, x) = (network(2), numbers(70, 3, 1));
    let u = numbers(70, 2, 2);
    let projection = Projection { dimension: 33, seed: 4 };
    let all = net.projected_gradients((&x).into(), u.view(), &projection).unwrap();
    assert_eq!(all, net.projected_gradients((&x).into(), u.view(), &projection).unwrap());
    let model = Autograd::new(&net).unwrap().with_memory(3 * 8 * net.parameter_count());
    close("tiles", &model.projected_gradients((&x).into(), u.view(), &projection).unwrap(), &all, 1e-12);
    let other = Projection { seed: 5, ..projection };
    let other = net.projected_gradients((&x).into(), u.view(), &other).unwrap();
    assert!((&all - &other).iter().all(|d| d.abs() > 0.0));
    // The first columns of more are the columns of fewer, but for the scale.
    let more = Projection { dimension: 200, ..projection };
    let more = net.projected_gradients((&x).into(), u.view(), &more).unwrap();
    let first = more.slice(s![.., ..33]).mapv(|v| v * (200.0_f64 / 33.0).sqrt());
    close("columns", &first, &all, 1e-12);
}

#[test]
fn projected_gram_tends_to_the_kernel() {
    let (net, x) = (network(1), numbers(6, 3, 1));
    let theta = net.symmetric((&x).into(), Which::Ntk).unwrap().ntk.unwrap();
    let ones = Array2::ones((6, 1));
    let (dimensions, seeds) = ([32, 64, 128, 256, 512, 1024], 24);
    let mut points = Vec::new();
    for dimension in dimensions {
        let mut square = 0.0;
        for seed in 0..seeds {
            let phi = net
                .projected_gradients(
                    (&x).into(),
                    ones.view(),
                    &Projection { dimension, seed: 1000 * dimension as u64 + seed },
                )
                .unwrap();
            let error = phi.dot(&phi.t()) - &theta;
            square += error.iter().map(|v| v * v).sum::<f64>() / theta.iter().map(|v| v * v).sum::<f64>();
        }
        points.push(((dimension as f64).ln(), (square / f64::from(seeds as u32)).ln() / 2.0));
    }
    let (mean_x, mean_y) = points
        .iter()
        .fold((0.0, 0.0), |(a, b), (x, y)| (a + x / points.len() as f64, b + y / points.len() as f64));
    let xx: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let slope = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>() / xx;
    let spread: f64 = points.iter().map(|(x, y)| (y - mean_y - slope * (x - mean_x)).powi(2)).sum();
    let error = (spread / (points.len() - 2) as f64 / xx).sqrt();
    println!("rate {slope:.3} ± {error:.3}");
    assert!((slope + 0.5).abs() < 0.1 + 3.0 * error, "rate {slope} ± {error}");
    assert!(error < 0.05, "rate {slope} ± {error}");
}

#[test]
fn bad_input_is_refused() {
    let (net, x, one) = (network(1), numbers(3, 3, 1), Array2::<f64>::ones((3, 1)));
    let theta = net.symmetric((&x).into(), Which::Ntk).unwrap().ntk.unwrap();
    let good = Attribution::new(theta.clone(), one.view(), 0.1).unwrap();
    let none = Projection { dimension: 0, seed: 0 };
    let some = Projection { dimension: 4, seed: 0 };
    macro_rules! refuses {
        ($($call:expr => $variant:pat, $phrase:literal;)*) => {$({
            let error = $call.map(|_| ()).unwrap_err();
            assert!(matches!(&error, $variant), "{}: {error:?}", stringify!($call));
            assert!(error.to_string().contains($phrase), "{error}");
        })*};
    }
    refuses! {
        Attribution::new(Array2::eye(4), one.view(), 0.1) => Error::MatrixShape { .. }, "(3, 3), not (4, 4)";
        Attribution::new(array![[1.0, 2.0], [2.0, 1.0]], numbers(2, 1, 0).view(), 0.0) => Error::Linalg(_), "positive definite";
        Attribution::new(theta.clone(), one.view(), -0.1) => Error::Setting { option: "ridge", .. }, "at least 0";
        Attribution::new(theta.clone(), (&one * f64::NAN).view(), 0.1) => Error::Target { .. }, "finite";
        good.representers(Array2::eye(4).view()) => Error::MatrixShape { .. }, "(4, 3), not (4, 4)";
        good.leave_one_out((&theta * f64::INFINITY).view()) => Error::NonFinite { .. }, "influence";
        Trak::new(numbers(3, 5, 0), 0.0) => Error::Linalg(_), "positive definite";
        Trak::new(numbers(3, 5, 0), f64::NAN) => Error::Setting { option: "ridge", .. }, "at least 0";
        Trak::new(numbers(3, 5, 0), 0.1).unwrap().scores(numbers(1, 4, 0).view()) => Error::MatrixShape { .. }, "(1, 5), not (1, 4)";
        Trak::new(numbers(3, 5, 0), 0.1).unwrap().with_weights(array![1.0].view()) => Error::MatrixShape { .. }, "weights";
        net.projected_gradients((&x).into(), one.view(), &none) => Error::Setting { option: "dimension", .. }, "at least 1";
        net.projected_gradients((&x).into(), x.view(), &some) => Error::Targets { .. }, "(3, 1), not (3, 3)";
        Autograd::new(&net).unwrap().projected_gradients((&x).into(), x.view(), &some) => Error::Targets { .. }, "(3, 1)";
        Autograd::new(&net).unwrap().with_memory(8).projected_gradients((&x).into(), one.view(), &some) => Error::ModelMemory { .. }, "with_memory";
    }
}
