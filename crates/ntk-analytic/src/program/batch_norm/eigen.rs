//! Eigenvalues of small symmetric matrices by rotations: batches are small, and no library is needed for them.

use ndarray::{Array1, Array2, ArrayView2, Axis};

/// Sweeps after which rotations have long converged; they do so quadratically.
const SWEEPS: usize = 60;

/// Eigenvalues in no order, and eigenvectors as columns.
///
/// # Source
/// \[parlett1998symmetric\] chapter 9.
pub(super) fn eigen(matrix: ArrayView2<'_, f64>) -> (Vec<f64>, Array2<f64>) {
    let n = matrix.nrows();
    let mut a: Vec<Vec<f64>> = matrix.rows().into_iter().map(|row| row.to_vec()).collect();
    // Eigenvectors are its rows.
    let mut v: Vec<Vec<f64>> =
        (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    let norm = a.iter().flatten().map(|x| x * x).sum::<f64>().sqrt();
    for _ in 0..SWEEPS {
        let mut turned = false;
        for p in 0..n {
            for q in p + 1..n {
                if a[p][q].abs() > 1e-17 * norm {
                    turned = true;
                    turn(&mut a, &mut v, p, q);
                }
            }
        }
        if !turned {
            break;
        }
    }
    ((0..n).map(|i| a[i][i]).collect(), Array2::from_shape_fn((n, n), |(i, k)| v[k][i]))
}

/// Eigenvalues above a bound, and their eigenvectors.
pub(super) fn positive(values: &[f64], vectors: &Array2<f64>, above: f64) -> (Array1<f64>, Array2<f64>) {
    let kept: Vec<usize> = (0..values.len()).filter(|&k| values[k] > above).collect();
    (kept.iter().map(|&k| values[k]).collect(), vectors.select(Axis(1), &kept))
}

/// The rotation of the plane (p, q) that makes a_pq zero.
fn turn(a: &mut [Vec<f64>], v: &mut [Vec<f64>], p: usize, q: usize) {
    let half = 0.5 * (a[q][q] - a[p][p]) / a[p][q];
    let tangent = half.signum() / (half.abs() + half.hypot(1.0));
    let cosine = 1.0 / tangent.hypot(1.0);
    let sine = tangent * cosine;
    let rotate = |x: &mut [f64], y: &mut [f64]| {
        for (x, y) in x.iter_mut().zip(y) {
            (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
        }
    };
    for rows in [&mut *a, v] {
        let (head, tail) = rows.split_at_mut(q);
        rotate(&mut head[p], &mut tail[0]);
    }
    for row in a.iter_mut() {
        (row[p], row[q]) = (cosine * row[p] - sine * row[q], sine * row[p] + cosine * row[q]);
    }
    (a[p][q], a[q][p]) = (0.0, 0.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_are_their_eigenvalues_in_another_basis() {
        for n in [1, 2, 5, 30] {
            let a = Array2::from_shape_fn((n, n), |(i, j)| ((i * j) as f64).cos() + ((i + j) as f64).sin());
            let (values, v) = eigen(a.view());
            let scaled = &v * &ndarray::Array1::from(values);
            assert!((scaled.dot(&v.t()) - &a).iter().all(|x| x.abs() < 1e-13 * n as f64));
            assert!((v.t().dot(&v) - Array2::<f64>::eye(n)).iter().all(|x| x.abs() < 1e-14 * n as f64));
        }
        let (zeros, _) = eigen(Array2::zeros((3, 3)).view());
        assert_eq!(zeros, [0.0; 3]);
    }
}
