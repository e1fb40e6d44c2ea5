//! `Expr`: a coordinatewise function as a tree, so that it can be differentiated, classified, printed and stored.

mod algebra;

use super::Function;
use crate::Activation;

/// A function of the coordinates of vectors (arguments) and of scalars (parameters).
///
/// Built by operators and by the constructors, which simplify: sums and products are flat, constants are folded.
///
/// ```
/// use ntk_core::program::Expr;
///
/// let x = Expr::arg(0);
/// let gelu = x.clone() * (1.0 + (x * 0.5f64.sqrt()).erf()) * 0.5;
/// assert!((gelu.eval(&[1.0], &[]) - 0.8413447460685429).abs() < 1e-15);
/// let slope = gelu.derivative(0);
/// assert!((slope.eval(&[0.0], &[]) - 0.5).abs() < 1e-15);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum Expr {
    /// The coordinate of the i-th vector.
    Arg(usize),
    /// The i-th scalar.
    Param(usize),
    /// A number.
    Constant(f64),
    /// Σ.
    Sum(Vec<Expr>),
    /// Π.
    Product(Vec<Expr>),
    /// A constant power.
    Power(Box<Expr>, f64),
    /// A function of one number.
    Apply(Function, Box<Expr>),
}

impl Expr {
    /// The coordinate of the i-th vector.
    pub fn arg(i: usize) -> Self {
        Expr::Arg(i)
    }

    /// The i-th scalar.
    pub fn param(i: usize) -> Self {
        Expr::Param(i)
    }

    /// f(x).
    pub fn apply(f: Function, x: Expr) -> Self {
        match x {
            Expr::Constant(x) => Expr::Constant(f.eval(x)),
            x => Expr::Apply(f, Box::new(x)),
        }
    }

    /// max(x, 0).
    pub fn relu(self) -> Self {
        Expr::apply(Function::Relu, self)
    }

    /// erf x.
    pub fn erf(self) -> Self {
        Expr::apply(Function::Erf, self)
    }

    /// tanh x.
    pub fn tanh(self) -> Self {
        Expr::apply(Function::Tanh, self)
    }

    /// 1/(1 + e⁻ˣ).
    pub fn sigmoid(self) -> Self {
        Expr::apply(Function::Sigmoid, self)
    }

    /// eˣ.
    pub fn exp(self) -> Self {
        Expr::apply(Function::Exp, self)
    }

    /// xᵖ.
    pub fn power(self, p: f64) -> Self {
        match self {
            _ if p == 0.0 => Expr::Constant(1.0),
            x if p == 1.0 => x,
            Expr::Constant(x) => Expr::Constant(x.powf(p)),
            // (xᵃ)ᵖ = xᵃᵖ for integer powers; for others signs would be lost.
            Expr::Power(x, a) if a.fract() == 0.0 && p.fract() == 0.0 && (a > 0.0) == (p > 0.0) => {
                x.power(a * p)
            }
            x => Expr::Power(Box::new(x), p),
        }
    }

    /// Σ, without nested sums and zeros.
    pub fn sum(terms: impl IntoIterator<Item = Expr>) -> Self {
        let (mut constant, mut rest) = (0.0, Vec::new());
        let mut take = |term: Expr| match term {
            Expr::Constant(c) => constant += c,
            term => rest.push(term),
        };
        for term in terms {
            match term {
                Expr::Sum(terms) => terms.into_iter().for_each(&mut take),
                term => take(term),
            }
        }
        if constant != 0.0 || rest.is_empty() {
            rest.push(Expr::Constant(constant));
        }
        if rest.len() == 1 { rest.swap_remove(0) } else { Expr::Sum(rest) }
    }

    /// Π, without nested products and ones.
    pub fn product(factors: impl IntoIterator<Item = Expr>) -> Self {
        let (mut constant, mut rest) = (1.0, Vec::new());
        let mut take = |factor: Expr| match factor {
            Expr::Constant(c) => constant *= c,
            factor => rest.push(factor),
        };
        for factor in factors {
            match factor {
                Expr::Product(factors) => factors.into_iter().for_each(&mut take),
                factor => take(factor),
            }
        }
        if constant == 0.0 {
            return Expr::Constant(0.0);
        }
        if constant != 1.0 || rest.is_empty() {
            rest.insert(0, Expr::Constant(constant));
        }
        if rest.len() == 1 { rest.swap_remove(0) } else { Expr::Product(rest) }
    }

