//! How fast the tangent kernel moves: its derivatives along curves, and the neural tangent hierarchy.
//!
//! Under the gradient flow of ½ Σ (f − y)² on training samples the residual r = f − y, the tangent kernel and its
//! change obey ∂ₜ r = −Θ r, ∂ₜ Θ = −K₃ r, ∂ₜ K₃ = −K₄ r, …: a hierarchy that truncates where kernels are small. K₃ and
//! K₄ are both of order 1/width, K₅ and K₆ of its square, so that K₄ goes with K₃.
//!
//! With the vector field V_a = R Jᵀa of a residual a, where R are the learning-rate multipliers, K₃ a is the derivative
//! of Θ along V_a, and K₄ a b that of K₃ a along V_b.
//!
//! Source: \[huang2020dynamics\]; \[dyer2020asymptotics\] for the orders.

use candle_core::Tensor;
use ndarray::{Array2, Array3, Array4, ArrayView2, Axis, s};
use ntk_core::Batch;

use crate::finite::finite;
use crate::jet::{Curve, Jet, JetSignal, JetSweep, add_share};
use crate::products::check_targets;
use crate::{Error, FiniteNet, Parameters};

/// The tangent kernel and its change along the gradient flow of fixed residuals, all (n₁, n₂, o, o).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Hierarchy {
    /// Θ(x₁, x₂).
    pub ntk: Array4<f64>,
    /// K₃ r: minus the derivative of Θ in time.
    pub third: Array4<f64>,
    /// K₄ r r: the second derivative of Θ in time, at constant r.
    pub fourth: Array4<f64>,
}

impl Hierarchy {
    /// The means over outputs of the blocks of Θ, K₃ r and K₄ r r, as [`KernelFn`](ntk_core::KernelFn) gives Θ.
    /// → (n₁, n₂) each.
    pub fn traces(&self) -> [Array2<f64>; 3] {
        [&self.ntk, &self.third, &self.fourth].map(|blocks| {
            let (n1, n2, o, _) = blocks.dim();
            let trace = |(i, j)| (0..o).map(|a| blocks[[i, j, a, a]]).sum::<f64>() / o as f64;
            Array2::from_shape_fn((n1, n2), trace)
        })
    }
}

/// Θ, K₃ and K₄ among m = n · o outputs of training samples, outputs fastest.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HierarchyTensors {
    /// Θ. (m, m).
    pub ntk: Array2<f64>,
    /// K₃\[i, a, b\]: the derivative of Θ\[a, b\] along V_i. Symmetric in a and b. (m, m, m).
    pub third: Array3<f64>,
    /// K₄\[i, j, a, b\]: the derivative of K₃\[i, a, b\] along V_j. Symmetric in a and b. (m, m, m, m).
    pub fourth: Array4<f64>,
}

impl FiniteNet {
    /// Θ(x₁, x₂), dΘ/ds and d²Θ/ds² at s = 0 along θ(s) = θ + s v + ½ s² a. x₁: (n₁, d), x₂: (n₂, d), x₁ itself if
    /// there is none → (n₁, n₂, o, o) each.
    ///
    /// Parameters enter Θ with their learning-rate multipliers; v and a are as they are. Noise of dropout is drawn for
    /// x₁ and x₂ independently.
    ///
    /// # Errors
    /// Those of [`FiniteNet::outputs`] for the inputs and of [`FiniteNet::set_parameters`] for v and a;
    /// [`Error::Net`] if features differ; [`Error::SecondDerivative`] for custom activations and layers.
    pub fn ntk_derivatives(
        &self,
        x1: Batch<'_>,
        x2: Option<Batch<'_>>,
        velocity: &Parameters,
        acceleration: Option<&Parameters>,
    ) -> Result<[Array4<f64>; 3], Error> {
        let acceleration = acceleration.map(|a| self.tangents(a)).transpose()?;
        let curve = Curve::new(&self.affines, 2, &self.tangents(velocity)?, acceleration.as_deref())?;
        let [ntk, first, second] = self.ntk_along(x1, x2, &curve)?;
        Ok([ntk, first, second * 2.0])
    }

    /// Θ(x₁, x₂), K₃ r and K₄ r r for residuals r of training samples. x₁: (n₁, d), x₂: (n₂, d), x₁ itself if there is
    /// none, train: (n, d), r: (n, o).
    ///
    /// K₄ r r is the second derivative along the curve with velocity −R Jᵀr and the acceleration that it has at constant
    /// r, R ∇²⟨r, f⟩ R Jᵀr. Where the residual moves, ∂ₜ² Θ = K₄ r r + K₃ Θ r.
    ///
    /// # Errors
    /// As [`FiniteNet::ntk_derivatives`]; [`Error::Targets`], [`Error::Target`] for r.
    ///
    /// ```
    /// use ndarray::array;
    /// use ntk_core::{Activation, Net, Shape, Variance};
    /// use ntk_empirical::{FiniteNet, Lowering};
    ///
    /// let net = Net::mlp(1, Activation::Tanh, 1, Variance::ONE, Variance::ZERO);
    /// let finite = FiniteNet::lower(&net, &Lowering { width: 64, ..Lowering::for_inputs(Shape::vector(1)) })?;
    /// let (x, r) = (array![[1.0], [-0.5]], array![[0.3], [0.1]]);
    /// let hierarchy = finite.hierarchy((&x).into(), None, (&x).into(), r.view())?;
    /// assert_eq!(hierarchy.third.dim(), (2, 2, 1, 1));
    /// # Ok::<(), ntk_empirical::Error>(())
    /// ```
    pub fn hierarchy(
        &self,
        x1: Batch<'_>,
        x2: Option<Batch<'_>>,
        train: Batch<'_>,
        residual: ArrayView2<'_, f64>,
    ) -> Result<Hierarchy, Error> {
        check_targets(residual, (train.len(), self.output_width()))?;
        let field = self.with_rates(self.vjp(train, residual)?)?;
        // Of two signs, each squared: −Jᵀr changes as it moves along itself.
        let turn = self.with_rates(self.hvp(train, residual, &field)?)?;
        let [ntk, third, fourth] = self.ntk_derivatives(x1, x2, &field, Some(&turn))?;
        Ok(Hierarchy { ntk, third, fourth })
    }

