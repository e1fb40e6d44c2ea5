//! Theorems about infinite-width kernels, on random networks and inputs.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::{Array2, ShapeBuilder, s};
use ntk_analytic::Analytic;
use ntk_core::{Activation, Batch, DropRate, KernelFn, Net, Variance, Which};
use ntk_testkit::{cases, laws, strategies};
use proptest::prelude::*;

fn both(net: Net, x: &Array2<f64>) -> (Array2<f64>, Array2<f64>) {
    let block = Analytic::new(net).unwrap().symmetric(x.into(), Which::Both).unwrap();
    (block.nngp.unwrap(), block.ntk.unwrap())
}

/// The largest |a − b| relative to √(bᵢᵢbⱼⱼ).
fn distance(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    let diagonal = b.diag().to_owned();
    let worst = a.indexed_iter().map(|((i, j), a)| {
        let error = (a - b[[i, j]]).abs();
        if error == 0.0 { 0.0 } else { error / (diagonal[i] * diagonal[j]).sqrt() }
    });
    worst.fold(0.0, f64::max)
}

fn variance(v: f64) -> Variance {
    Variance::new(v).unwrap()
}

fn homogeneous_net(depth: usize, phi: &Activation) -> Net {
    Net::mlp(depth, phi.clone(), 1, variance(1.7), Variance::ZERO)
}

/// An orthogonal matrix: the reflection that exchanges the directions of e₀ and v.
fn reflection(d: usize, seed: u64) -> Array2<f64> {
    let v: Vec<f64> = (0..d).map(|i| ((seed as f64 + 1.0) * (i as f64 + 0.7)).sin()).collect();
    let norm: f64 = v.iter().map(|v| v * v).sum();
    Array2::from_shape_fn((d, d), |(i, j)| f64::from(i == j) - 2.0 * v[i] * v[j] / norm)
}

proptest! {
    // Each case asks for some twenty kernels, and a kinked activation at many variances is slow.
    #![proptest_config(cases(12))]

    #[test]
    fn analytic_kernels_obey_every_law(net in strategies::analytic_net(), x in strategies::inputs()) {
        laws::check_kernel_fn(&Analytic::new(net).unwrap(), (&x).into())?;
    }

    #[test]
    fn nasty_inputs_break_no_law(net in strategies::analytic_net(), x in strategies::nasty_inputs()) {
        laws::check_kernel_fn(&Analytic::new(net).unwrap(), (&x).into())?;
    }

    #[test]
    fn kernels_do_not_see_rotations(net in strategies::analytic_net(), x in strategies::inputs(), seed in 0u64..100) {
        let turned = x.dot(&reflection(x.ncols(), seed));
        let (before, after) = (both(net.clone(), &x), both(net, &turned));
        prop_assert!(distance(&after.0, &before.0) < 1e-10, "NNGP");
        prop_assert!(distance(&after.1, &before.1) < 1e-10, "NTK");
    }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn homogeneous_kernels_scale_with_the_input(
        phi in strategies::homogeneous_activation(), x in strategies::inputs(), depth in 1usize..4, c in 0.1f64..10.0,
    ) {
        let (mut scaled, row) = (x.clone(), 0);
        scaled.row_mut(row).mapv_inplace(|v| c * v);
        let (k, t) = both(homogeneous_net(depth, &phi), &x);
        let (kc, tc) = both(homogeneous_net(depth, &phi), &scaled);
        for (before, after) in [(k, kc), (t, tc)] {
            let mut expected = before;
            expected.row_mut(row).mapv_inplace(|v| c * v);
            expected.column_mut(row).mapv_inplace(|v| c * v);
            prop_assert!(distance(&after, &expected) < 1e-10);
        }
    }

    #[test]
    fn linear_networks_have_an_ntk_of_depth_times_nngp(x in strategies::inputs(), depth in 1usize..6, w in 0.1f64..3.0) {
        let identity = Activation::Monomial { degree: 1 };
        let (k, t) = both(Net::mlp(depth, identity, 1, variance(w), Variance::ZERO), &x);
        let second_moments = x.dot(&x.t()) / x.ncols() as f64;
        prop_assert!(distance(&k, &(second_moments * w.powi(depth as i32 + 1))) < 1e-12);
        prop_assert!(distance(&t, &(k * (depth as f64 + 1.0))) < 1e-12);
    }

    #[test]
    fn ntk_exceeds_nngp_by_a_kernel(x in strategies::inputs(), phi in strategies::tame_activation(), depth in 1usize..4) {
        let (k, t) = both(Net::mlp(depth, phi, 1, variance(1.3), variance(0.2)), &x);
        let scale = t.diag().sum();
        let values = ntk_linalg::eigenvalues(&ntk_linalg::Symmetric::new(t - k).unwrap()).unwrap();
        prop_assert!(values[0] >= -1e-10 * scale, "smallest eigenvalue {}", values[0]);
    }

    #[test]
    fn independent_branches_add(x in strategies::inputs(), a in 0.1f64..2.0, b in 0.1f64..2.0) {
        let branch = |w| Net::dense(variance(w), Variance::ZERO);
        let (k, t) = both(branch(a) + branch(b), &x);
        let (whole, whole_t) = both(branch(a + b), &x);
        prop_assert!(distance(&k, &whole) < 1e-12 && distance(&t, &whole_t) < 1e-12);
    }

    #[test]
    fn dropout_multiplies_the_diagonal_by_one_over_keep(x in strategies::inputs(), drop in 0.0f64..0.9) {
        let net = |drop| {
            Net::dense(variance(1.5), variance(0.1))
                .then(Net::activation(Activation::Relu))
                .then(Net::dropout(DropRate::new(drop).unwrap()))
                .then(Net::readout(1, Variance::ONE, Variance::ZERO))
        };
        let ((k0, t0), (k, t)) = (both(net(0.0), &x), both(net(drop), &x));
        for (before, after) in [(k0, k), (t0, t)] {
            for ((i, j), &value) in before.indexed_iter() {
                let expected = if i == j { value / (1.0 - drop) } else { value };
                prop_assert!((after[[i, j]] - expected).abs() <= 1e-12 * expected.abs().max(1e-3));
            }
        }
    }

    #[test]
    fn layer_norm_gives_unit_variances(x in strategies::inputs()) {
        let (k, _) = both(Net::dense(variance(1.5), variance(0.3)).then(Net::layer_norm()), &x);
        prop_assert!(k.diag().iter().all(|v| (v - 1.0).abs() < 1e-11));
    }

    #[test]
    fn a_frozen_layer_enters_the_nngp_alone(x in strategies::inputs()) {
        use ntk_core::{Layer, Rate};
        let net = Net::mlp(2, Activation::ERF, 1, variance(1.5), variance(0.3));
        let frozen = net.clone().map_layers(&|layer| match layer {
            Layer::Dense { width, mut affine } => {
                (affine.weight_rate, affine.bias_rate) = (Rate::FROZEN, Rate::FROZEN);
                Layer::Dense { width, affine }
            }
            other => other,
        });
        let ((k, _), (kf, tf)) = (both(net, &x), both(frozen, &x));
        prop_assert!(distance(&kf, &k) == 0.0 && tf.iter().all(|&v| v == 0.0));
    }
}

