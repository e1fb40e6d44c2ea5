//! Tensor programs of a few lines, as recipes in which a line is left out where it does not fit: shorter recipes are
//! programs too, which is how they shrink.

use ndarray::Array2;
use ntk_core::program::{Builder, Error, Expr, Function, MatrixId, Program, ScalarId, VectorId};
use proptest::prelude::*;

/// Products with matrices that a program has at most.
const PRODUCTS: usize = 6;

/// Powers of ‖x‖ that bound every vector: moments of higher ones vary too much to be told from few draws.
const DEGREE: u32 = 2;

/// Programs without transposes all of whose functions take one Gaussian vector, so that every mean in them and in their
/// backward passes is an integral over a plane; one to three outputs with a common readout of rate σ².
pub fn planar_program() -> impl Strategy<Value = Program> {
    recipe(Grammar::Planar).prop_map(Recipe::build)
}

/// Programs without transposes, with functions of several vectors, moments, and one to three outputs with a common
/// readout of rate σ².
pub fn forward_program() -> impl Strategy<Value = Program> {
    recipe(Grammar::Forward).prop_map(Recipe::build)
}

/// Programs of linear functions with short binary fractions as numbers, transposes among them; no outputs.
pub fn linear_program() -> impl Strategy<Value = Program> {
    recipe(Grammar::Linear).prop_map(Recipe::build)
}

/// Programs of everything the language has, with polynomially bounded functions, widths of several ratios and matrices
/// beside their transposes.
pub fn any_program() -> impl Strategy<Value = Program> {
    recipe(Grammar::Any).prop_map(Recipe::build)
}

/// What a program may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grammar {
    Planar,
    Forward,
    Linear,
    Any,
}

/// One line. Numbers count backward from the newest of what there is, and around.
#[derive(Clone, Debug)]
enum Step {
    Product { matrix: usize, transposed: bool, vector: usize },
    Combine { terms: [(f64, usize); 2] },
    Apply { f: Expr, vectors: [usize; 2] },
    Moment { f: Expr, vectors: [usize; 2] },
}

#[derive(Clone, Debug)]
struct Recipe {
    grammar: Grammar,
    /// Coordinates of the inputs, whose inner products are their covariance.
    inputs: Vec<[f64; 2]>,
    mean: f64,
    trained: bool,
    /// σ² of each matrix.
    matrices: Vec<f64>,
    steps: Vec<Step>,
    /// σ² of the readout, and the states it reads.
    outputs: (f64, Vec<usize>),
    /// Widths over n, in the order of the dimensions.
    ratios: Vec<f64>,
}

/// Multiples of ¼.
fn quarters(range: std::ops::RangeInclusive<i32>) -> impl Strategy<Value = f64> + Clone {
    range.prop_map(|k| f64::from(k) / 4.0)
}

fn recipe(grammar: Grammar) -> impl Strategy<Value = Recipe> {
    let coordinate = || quarters(-4..=4);
    let inputs = prop::collection::vec([quarters(2..=4), coordinate()], 1..=3);
    let mean = if grammar == Grammar::Planar { Just(0.0).boxed() } else { coordinate().boxed() };
    let outputs = prop::collection::vec(0usize..4, 1..=3);
    let ratios = prop::collection::vec(prop_oneof![2 => Just(1.0), 1 => Just(2.0), 1 => Just(0.5)], 0..=4);
    let matrices = prop::collection::vec(quarters(2..=6), 1..=3);
    let steps = prop::collection::vec(step(grammar), 1..=10);
    (inputs, mean, any::<bool>(), matrices, steps, (quarters(2..=6), outputs), ratios).prop_map(
        move |(inputs, mean, trained, matrices, steps, outputs, ratios)| Recipe {
            grammar,
            inputs,
            mean,
            trained,
            matrices,
            steps,
            outputs,
            ratios,
        },
    )
}

