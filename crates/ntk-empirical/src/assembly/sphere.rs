//! Points at a distance from the initial parameters, where the Hessian is looked at.

use ndarray::Array1;
use ntk_linalg::Lanczos;

use super::ScalarFunction;
use crate::Error;
use crate::draw::Stream;

/// Points of the sphere ‖w − w₀‖ = R: both ways along the gradient, where training goes, and random ones.
///
/// A supremum over the ball is estimated from below by the largest value at these points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sphere {
    /// R > 0.
    pub radius: f64,
    /// Number of random points.
    pub random: usize,
    /// Seed of the random points.
    pub seed: u64,
}

impl Sphere {
    /// The points: w₀ ± R ∇f/‖∇f‖ unless the gradient vanishes, then the random ones. w₀: (p).
    ///
    /// # Errors
    /// As [`ScalarFunction::gradient`]; [`Error::Setting`] if R is not positive and finite.
    pub fn points(&self, f: &impl ScalarFunction, w0: &Array1<f64>) -> Result<Vec<Array1<f64>>, Error> {
        let radius = self.radius;
        if !(radius > 0.0 && radius.is_finite()) {
            return Err(Error::Setting {
                option: "radius",
                value: radius,
                domain: "a positive finite number",
            });
        }
        let gradient = f.gradient(w0)?;
        let random = (0..self.random)
            .map(|i| Array1::from(Stream::new(self.seed, &format!("sphere {i}")).normals(w0.len())));
        let directions = [-&gradient, gradient].into_iter().chain(random);
        let point = |direction: Array1<f64>| {
            let length = direction.dot(&direction).sqrt();
            (length > 0.0).then(|| w0 + &(direction * (radius / length)))
        };
        Ok(directions.filter_map(point).collect())
    }

    /// max ‖∇²f‖ over w₀ and the points.
    ///
    /// # Errors
    /// As [`Sphere::points`] and [`ScalarFunction::hessian_norm`].
    pub fn hessian_norm(
        &self,
        f: &impl ScalarFunction,
        w0: &Array1<f64>,
        lanczos: &Lanczos,
    ) -> Result<f64, Error> {
        let points = self.points(f, w0)?;
        points.iter().try_fold(f.hessian_norm(w0, lanczos)?, |m, w| Ok(m.max(f.hessian_norm(w, lanczos)?)))
    }
}
