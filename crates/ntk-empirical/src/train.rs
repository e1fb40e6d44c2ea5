//! Training by gradient descent with momentum, by our own backward sweep: no graph is kept and weights move in place.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor, Var};
use ndarray::{Array2, ArrayView2, Axis};
use ntk_core::Batch;

use crate::affine::Affine;
use crate::draw::Stream;
use crate::input::Input;
use crate::{Error, FiniteNet, Loss, Reduction, tensor};

/// How to train: a plain struct, to be written with `..TrainOptions::descent(rate, steps)`.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// η > 0. Each parameter moves by η times its own multiplier ([`ntk_core::Rate`]).
    pub learning_rate: f64,
    /// β in [0, 1) of the heavy ball θᵢ₊₁ = θᵢ + β (θᵢ − θᵢ₋₁) − η ∇L.
    pub momentum: f64,
    /// Number of steps.
    pub steps: usize,
    /// Samples of a mini-batch; none is all of them. The last of an epoch may be smaller.
    pub batch: Option<usize>,
    /// α > 0 of the lazy dial: trains F = α (f − f₀) on loss(F)/α², with f₀ the model when training begins, in
    /// evaluation. None trains f itself.
    ///
    /// The kernel of F is that of f times α², which the loss takes back: all α learn at the same rate, and parameters
    /// move by 1/α, up to terms of higher order. A large α is lazy (the model stays linear in its parameters), a small
    /// one is rich. Steps report F and loss(F); elsewhere, F is α times the change of the model's outputs. In f32, F is
    /// off by 1e-7 α |f|.
    ///
    /// Source: \[chizat2019lazy\].
    pub alpha: Option<f64>,
    /// The loss of a sample.
    pub loss: Loss,
    /// What it is summed or averaged over.
    pub reduction: Reduction,
    /// Seed of the order of mini-batches.
    pub seed: u64,
    /// Steps at which the observer is called, before the step is made; the end is always among them.
    pub record: Vec<usize>,
}

impl TrainOptions {
    /// Full-batch gradient descent on the mean squared error, recorded at the start and at the end.
    pub fn descent(learning_rate: f64, steps: usize) -> Self {
        TrainOptions {
            learning_rate,
            momentum: 0.0,
            steps,
            batch: None,
            alpha: None,
            loss: Loss::SquaredError,
            reduction: Reduction::MeanNK,
            seed: 0,
            record: vec![0],
        }
    }

    fn check(&self) -> Result<(), Error> {
        let refuse = |option, value, domain| Err(Error::Setting { option, value, domain });
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return refuse("learning_rate", self.learning_rate, "a finite number above 0");
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return refuse("momentum", self.momentum, "in [0, 1)");
        }
        if let Some(alpha) = self.alpha.filter(|alpha| !(alpha.is_finite() && *alpha > 0.0)) {
            return refuse("alpha", alpha, "a finite number above 0");
        }
        match self.batch {
            Some(0) => refuse("batch", 0.0, "at least 1 sample"),
            _ => Ok(()),
        }
    }
}

/// What an observer sees at a recorded step.
#[derive(Debug)]
pub struct Step<'a, M> {
    /// Number of steps made.
    pub step: usize,
    /// Loss on all training samples.
    pub loss: f64,
    /// Outputs on all training samples, (n, k).
    pub outputs: &'a Array2<f64>,
    /// The model as it is now: ask it for outputs elsewhere, parameters or kernels.
    pub model: &'a M,
}

/// How training ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Trained {
    /// Number of steps made: fewer than asked for if the observer stopped.
    pub steps: usize,
    /// Loss on all training samples at the last recorded step, the end unless the observer stopped.
    pub loss: f64,
    /// Outputs on all training samples there, (n, k).
    pub outputs: Array2<f64>,
}

impl FiniteNet {
    /// Trains all parameters whose rate is not 0. x: (n, d), y: (n, outputs).
    ///
    /// `observe` is called at recorded steps; [`ControlFlow::Break`] ends training there. In training mode dropout
    /// draws new masks at each step. Results do not depend on the number of threads beyond rounding.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::Targets`], [`Error::Target`], those of [`FiniteNet::outputs`] for x;
    /// [`Error::Diverged`] as soon as an output is not finite.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use ndarray::array;
    /// use ntk_core::{Activation, Net, Shape, Variance};
    /// use ntk_empirical::{FiniteNet, Lowering, TrainOptions};
    ///
    /// let net = Net::mlp(1, Activation::Tanh, 1, Variance::ONE, Variance::ZERO);
    /// let mut finite = FiniteNet::lower(&net, &Lowering { width: 32, ..Lowering::for_inputs(Shape::vector(1)) })?;
    /// let (x, y) = (array![[1.0], [0.5]], array![[1.0], [0.0]]);
    /// let options = TrainOptions { record: vec![0, 50], ..TrainOptions::descent(0.5, 100) };
    /// let mut losses = Vec::new();
    /// finite.train(&options, (&x).into(), y.view(), |step| {
    ///     losses.push(step.loss);
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert!(losses.len() == 3 && losses[2] < losses[1] && losses[1] < losses[0]);
    /// # Ok::<(), ntk_empirical::Error>(())
    /// ```
    pub fn train(
        &mut self,
        options: &TrainOptions,
        x: Batch<'_>,
        y: ArrayView2<'_, f64>,
        observe: impl FnMut(&Step<'_, FiniteNet>) -> ControlFlow<()>,
    ) -> Result<Trained, Error> {
        run(self, options, x, y, observe)
    }
}

/// What the loop needs of a model.
pub(crate) trait Learner {
    /// A batch with all that does not change while training.
    type Prepared;

