//! Normal numbers, and factors of covariances that may be singular.

use ndarray::Array2;

/// A sequence of independent standard normal numbers: SplitMix64 and the method of Box and Muller.
pub(super) struct Normals {
    state: u64,
}

impl Normals {
    pub(super) fn new(seed: u64) -> Self {
        // Streams of near seeds have nothing in common after one step of the mixer.
        let mut state = Normals { state: seed.wrapping_mul(0xd134_2543_de82_ef95) };
        state.bits();
        state
    }

    fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In (0, 1].
    fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 * 2f64.powi(-53)
    }

    pub(super) fn take(&mut self, n: usize) -> Vec<f64> {
        let mut all = Vec::with_capacity(n + 1);
        while all.len() < n {
            let radius = (-2.0 * self.uniform().ln()).sqrt();
            let (sin, cos) = (std::f64::consts::TAU * self.uniform()).sin_cos();
            all.extend([radius * cos, radius * sin]);
        }
        all.truncate(n);
        all
    }
}

/// L with L Lᵀ = the matrix, of as many columns as its rank: Cholesky with pivots.
pub(super) fn factor(matrix: &Array2<f64>) -> Array2<f64> {
    let n = matrix.nrows();
    let mut rest = matrix.clone();
    let scale = rest.diag().iter().fold(0.0, |a: f64, &b| a.max(b));
    let mut columns: Vec<Vec<f64>> = Vec::new();
    for _ in 0..n {
        let at = (0..n).fold(0, |best, i| if rest[[i, i]] > rest[[best, best]] { i } else { best });
        let pivot = rest[[at, at]];
        if pivot <= 1e-13 * scale {
            break;
        }
        let column: Vec<f64> = rest.column(at).iter().map(|x| x / pivot.sqrt()).collect();
        for i in 0..n {
            for j in 0..n {
                rest[[i, j]] -= column[i] * column[j];
            }
        }
        columns.push(column);
    }
    Array2::from_shape_fn((n, columns.len()), |(i, k)| columns[k][i])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn singular_covariances_have_factors() {
        let matrix = array![[2.0, 1.0, 3.0], [1.0, 0.5, 1.5], [3.0, 1.5, 5.0]];
        let l = factor(&matrix);
        assert_eq!(l.ncols(), 2);
        assert!((l.dot(&l.t()) - &matrix).iter().all(|x| x.abs() < 1e-14));
        assert_eq!(factor(&Array2::zeros((2, 2))).ncols(), 0);
    }

    #[test]
    fn normal_numbers_are_normal() {
        let x = Normals::new(3).take(100_001);
        let moment = |k: i32| x.iter().map(|x| x.powi(k)).sum::<f64>() / x.len() as f64;
        assert!(moment(1).abs() < 0.01 && (moment(2) - 1.0).abs() < 0.02 && (moment(4) - 3.0).abs() < 0.1);
        let y = Normals::new(4).take(100_001);
        assert!((x.iter().zip(&y).map(|(x, y)| x * y).sum::<f64>() / 1e5).abs() < 0.01);
    }
}
