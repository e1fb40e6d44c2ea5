//! Huang and Yau 2020: what the third and fourth kernels of the neural tangent hierarchy say about training.

use ndarray::{Array1, Array2, Array3, Axis};
use ntk_core::{Activation, Net, Variance};
use ntk_empirical::candle_core::DType;
use ntk_empirical::{FiniteNet, HierarchyTensors, Parameters};
use rayon::prelude::*;

use super::common;
use crate::{BoxError, Claim, Context, Criterion, Experiment, Plot, Report, Side, Table, stats};

/// Truncations of the hierarchy against gradient flow.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "hierarchy",
    title: "The third kernel needs the fourth",
    source: "[huang2020dynamics], [dyer2020asymptotics]",
    claim: "Residuals of gradient flow are off by 1/n where the tangent kernel is frozen. Its change by the third \
            kernel alone is no better: third and fourth kernel are both of order 1/n. The two together leave an error \
            that falls faster, towards 1/n².",
    formula: "∂ₜr = −Θ r, ∂ₜΘ = −K₃ r, ∂ₜK₃ = −K₄ r, K₄ constant: supₜ ‖rₜ − rₜ*‖ / ‖r₀‖ = O(n^(−2))",
    seconds: [4.0, 30.0, 1500.0],
    memory: [[0.1, 0.05], [0.4, 0.1], [0.4, 0.3]],
    run,
};

const SOURCE: &str = "[huang2020dynamics]";
const MODELS: [&str; 3] = ["frozen kernel", "K₃", "K₃ and K₄"];

/// Training samples and the steps of the integrator.
struct Task {
    x: Array2<f64>,
    y: Array2<f64>,
    time: f64,
    steps: usize,
}

/// A point of the truncated hierarchy.
#[derive(Clone)]
struct State {
    r: Array1<f64>,
    ntk: Array2<f64>,
    third: Array3<f64>,
}

/// ‖r − r*‖ / ‖r₀‖ of each model at each step.
type Errors = [Vec<f64>; 3];

impl Task {
    fn errors(&self, mut network: FiniteNet) -> Result<Errors, BoxError> {
        let tensors = network.hierarchy_tensors((&self.x).into())?;
        let exact = self.flow(&mut network)?;
        let size = norm(&exact[0]);
        let model = |orders: usize| -> Vec<f64> {
            let path = self.truncated(&tensors, exact[0].clone(), orders);
            path.iter().zip(&exact).map(|(r, exact)| norm(&(r - exact)) / size).collect()
        };
        Ok([model(0), model(1), model(2)])
    }

    /// Residuals under gradient flow of ½ Σ (f − y)², by the classical Runge–Kutta method in the parameters.
    fn flow(&self, network: &mut FiniteNet) -> Result<Vec<Array1<f64>>, BoxError> {
        let (h, mut theta) = (self.time / self.steps as f64, network.parameters()?);
        let mut residual = |theta: &Parameters| -> Result<(Array2<f64>, Parameters), BoxError> {
            network.set_parameters(theta)?;
            let r = network.outputs((&self.x).into())? - &self.y;
            let gradient = network.vjp((&self.x).into(), r.view())?;
            Ok((r, gradient))
        };
        let mut path = Vec::with_capacity(self.steps + 1);
        for _ in 0..=self.steps {
            let (r, k1) = residual(&theta)?;
            path.push(Array1::from_iter(r));
            let (_, k2) = residual(&theta.plus(-0.5 * h, &k1)?)?;
            let (_, k3) = residual(&theta.plus(-0.5 * h, &k2)?)?;
            let (_, k4) = residual(&theta.plus(-h, &k3)?)?;
            theta = theta.plus(-h / 6.0, &k1.plus(2.0, &k2)?.plus(2.0, &k3)?.plus(1.0, &k4)?)?;
        }
        Ok(path)
    }