    /// The network that checks inputs and knows shapes.
    fn net(&self) -> &FiniteNet;

    /// Prepares a batch.
    fn prepare(&self, x: Input) -> Result<Self::Prepared, Error>;

    /// Outputs on a prepared batch.
    fn predict(&self, x: &Self::Prepared) -> Result<Tensor, Error>;

    /// One step: `cotangent` maps outputs (n, k) to ∂L/∂f (n, k), `descent` moves the parameters.
    fn step(
        &mut self,
        x: &Self::Prepared,
        pass: u64,
        cotangent: &mut dyn FnMut(&Tensor) -> Result<Tensor, Error>,
        descent: &mut Descent,
    ) -> Result<(), Error>;
}

impl Learner for FiniteNet {
    type Prepared = Input;

    fn net(&self) -> &FiniteNet {
        self
    }

    fn prepare(&self, x: Input) -> Result<Input, Error> {
        Ok(x)
    }

    fn predict(&self, x: &Input) -> Result<Tensor, Error> {
        FiniteNet::predict(self, x)
    }

    fn step(
        &mut self,
        x: &Input,
        pass: u64,
        cotangent: &mut dyn FnMut(&Tensor) -> Result<Tensor, Error>,
        descent: &mut Descent,
    ) -> Result<(), Error> {
        let sweep = self.sweep_at(x, pass);
        let (f, tape) = self.root.record(sweep, &x.signal)?;
        let d = cotangent(&f.x)?.unsqueeze(1)?;
        self.root.pullback(sweep, &tape, &d, false, &mut |index, x, d| {
            let affine = &self.affines[index];
            descent.step(index, affine, &affine.weight, affine.bias.as_ref(), x, d)
        })?;
        Ok(())
    }
}

/// The training loop, the same for networks and their linearizations.
pub(crate) fn run<M: Learner>(
    model: &mut M,
    options: &TrainOptions,
    x: Batch<'_>,
    y: ArrayView2<'_, f64>,
    mut observe: impl FnMut(&Step<'_, M>) -> ControlFlow<()>,
) -> Result<Trained, Error> {
    options.check()?;
    let inputs = model.net().input(x)?;
    let (n, outputs) = (x.len(), model.net().output_width());
    options.loss.check(y, (n, outputs))?;
    let (dtype, device) = (model.net().lowering().dtype, model.net().lowering().device.clone());
    let record: BTreeSet<usize> = options.record.iter().copied().chain([options.steps]).collect();
    let batch = options.batch.unwrap_or(n).min(n);
    let batches = n.div_ceil(batch);
    let order = Stream::new(options.seed, "order of mini-batches");
    let mut permutation: Vec<u32> = (0..n as u32).collect();
    let mut descent = Descent::new(options, model.net().affines.len());
    let all = model.prepare(inputs.clone())?;
    let initial = match options.alpha {
        Some(_) => Some(tensor::array(&model.predict(&all)?)?),
        None => None,
    };
    let objective = Objective { options, y, initial };
    let mut step = 0;
    loop {
        if record.contains(&step) {
            let (f, loss, _) = objective.gradient(tensor::array(&model.predict(&all)?)?, None);
            if !loss.is_finite() {
                return Err(Error::Diverged { step });
            }
            let stop = observe(&Step { step, loss, outputs: &f, model }).is_break();
            if stop || step == options.steps {
                return Ok(Trained { steps: step, loss, outputs: f });
            }
        }
        let place = step % batches;
        if batches > 1 && place == 0 {
            permutation = order.permutation(n, (step / batches) as u64);
        }
        let rows = &permutation[place * batch..((place + 1) * batch).min(n)];
        let samples: Option<Vec<usize>> = (batches > 1).then(|| rows.iter().map(|&i| i as usize).collect());
        let mut cotangent = |f: &Tensor| -> Result<Tensor, Error> {
            let (_, loss, gradient) = objective.gradient(tensor::array(f)?, samples.as_deref());
            if !loss.is_finite() {
                return Err(Error::Diverged { step });
            }
            Ok(tensor::matrix(gradient.view(), dtype, &device)?)
        };
        // Pass 0 is that of evaluation.
        let pass = step as u64 + 1;
        if batches == 1 {
            model.step(&all, pass, &mut cotangent, &mut descent)?;
        } else {
            let some = model.prepare(inputs.select(rows)?)?;
            model.step(&some, pass, &mut cotangent, &mut descent)?;
        }
        step += 1;
    }
}

/// What is minimized: loss(f), or loss(α (f − f₀))/α².
struct Objective<'a> {
    options: &'a TrainOptions,
    y: ArrayView2<'a, f64>,
    /// f₀ on all samples, where there is an α.
    initial: Option<Array2<f64>>,
}

impl Objective<'_> {
    /// The outputs that meet the targets, their loss, and the gradient of the objective in f, on some or all samples.
    fn gradient(&self, mut f: Array2<f64>, samples: Option<&[usize]>) -> (Array2<f64>, f64, Array2<f64>) {
        let rows = |of: ArrayView2<'_, f64>| match samples {
            Some(samples) => of.select(Axis(0), samples),
            None => of.to_owned(),
        };
        let alpha = self.options.alpha.unwrap_or(1.0);
        if let Some(initial) = &self.initial {
            f = (f - rows(initial.view())) * alpha;
        }
        let y = rows(self.y);
        let (loss, gradient) = self.options.loss.gradient(self.options.reduction, f.view(), y.view());
        (f, loss, gradient / alpha)
    }
}