fn step(grammar: Grammar) -> BoxedStrategy<Step> {
    let vector = || 0usize..5;
    let transposes = matches!(grammar, Grammar::Linear | Grammar::Any);
    let transposed = if transposes { any::<bool>().boxed() } else { Just(false).boxed() };
    let product = (0usize..3, transposed, vector()).prop_map(|(matrix, transposed, vector)| Step::Product {
        matrix,
        transposed,
        vector,
    });
    let term = || (prop_oneof![quarters(1..=4), quarters(-4..=-1)], vector());
    let combine = [term(), term()].prop_map(|terms| Step::Combine { terms });
    let apply = |f: BoxedStrategy<Expr>| {
        (f, [vector(), vector()]).prop_map(|(f, vectors)| Step::Apply { f, vectors }).boxed()
    };
    let moment = |f: BoxedStrategy<Expr>| {
        (f, [vector(), vector()]).prop_map(|(f, vectors)| Step::Moment { f, vectors }).boxed()
    };
    let (x, y, theta) = (Expr::arg(0), Expr::arg(1), Expr::param(0));
    let affine = quarters(-4..=4).prop_map(|c| Expr::arg(0) * 0.5 + c).boxed();
    let second = prop_oneof![Just(x.clone().power(2.0)), Just(x.clone() * y.clone())].boxed();
    match grammar {
        Grammar::Planar => prop_oneof![3 => product, 2 => combine, 4 => apply(function().boxed())].boxed(),
        Grammar::Linear => {
            let scaled = prop_oneof![affine, Just(x * (theta * 0.5))].boxed();
            prop_oneof![4 => product, 3 => combine, 1 => apply(scaled), 1 => moment(second)].boxed()
        }
        Grammar::Forward | Grammar::Any => {
            let of_two = prop_oneof![
                Just(x.clone() * y.clone().tanh()),
                Just(x.clone() * y.clone()),
                Just((x.clone() - y.clone() * 0.5).relu()),
            ];
            let scaled = prop_oneof![
                Just(x.clone() * (1.0 + theta.clone().power(2.0)).power(-0.5)),
                Just((x.clone() + theta).erf()),
            ];
            let mean = prop_oneof![second, Just(x.tanh() * y)].boxed();
            let all = prop_oneof![3 => function(), 2 => of_two, 1 => scaled].boxed();
            prop_oneof![4 => product, 2 => combine, 4 => apply(all), 1 => moment(mean)].boxed()
        }
    }
}

/// Functions of one vector.
fn function() -> impl Strategy<Value = Expr> {
    let x = || Expr::arg(0);
    prop_oneof![
        Just(x().relu()),
        Just(x().erf()),
        Just(x().tanh()),
        Just(x() * (1.0 + (x() * 0.5f64.sqrt()).erf()) * 0.5),
        Just(Expr::apply(Function::Sin, x() + 0.5)),
        Just(x().power(2.0) * 0.5),
    ]
}

/// The degree of a polynomial that bounds f where its arguments have bounds of these degrees.
fn degree(f: &Expr, of: &[u32]) -> u32 {
    match f {
        Expr::Arg(i) => of.get(*i).copied().unwrap_or(0),
        Expr::Param(_) | Expr::Constant(_) => 0,
        Expr::Sum(terms) => terms.iter().map(|term| degree(term, of)).max().unwrap_or(0),
        Expr::Product(factors) => factors.iter().map(|factor| degree(factor, of)).sum(),
        Expr::Power(x, p) => degree(x, of) * p.max(0.0) as u32,
        Expr::Apply(Function::Relu, x) => degree(x, of),
        Expr::Apply(..) => 0,
    }
}

/// A recipe being followed.
struct Kitchen {
    p: Builder,
    grammar: Grammar,
    vectors: Vec<VectorId>,
    degrees: Vec<u32>,
    scalars: Vec<ScalarId>,
    matrices: Vec<Option<MatrixId>>,
    products: usize,
}

/// What a number of a recipe means.
fn back(number: usize, count: usize) -> usize {
    count - 1 - number % count
}

impl Recipe {
    fn build(self) -> Program {
        // Every line fits: dimensions have no names before the end.
        self.try_build().unwrap_or_default()
    }