    /// Θ, K₃ and K₄ among all outputs of training samples, with which the truncated hierarchy can be integrated.
    /// x: (n, d); for few samples: m (m + 1)/2 sweeps of second order and m² of first order for m = n · o.
    ///
    /// By the symmetry of second derivatives, Θ″(V_i, V_j) = ½ (Q(V_i + V_j) − Q(V_i) − Q(V_j)) with the second
    /// derivative Q along lines, and K₄\[i, j\] = Θ″(V_i, V_j) + Θ′(R ∇²fᵢ V_j).
    ///
    /// # Errors
    /// As [`FiniteNet::ntk_derivatives`].
    pub fn hierarchy_tensors(&self, x: Batch<'_>) -> Result<HierarchyTensors, Error> {
        let (n, o) = (x.len(), self.output_width());
        let m = n * o;
        let unit = |i: usize| {
            let mut u = Array2::zeros((n, o));
            u[[i / o, i % o]] = 1.0;
            u
        };
        let flat = |blocks: Array4<f64>| -> Result<Array2<f64>, Error> {
            let blocks = blocks.permuted_axes([0, 2, 1, 3]).as_standard_layout().into_owned();
            Ok(blocks.into_shape_with_order((m, m)).map_err(candle_core::Error::wrap)?)
        };
        let fields =
            (0..m).map(|i| self.with_rates(self.vjp(x, unit(i).view())?)).collect::<Result<Vec<_>, _>>()?;
        let mut ntk = Array2::zeros((m, m));
        let (mut third, mut fourth) = (Array3::zeros((m, m, m)), Array4::zeros((m, m, m, m)));
        let mut squares = Vec::with_capacity(m);
        for (i, field) in fields.iter().enumerate() {
            let [value, first, second] = self.ntk_derivatives(x, None, field, None)?;
            ntk = flat(value)?;
            third.index_axis_mut(Axis(0), i).assign(&flat(first)?);
            squares.push(flat(second)?);
        }
        for i in 0..m {
            for (j, field) in fields.iter().enumerate() {
                let turn = self.with_rates(self.hvp(x, unit(i).view(), field)?)?;
                let curve = Curve::new(&self.affines, 1, &self.tangents(&turn)?, None)?;
                let [_, turned] = self.ntk_along(x, None, &curve)?;
                let mut along = fourth.slice_mut(s![i, j, .., ..]);
                along += &flat(turned)?;
                if i == j {
                    along += &squares[i];
                }
            }
            for j in 0..i {
                let [_, _, second] =
                    self.ntk_derivatives(x, None, &fields[i].plus(1.0, &fields[j])?, None)?;
                let mixed = (flat(second)? - &squares[i] - &squares[j]) * 0.5;
                for (i, j) in [(i, j), (j, i)] {
                    let mut along = fourth.slice_mut(s![i, j, .., ..]);
                    along += &mixed;
                }
            }
        }
        Ok(HierarchyTensors { ntk, third, fourth })
    }

    /// The Taylor coefficients of Θ(x₁, x₂) along a curve of order K − 1. → (n₁, n₂, o, o) each.
    fn ntk_along<const K: usize>(
        &self,
        x1: Batch<'_>,
        x2: Option<Batch<'_>>,
        curve: &Curve,
    ) -> Result<[Array4<f64>; K], Error> {
        let (mut input, n1, o) = (self.input(x1)?, x1.len(), self.output_width());
        if let Some(x2) = x2 {
            Batch::check_pair(x1, x2)?;
            input = input.join(&self.input(x2)?)?;
        }
        let (n2, start) = x2.map_or((n1, 0), |x2| (x2.len(), n1));
        let n = start + n2;
        let mut totals = vec![Array2::zeros((n1 * o, n2 * o)); K];
        let sweep = JetSweep { sweep: self.sweep(&input), curve };
        let (_, tape) = self.root.record_jet(sweep, &JetSignal::still(&input, curve.order))?;
        let identity = Tensor::eye(o, self.lowering().dtype, &self.lowering().device)?;
        let identity = identity.unsqueeze(0)?.broadcast_as((n, o, o))?.contiguous()?;
        self.root.pullback_jet(
            sweep,
            &tape,
            &Jet::constant(identity, curve.order),
            false,
            &mut |index, x, d| Ok(add_share(&self.affines[index], (n1, start), x, d, &mut totals)?),
        )?;
        let blocks = totals.into_iter().map(|total| {
            let total = total.into_shape_with_order((n1, o, n2, o)).map_err(candle_core::Error::wrap)?;
            finite(total.permuted_axes([0, 2, 1, 3]).as_standard_layout().into_owned(), "the tangent kernel")
        });
        let blocks = blocks.collect::<Result<Vec<_>, Error>>()?;
        blocks.try_into().map_err(|_| candle_core::Error::Msg("one kernel for each order".into()).into())
    }
}