/// The heavy ball: learning rate, momentum and the velocities of all affine layers.
pub(crate) struct Descent {
    rate: f64,
    momentum: f64,
    velocities: Vec<Option<(Var, Option<Var>)>>,
}

impl Descent {
    fn new(options: &TrainOptions, layers: usize) -> Self {
        let velocities = (0..layers).map(|_| None).collect();
        Descent { rate: options.learning_rate, momentum: options.momentum, velocities }
    }

    /// Moves the parameters of one layer. x: (n, in), d: (n, 1, out).
    pub(crate) fn step(
        &mut self,
        index: usize,
        affine: &Affine,
        weight: &Var,
        bias: Option<&Var>,
        x: &Tensor,
        d: &Tensor,
    ) -> Result<(), Error> {
        let d = d.squeeze(1)?;
        let weight_rate = -self.rate * affine.weight_rate() * affine.weight_scale();
        let bias_rate = -self.rate * affine.bias_rate() * affine.bias_scale();
        let bias = bias.filter(|_| bias_rate != 0.0);
        if self.momentum == 0.0 {
            if weight_rate != 0.0 {
                affine.accumulate(weight, 1.0, weight_rate, x, &d)?;
            }
            if let Some(bias) = bias {
                add(bias, &(affine.bias_gradient(&d, bias)? * bias_rate)?)?;
            }
            return Ok(());
        }
        let velocity = match &mut self.velocities[index] {
            Some(velocity) => velocity,
            none => {
                let zero = |var: &Var| Var::from_tensor(&var.as_detached_tensor().zeros_like()?);
                none.insert((zero(weight)?, bias.map(zero).transpose()?))
            }
        };
        if weight_rate != 0.0 {
            affine.accumulate(&velocity.0, self.momentum, weight_rate, x, &d)?;
            add(weight, &velocity.0.as_detached_tensor())?;
        }
        if let (Some(bias), Some(velocity)) = (bias, &velocity.1) {
            let step = (affine.bias_gradient(&d, bias)? * bias_rate)?;
            velocity.set(&((velocity.as_detached_tensor() * self.momentum)? + step)?)?;
            add(bias, &velocity.as_detached_tensor())?;
        }
        Ok(())
    }
}

/// var ← var + t, in place on the CPU.
fn add(var: &Var, t: &Tensor) -> candle_core::Result<()> {
    if var.device().is_cpu() {
        return var.as_detached_tensor().inplace_op2(&t.contiguous()?, &Add);
    }
    var.set(&(var.as_detached_tensor() + t)?)
}

struct Add;

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "add in place"
    }

    fn cpu_fwd(
        &self,
        a: &mut CpuStorage,
        la: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> candle_core::Result<()> {
        fn sum<T: Copy + std::ops::AddAssign>(a: &mut [T], b: &[T]) {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += *b);
        }
        let (Some((a0, a1)), Some((b0, b1))) = (la.contiguous_offsets(), lb.contiguous_offsets()) else {
            candle_core::bail!("add in place needs contiguous tensors")
        };
        match (a, b) {
            (CpuStorage::F32(a), CpuStorage::F32(b)) => sum(&mut a[a0..a1], &b[b0..b1]),
            (CpuStorage::F64(a), CpuStorage::F64(b)) => sum(&mut a[a0..a1], &b[b0..b1]),
            _ => candle_core::bail!("add in place: f32 or f64 on both sides"),
        }
        Ok(())
    }
}