    /// Residuals of the hierarchy with the kernels after Θ up to an order, by the same method in the same steps.
    fn truncated(&self, tensors: &HierarchyTensors, r: Array1<f64>, orders: usize) -> Vec<Array1<f64>> {
        let h = self.time / self.steps as f64;
        let slope = |state: &State| State {
            r: -state.ntk.dot(&state.r),
            ntk: if orders > 0 { -contract(&state.third, &state.r) } else { Array2::zeros(state.ntk.dim()) },
            third: if orders > 1 { fourth(tensors, &state.r) } else { Array3::zeros(state.third.dim()) },
        };
        let mut state = State { r, ntk: tensors.ntk.clone(), third: tensors.third.clone() };
        let mut path = Vec::with_capacity(self.steps + 1);
        for _ in 0..=self.steps {
            path.push(state.r.clone());
            let k1 = slope(&state);
            let k2 = slope(&state.plus(0.5 * h, &k1));
            let k3 = slope(&state.plus(0.5 * h, &k2));
            let k4 = slope(&state.plus(h, &k3));
            for (weight, k) in [(1.0, k1), (2.0, k2), (2.0, k3), (1.0, k4)] {
                state = state.plus(weight * h / 6.0, &k);
            }
        }
        path
    }
}

impl State {
    fn plus(&self, h: f64, slope: &State) -> State {
        State {
            r: &self.r + &(&slope.r * h),
            ntk: &self.ntk + &(&slope.ntk * h),
            third: &self.third + &(&slope.third * h),
        }
    }
}

/// Σᵢ tᵢ rᵢ over the first axis.
fn contract(t: &Array3<f64>, r: &Array1<f64>) -> Array2<f64> {
    let (_, m, n) = t.dim();
    t.axis_iter(Axis(0)).zip(r).fold(Array2::zeros((m, n)), |total, (t, &r)| total + &t * r)
}

/// −K₄ r, contracted over the direction in which K₃ moves.
fn fourth(tensors: &HierarchyTensors, r: &Array1<f64>) -> Array3<f64> {
    let zero = Array3::zeros(tensors.third.dim());
    tensors.fourth.axis_iter(Axis(1)).zip(r).fold(zero, |total, (t, &r)| total - &t * r)
}

fn run(ctx: &Context<'_>) -> Result<Report, BoxError> {
    let widths = ctx.pick([&[32, 64, 128][..], &[32, 64, 128, 256], &[32, 64, 128, 256, 512, 1024]]);
    let (samples, count, steps) = ctx.pick([(4, 16, 100), (6, 24, 100), (8, 32, 200)]);
    let (train, test) = common::images(ctx, samples, 0)?;
    // Labels that do not follow the images, so that fitting them moves the kernel.
    let y = Array2::from_shape_fn((samples, 1), |(i, _)| if i % 2 == 0 { 1.0 } else { -1.0 });
    let task = Task { x: train.inputs(), y, time: 2.0, steps };
    let net = Net::mlp(2, Activation::Tanh, 1, Variance::new(1.5)?, Variance::new(0.1)?);

    let bar = ctx.progress("hierarchies", widths.len() * count);
    // The widest first, so that no core waits for it at the end.
    let jobs: Vec<(usize, u64)> =
        widths.iter().rev().flat_map(|&n| ctx.seeds(count).into_iter().map(move |seed| (n, seed))).collect();
    let one = |&(width, seed): &(usize, u64)| -> Result<Errors, BoxError> {
        let errors = task.errors(common::draw(ctx, &net, task.x.ncols(), width, seed, DType::F64)?)?;
        bar.step();
        Ok(errors)
    };
    let mut errors = jobs.par_iter().with_max_len(1).map(one).collect::<Result<Vec<_>, _>>()?;
    errors.reverse();
    let groups: Vec<&[Errors]> = errors.chunks(count).collect();

    let mut report = Report::default();
    common::credit(&mut report, &train, &test);
    report.size("targets", "±1 in turn, whatever the image shows");
    report.size("network", "2 hidden tanh, σ_w² = 1.5, σ_b² = 0.1, one output");
    report.size("widths", common::list(widths));
    report.size(
        "time",
        format!("{} of gradient flow of ½ Σ (f − y)², {steps} steps of Runge–Kutta", task.time),
    );
    report.size("networks for each width", count).seeds(ctx.seeds(count));
    report.note("Each model starts from the network's own kernels; errors are medians over networks.");
    conclude(widths, &groups, &task, &mut report)?;
    Ok(report)
}