#[test]
fn blocks_are_parts_of_the_symmetric_kernel_across_tiles() {
    // More samples than one tile holds, and none of its multiples.
    let x = Array2::from_shape_fn((601, 5), |(i, j)| ((i * 7 + j * 13) as f64 * 0.37).sin());
    let kernel = Analytic::new(Net::mlp(2, Activation::Relu, 1, variance(2.0), variance(0.1))).unwrap();
    let whole = kernel.symmetric((&x).into(), Which::Both).unwrap();
    let block =
        kernel.block(Batch::from(&x).range(3, 300), Batch::from(&x).range(250, 601), Which::Both).unwrap();
    for (whole, block) in [(whole.nngp, block.nngp), (whole.ntk, block.ntk)] {
        let (whole, block) = (whole.unwrap(), block.unwrap());
        let part = whole.slice(s![3..300, 250..601]);
        assert!(part.iter().zip(&block).all(|(a, b)| (a - b).abs() < 1e-13));
        assert_eq!(whole, whole.t());
    }
}

#[test]
fn quadrature_reports_its_error_and_closed_forms_none() {
    let x = Array2::from_shape_fn((5, 3), |(i, j)| ((i * 3 + j) as f64).sin());
    let error = |phi| {
        let kernel = Analytic::new(Net::mlp(2, phi, 1, variance(1.5), variance(0.1))).unwrap();
        kernel.quadrature_error((&x).into()).unwrap()
    };
    assert_eq!(error(Activation::Gelu), 0.0);
    for phi in [Activation::Tanh, Activation::HardTanh] {
        let reached = error(phi);
        assert!(reached > 0.0 && reached <= 1e-12, "{reached}");
    }
}

#[test]
fn a_kept_block_is_overwritten_and_its_shape_checked() {
    let x = Array2::from_shape_fn((7, 3), |(i, j)| ((i * 3 + j) as f64).sin());
    let kernel = Analytic::new(Net::mlp(2, Activation::Relu, 1, variance(2.0), variance(0.1))).unwrap();
    let fresh = kernel.symmetric((&x).into(), Which::Both).unwrap();
    let mut kept = fresh.clone();
    kept.ntk.as_mut().unwrap().fill(f64::NAN);
    kernel.symmetric_into((&x).into(), &mut kept).unwrap();
    assert_eq!(kept, fresh);
    let by_columns = || Some(Array2::from_elem((7, 7).f(), f64::NAN));
    let mut kept_by_columns = ntk_core::KernelBlock { nngp: by_columns(), ntk: by_columns() };
    kernel.symmetric_into((&x).into(), &mut kept_by_columns).unwrap();
    assert_eq!(kept_by_columns, fresh);
    let error = kernel.symmetric_into(Batch::from(&x).range(0, 5), &mut kept).unwrap_err();
    assert!(error.to_string().contains("(5, 5)"), "{error}");
}