    /// An activation of the first argument; none for those that are no function of this set.
    pub fn activation(phi: &Activation) -> Option<Self> {
        let x = || Expr::arg(0);
        let clamp = |x: Expr, low: f64, high: f64| {
            // Differences of two rectified lines.
            (x.clone() - low).relu() - (x - high).relu() + low
        };
        Some(match *phi {
            Activation::Relu => x().relu(),
            Activation::LeakyRelu { alpha } => x() * alpha + x().relu() * (1.0 - alpha),
            Activation::Abs => x().relu() + (-x()).relu(),
            Activation::AbRelu { a, b } => x() * a + x().relu() * (b - a),
            Activation::Step => Expr::apply(Function::Step, x()),
            Activation::Sign => Expr::apply(Function::Step, x()) * 2.0 - 1.0,
            Activation::Erf { a, b, c } => (x() * b).erf() * a + c,
            Activation::Gelu => x() * (1.0 + (x() * std::f64::consts::FRAC_1_SQRT_2).erf()) * 0.5,
            Activation::Sin { a, b, c } => Expr::apply(Function::Sin, x() * b + c) * a,
            Activation::Cos { a, b, c } => Expr::apply(Function::Cos, x() * b + c) * a,
            Activation::Exp { a, b } => (x() * b).exp() * a,
            Activation::Gaussian { a, b } => (x().power(2.0) * b).exp() * a,
            Activation::Monomial { degree } => x().power(f64::from(degree)),
            Activation::Polynomial { ref coefficients } => {
                Expr::sum(coefficients.iter().enumerate().map(|(k, &c)| x().power(k as f64) * c))
            }
            Activation::RectifiedMonomial { degree: 0 } => Expr::apply(Function::Step, x()),
            Activation::RectifiedMonomial { degree } => x().relu().power(f64::from(degree)),
            Activation::Tanh => x().tanh(),
            Activation::Sigmoid => x().sigmoid(),
            Activation::Softplus => Expr::apply(Function::Softplus, x()),
            Activation::Silu => x() * x().sigmoid(),
            Activation::HardTanh => clamp(x(), -1.0, 1.0),
            Activation::HardSigmoid => clamp(x() * (1.0 / 6.0) + 0.5, 0.0, 1.0),
            _ => return None,
        })
    }

    /// The value at these coordinates and scalars; NaN where an argument or a parameter is missing.
    pub fn eval(&self, args: &[f64], params: &[f64]) -> f64 {
        match self {
            Expr::Arg(i) => args.get(*i).copied().unwrap_or(f64::NAN),
            Expr::Param(i) => params.get(*i).copied().unwrap_or(f64::NAN),
            Expr::Constant(c) => *c,
            Expr::Sum(terms) => terms.iter().map(|term| term.eval(args, params)).sum(),
            Expr::Product(factors) => factors.iter().map(|factor| factor.eval(args, params)).product(),
            Expr::Power(x, p) => power(x.eval(args, params), *p),
            Expr::Apply(f, x) => f.eval(x.eval(args, params)),
        }
    }

    /// The values at many coordinates, `args[i]` being the i-th vector: all of the length of `out`, or a part of the
    /// result is NaN.
    pub fn eval_all(&self, args: &[&[f64]], params: &[f64], out: &mut [f64]) {
        let all = out.len();
        for first in (0..all).step_by(BLOCK) {
            let last = all.min(first + BLOCK);
            let args: Vec<&[f64]> = args.iter().map(|arg| arg.get(first..last).unwrap_or_default()).collect();
            self.eval_block(&args, params, &mut out[first..last]);
        }
    }

    fn eval_block(&self, args: &[&[f64]], params: &[f64], out: &mut [f64]) {
        match self {
            Expr::Arg(i) => match args.get(*i).filter(|arg| arg.len() == out.len()) {
                Some(arg) => out.copy_from_slice(arg),
                None => out.fill(f64::NAN),
            },
            Expr::Param(i) => out.fill(params.get(*i).copied().unwrap_or(f64::NAN)),
            Expr::Constant(c) => out.fill(*c),
            Expr::Sum(parts) | Expr::Product(parts) => {
                let sum = matches!(self, Expr::Sum(_));
                out.fill(if sum { 0.0 } else { 1.0 });
                let mut buffer = [0.0; BLOCK];
                let next = &mut buffer[..out.len()];
                for part in parts {
                    part.eval_block(args, params, next);
                    let pairs = out.iter_mut().zip(&*next);
                    if sum { pairs.for_each(|(o, x)| *o += x) } else { pairs.for_each(|(o, x)| *o *= x) }
                }
            }
            Expr::Power(x, p) => {
                x.eval_block(args, params, out);
                out.iter_mut().for_each(|x| *x = power(*x, *p));
            }
            Expr::Apply(f, x) => {
                x.eval_block(args, params, out);
                out.iter_mut().for_each(|x| *x = f.eval(*x));
            }
        }
    }

