//! Which way do I solve with a kernel matrix: factored, by its eigenvalues, or by products alone?

#![allow(clippy::print_stdout)] // An example prints.

use ndarray::{Array2, ArrayView2, Axis};
use ntk_linalg::{
    Cholesky, ConjugateGradients, Error, Landmarks, LowRank, Symmetric, SymmetricEigen, Unpreconditioned,
    product,
};

fn main() -> Result<(), Error> {
    // K = exp(−(x − x′)²/2) of 300 points on a line: smooth, so of nearly low rank. We want (K + ρI)⁻¹ y.
    let (n, ridge) = (300, 1e-3);
    let at = |i: usize| 0.05 * i as f64;
    let kernel = Array2::from_shape_fn((n, n), |(i, j)| (-0.5 * (at(i) - at(j)).powi(2)).exp());
    let y = Array2::from_shape_fn((n, 1), |(i, _)| at(i).sin());
    let matrix = Symmetric::new(&kernel + ridge * Array2::<f64>::eye(n))?;

    // Many right-hand sides, or the determinant: factor once.
    let cholesky = Cholesky::new(matrix.clone())?;
    let solution = cholesky.solve(y.view())?;
    println!("log-determinant {:.3}", cholesky.log_determinant());

    // Many ridges, or time: x = U (Λ + ρ)⁻¹ Uᵀ y, where only the middle changes.
    let eigen = SymmetricEigen::new(&matrix)?;
    let modes = product(eigen.vectors().t(), y.view())? / eigen.values().insert_axis(Axis(1));
    let by_modes = product(eigen.vectors(), modes.view())?;
    println!("condition number {:.2e}", eigen.condition());

    // A matrix that is too large to be factored, or is never formed: products, fewer with 30 rows known in advance.
    let apply = |v: ArrayView2<'_, f64>| product(matrix.view(), v);
    let gradients = ConjugateGradients::new(1000);
    let plain = gradients.solve(y.view(), &Unpreconditioned, apply)?;
    let row = |i: usize| Ok::<_, Error>(kernel.row(i).to_owned());
    let landmarks = LowRank::new(30, Landmarks::Greedy, kernel.diag(), row)?;
    let helped = gradients.solve(y.view(), &landmarks.preconditioner(ridge)?, apply)?;

    println!("\nway                              products   distance from Cholesky, ÷ largest");
    let largest = solution.fold(0.0_f64, |m, v| m.max(v.abs()));
    let ways = [
        ("eigensystem", 0, &by_modes),
        ("conjugate gradients", plain.steps, &plain.x),
        ("conjugate gradients, 30 rows", helped.steps, &helped.x),
    ];
    for (way, products, x) in ways {
        let distance = (x - &solution).fold(0.0_f64, |m, v| m.max(v.abs())) / largest;
        println!("{way:30}   {products:8}   {distance:.0e}");
        assert!(distance < 1e-6);
    }
    assert!(helped.steps < plain.steps / 2);
    Ok(())
}