    fn try_build(self) -> Result<Program, Error> {
        let (mut p, n) = (Builder::new(), self.inputs.len());
        let names: Vec<String> = (0..n).map(|k| format!("x{k}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let inner = |a: [f64; 2], b: [f64; 2]| a[0] * b[0] + a[1] * b[1];
        let covariance = Array2::from_shape_fn((n, n), |(i, j)| inner(self.inputs[i], self.inputs[j]));
        let tangent = self.trained.then(|| covariance.clone());
        let vectors = p.inputs(&names, &vec![self.mean; n], covariance, tangent)?;
        let one = |value: f64| Array2::from_elem((1, 1), value);
        let (readout, states) = &self.outputs;
        let v = if self.grammar == Grammar::Linear {
            None
        } else {
            Some(p.inputs(&["v"], &[0.0], one(*readout), Some(one(*readout)))?[0])
        };
        let mut kitchen = Kitchen {
            p,
            grammar: self.grammar,
            degrees: vec![1; n],
            vectors,
            scalars: Vec::new(),
            matrices: vec![None; self.matrices.len()],
            products: 0,
        };
        for step in &self.steps {
            kitchen.step(step, &self.matrices)?;
        }
        let Kitchen { mut p, vectors, .. } = kitchen;
        if let Some(v) = v {
            let mut read = Vec::new();
            for state in states {
                let x = vectors[back(*state, vectors.len())];
                if !read.contains(&x) {
                    p.output(&format!("f{}", read.len()), v, x)?;
                    read.push(x);
                }
            }
        }
        let mut named = Vec::new();
        for x in p.program().vectors() {
            let class = p.program().class(x);
            if let (false, Some(ratio)) = (named.contains(&class), self.ratios.get(named.len())) {
                p.dimension(x, &format!("n{}", named.len()), *ratio)?;
                named.push(class);
            }
        }
        Ok(p.finish())
    }
}

impl Kitchen {
    fn step(&mut self, step: &Step, variances: &[f64]) -> Result<(), Error> {
        let at = |k: usize| back(k, self.vectors.len());
        match step {
            Step::Product { matrix, transposed, vector } => {
                if self.products == PRODUCTS {
                    return Ok(());
                }
                let (k, x) = (matrix % variances.len(), at(*vector));
                let w = match self.matrices[k] {
                    Some(w) => w,
                    None => self.p.matrix(&format!("W{k}"), variances[k])?,
                };
                self.matrices[k] = Some(w);
                self.products += 1;
                let x = self.vectors[x];
                let y = if *transposed { self.p.matmul_transposed(w, x)? } else { self.p.matmul(w, x)? };
                // A matrix remembers what its transpose multiplied.
                let degree = match self.grammar {
                    Grammar::Any => self.degrees.iter().copied().fold(1, u32::max),
                    _ => 1,
                };
                self.push(y, degree);
            }
            Step::Combine { terms } => {
                let [(a, x), (b, y)] = terms.map(|(a, x)| (a, at(x)));
                let degree = self.degrees[x].max(self.degrees[y]);
                let (x, y) = (self.vectors[x], self.vectors[y]);
                let terms = if x == y { vec![(a, x)] } else { vec![(a, x), (b, y)] };
                let sum = self.p.combine(&terms)?;
                self.push(sum, degree);
            }
            Step::Apply { f, vectors } => {
                let Some((vectors, scalars, degree)) = self.operands(f, vectors) else { return Ok(()) };
                if degree > DEGREE {
                    return Ok(());
                }
                let y = self.p.apply_with(f.clone(), &vectors, &scalars)?;
                self.push(y, degree);
            }
            Step::Moment { f, vectors } => {
                let Some((vectors, scalars, _)) = self.operands(f, vectors) else { return Ok(()) };
                let theta = self.p.moment(f.clone(), &vectors, &scalars)?;
                self.scalars.push(theta);
            }
        }
        Ok(())
    }

    /// The arguments of f with the degree of its value; none where it does not fit.
    fn operands(&self, f: &Expr, vectors: &[usize; 2]) -> Option<(Vec<VectorId>, Vec<ScalarId>, u32)> {
        let (args, params) = f.arity();
        let at: Vec<usize> = vectors[..args].iter().map(|&k| back(k, self.vectors.len())).collect();
        let vectors: Vec<VectorId> = at.iter().map(|&k| self.vectors[k]).collect();
        let degrees: Vec<u32> = at.iter().map(|&k| self.degrees[k]).collect();
        let gaussian = vectors.iter().all(|&x| self.p.program().is_gaussian(x));
        if self.grammar == Grammar::Planar && !gaussian {
            return None;
        }
        let scalars = match params {
            0 => Vec::new(),
            _ => vec![*self.scalars.last()?],
        };
        Some((vectors, scalars, degree(f, &degrees)))
    }

    fn push(&mut self, x: VectorId, degree: u32) {
        // Lines that say the same are one.
        if !self.vectors.contains(&x) {
            self.vectors.push(x);
            self.degrees.push(degree);
        }
    }
}