    /// ∂/∂(i-th argument), almost everywhere.
    pub fn derivative(&self, i: usize) -> Expr {
        self.differentiate(&Expr::Arg(i))
    }

    /// ∂/∂(i-th parameter), almost everywhere.
    pub fn derivative_param(&self, i: usize) -> Expr {
        self.differentiate(&Expr::Param(i))
    }

    fn differentiate(&self, by: &Expr) -> Expr {
        match self {
            Expr::Arg(_) | Expr::Param(_) => Expr::Constant(f64::from(u8::from(self == by))),
            Expr::Constant(_) => Expr::Constant(0.0),
            Expr::Sum(terms) => Expr::sum(terms.iter().map(|term| term.differentiate(by))),
            Expr::Product(factors) => Expr::sum((0..factors.len()).map(|k| {
                let factor = |(j, f): (usize, &Expr)| if j == k { f.differentiate(by) } else { f.clone() };
                Expr::product(factors.iter().enumerate().map(factor))
            })),
            Expr::Power(x, p) => {
                Expr::product([Expr::Constant(*p), (**x).clone().power(p - 1.0), x.differentiate(by)])
            }
            Expr::Apply(f, x) => match x.differentiate(by) {
                Expr::Constant(0.0) => Expr::Constant(0.0),
                inner => Expr::product([f.derivative(x), inner]),
            },
        }
    }

    /// The expression with its arguments and parameters replaced; those without a replacement stay.
    pub fn substitute(&self, args: &[Expr], params: &[Expr]) -> Expr {
        match self {
            Expr::Arg(i) => args.get(*i).unwrap_or(self).clone(),
            Expr::Param(i) => params.get(*i).unwrap_or(self).clone(),
            Expr::Constant(_) => self.clone(),
            Expr::Sum(terms) => Expr::sum(terms.iter().map(|term| term.substitute(args, params))),
            Expr::Product(factors) => Expr::product(factors.iter().map(|f| f.substitute(args, params))),
            Expr::Power(x, p) => x.substitute(args, params).power(*p),
            Expr::Apply(f, x) => Expr::apply(*f, x.substitute(args, params)),
        }
    }

    /// The expression with its arguments numbered from `args` on and its parameters from `params` on.
    pub fn shift(&self, args: usize, params: usize) -> Expr {
        let (last_arg, last_param) = self.arity();
        let moved_args: Vec<Expr> = (0..last_arg).map(|i| Expr::Arg(i + args)).collect();
        let moved_params: Vec<Expr> = (0..last_param).map(|i| Expr::Param(i + params)).collect();
        self.substitute(&moved_args, &moved_params)
    }

    /// How many arguments and parameters it reads: one more than the largest index of each.
    pub fn arity(&self) -> (usize, usize) {
        let mut arity = (0, 0);
        self.visit(&mut |e| match e {
            Expr::Arg(i) => arity.0 = arity.0.max(i + 1),
            Expr::Param(i) => arity.1 = arity.1.max(i + 1),
            _ => {}
        });
        arity
    }

    /// Whether an argument is read.
    pub fn reads(&self, i: usize) -> bool {
        let mut reads = false;
        self.visit(&mut |e| reads |= *e == Expr::Arg(i));
        reads
    }

    /// Whether every derivative exists everywhere: it has no corners and no jumps.
    pub fn is_smooth(&self) -> bool {
        let mut smooth = true;
        self.visit(&mut |e| smooth &= !matches!(e, Expr::Apply(Function::Relu | Function::Step, _)));
        smooth
    }

    /// Calls `f` with every part, from the leaves up.
    pub fn visit(&self, f: &mut impl FnMut(&Expr)) {
        match self {
            Expr::Sum(parts) | Expr::Product(parts) => parts.iter().for_each(|part| part.visit(f)),
            Expr::Power(x, _) | Expr::Apply(_, x) => x.visit(f),
            Expr::Arg(_) | Expr::Param(_) | Expr::Constant(_) => {}
        }
        f(self);
    }

    /// (a, c) of Σ aᵢ argᵢ + c, if it is one without parameters.
    pub fn as_affine(&self) -> Option<(Vec<(usize, f64)>, f64)> {
        match self {
            Expr::Arg(i) => Some((vec![(*i, 1.0)], 0.0)),
            Expr::Constant(c) => Some((Vec::new(), *c)),
            Expr::Sum(terms) => {
                let (mut all, mut constant) = (Vec::<(usize, f64)>::new(), 0.0);
                for term in terms {
                    let (part, c) = term.as_affine()?;
                    constant += c;
                    for (i, a) in part {
                        match all.iter_mut().find(|(j, _)| *j == i) {
                            Some((_, sum)) => *sum += a,
                            None => all.push((i, a)),
                        }
                    }
                }
                Some((all, constant))
            }
            Expr::Product(factors) => match &factors[..] {
                [Expr::Constant(c), x] => {
                    let (all, constant) = x.as_affine()?;
                    Some((all.into_iter().map(|(i, a)| (i, a * c)).collect(), constant * c))
                }
                _ => None,
            },
            Expr::Param(_) | Expr::Power(..) | Expr::Apply(..) => None,
        }
    }
}