/// Claims, plots and the table.
fn conclude(
    widths: &[usize],
    groups: &[&[Errors]],
    task: &Task,
    report: &mut Report,
) -> Result<(), BoxError> {
    let n: Vec<f64> = widths.iter().map(|&n| n as f64).collect();
    let worst = |errors: &[f64]| errors.iter().fold(0.0, |m: f64, &e| m.max(e));
    let median = |group: &[Errors], f: &dyn Fn(&Errors) -> f64| {
        stats::median(&group.iter().map(f).collect::<Vec<_>>())
    };
    let what = "supₜ ‖r − r*‖ / ‖r₀‖";
    let mut plot = Plot::new("Truncations of the hierarchy against gradient flow", "width n", what).log_log();
    let mut table = Table::new(&format!("{what}, medians over networks"), ["kernels"]);
    table.columns.extend(widths.iter().map(|n| format!("n = {n}")));
    table.columns.push("exponent".to_owned());
    let expected = [(-1.0, Side::Both), (-1.0, Side::Both), (-1.5, Side::Above)];
    for (model, (name, (rate, side))) in MODELS.into_iter().zip(expected).enumerate() {
        let values: Vec<f64> = groups.iter().map(|group| median(group, &|e| worst(&e[model]))).collect();
        let fit = stats::power_law(&n, &values)?;
        report.claim(common::rate(SOURCE, &format!("exponent in n of the error of {name}"), rate, side, fit));
        let mut row = vec![name.to_owned()];
        row.extend(values.iter().map(|value| format!("{value:.3e}")));
        row.push(format!("{:.3} ± {:.3}", fit.slope, fit.standard_error));
        table = table.row(row);
        plot = plot.line(name, n.iter().zip(&values).map(|(&n, &value)| [n, value]));
    }
    let ends = [n[0], n[n.len() - 1]];
    plot = plot
        .reference("1/n", ends.map(|n| [n, 1.0 / n]))
        .reference("1/n²", ends.map(|n| [n, 10.0 / (n * n)]));

    let widest = groups[groups.len() - 1];
    let ratio = |model: usize| median(widest, &|e: &Errors| worst(&e[model]) / worst(&e[0]));
    report.claim(Claim::new(
        SOURCE,
        format!("error with K₃ alone over that of the frozen kernel, n = {}", widths[widths.len() - 1]),
        Criterion::AtLeast(0.7),
        ratio(1),
    ));
    report.claim(Claim::new(
        SOURCE,
        format!("error with K₃ and K₄ over that of the frozen kernel, n = {}", widths[widths.len() - 1]),
        Criterion::AtMost(0.5),
        ratio(2),
    ));

    let title = format!("n = {}: error along gradient flow", widths[widths.len() - 1]);
    let mut curves = Plot::new(&title, "time t", "‖r − r*‖ / ‖r₀‖");
    for (model, name) in MODELS.into_iter().enumerate() {
        let at = |step: usize| median(widest, &|e: &Errors| e[model][step]);
        let h = task.time / task.steps as f64;
        curves = curves.line(name, (0..=task.steps).map(|step| [step as f64 * h, at(step)]));
    }
    report.plot(plot).plot(curves).table(table);
    Ok(())
}

fn norm(a: &Array1<f64>) -> f64 {
    a.dot(a).sqrt()
}