/// Coordinates that are evaluated together.
const BLOCK: usize = 256;

fn power(x: f64, p: f64) -> f64 {
    if p == 2.0 {
        x * x
    } else if p.fract() == 0.0 && p.abs() < 1e9 {
        x.powi(p as i32)
    } else {
        x.powf(p)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_equal_differences() {
        let (x, y) = (Expr::arg(0), Expr::arg(1));
        let functions = [
            (x.clone() * 0.7 + y.clone()).erf() * x.clone(),
            (x.clone() - y.clone() * 0.3).tanh().power(3.0) + x.clone().sigmoid(),
            (1.0 + x.clone().power(2.0)).power(-0.5) * y.clone().exp(),
            Expr::apply(Function::Sin, x.clone() * y.clone()) + Expr::apply(Function::Softplus, y.clone()),
            Expr::apply(Function::Ln, 2.0 + x.clone().power(2.0)) * Expr::apply(Function::Cos, y),
        ];
        for f in functions {
            for i in 0..2 {
                let at = |h: f64| {
                    let mut point = [0.4, -0.7];
                    point[i] += h;
                    f.eval(&point, &[])
                };
                let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((f.derivative(i).eval(&[0.4, -0.7], &[]) - difference).abs() < 1e-9, "{f}, {i}");
            }
        }
    }

    #[test]
    fn activations_are_themselves() {
        let all = [
            Activation::Relu,
            Activation::LeakyRelu { alpha: 0.1 },
            Activation::Abs,
            Activation::AbRelu { a: -0.2, b: 1.5 },
            Activation::ERF,
            Activation::Gelu,
            Activation::Sin { a: 1.5, b: 0.3, c: 0.2 },
            Activation::Polynomial { coefficients: vec![0.1, -1.0, 0.0, 0.5] },
            Activation::RectifiedMonomial { degree: 2 },
            Activation::Tanh,
            Activation::Silu,
            Activation::Softplus,
            Activation::HardTanh,
            Activation::HardSigmoid,
            Activation::Sign,
        ];
        for phi in all {
            let expr = Expr::activation(&phi).unwrap();
            for x in [-4.0, -0.6, 0.3, 1.7, 5.0] {
                assert!((expr.eval(&[x], &[]) - phi.eval(x).unwrap()).abs() < 1e-14, "{phi:?} at {x}");
                let slope = expr.derivative(0).eval(&[x], &[]);
                assert!((slope - phi.derivative(x).unwrap()).abs() < 1e-14, "{phi:?}′ at {x}");
            }
        }
    }

    #[test]
    fn many_values_are_those_of_one_after_another() {
        let f = (Expr::arg(0) * Expr::param(0) + Expr::arg(1)).tanh() * Expr::arg(1).power(2.0) + 0.5;
        let x: Vec<f64> = (0..600).map(|k| (k as f64 * 0.37).sin()).collect();
        let y: Vec<f64> = (0..600).map(|k| (k as f64 * 0.11).cos()).collect();
        let mut out = vec![0.0; 600];
        f.eval_all(&[&x, &y], &[1.3], &mut out);
        for k in 0..600 {
            assert_eq!(out[k], f.eval(&[x[k], y[k]], &[1.3]));
        }
    }

    #[test]
    fn expressions_simplify_and_print() {
        let x = Expr::arg(0);
        assert_eq!(x.clone() * 0.0 + 2.0, Expr::Constant(2.0));
        assert_eq!((x.clone() + 1.0) + (x.clone() - 1.0), Expr::Sum(vec![x.clone(), x.clone()]));
        assert_eq!((x.clone() * 2.0 + Expr::arg(1)).as_affine(), Some((vec![(0, 2.0), (1, 1.0)], 0.0)));
        assert_eq!((x.clone() * x.clone()).as_affine(), None);
        assert_eq!((-(x.clone() + 1.0)).relu().power(2.0).to_string(), "relu(-1·(x0 + 1))^2");
        assert_eq!((x * Expr::param(1)).shift(2, 1), Expr::Product(vec![Expr::Arg(2), Expr::Param(2)]));
    }
}
