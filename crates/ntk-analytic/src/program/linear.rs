//! `LinearLimit`: programs of linear functions, exactly, in fractions.

use std::collections::BTreeMap;

use ntk_core::program::{
    Estimate, Expr, Interpretation, Line, Program, ScalarId, ScalarOp, VectorId, VectorOp,
};

use super::error::Error;

/// A fraction of 128-bit numbers in lowest terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction {
    /// Above the line.
    pub numerator: i128,
    /// Below it, positive.
    pub denominator: i128,
}

impl Fraction {
    const ZERO: Fraction = Fraction { numerator: 0, denominator: 1 };
    const ONE: Fraction = Fraction { numerator: 1, denominator: 1 };

    fn new(numerator: i128, denominator: i128) -> Option<Self> {
        let (mut a, mut b) = (numerator.unsigned_abs(), denominator.unsigned_abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let divisor = i128::try_from(a.max(1)).ok()? * denominator.signum();
        (denominator != 0)
            .then(|| Fraction { numerator: numerator / divisor, denominator: denominator / divisor })
    }

    /// The number itself: every f64 is a fraction, and this one's must fit.
    fn of(x: f64) -> Option<Self> {
        let mut denominator = 1i128;
        let mut x = x;
        while x.fract() != 0.0 {
            x *= 2.0;
            denominator = denominator.checked_mul(2).filter(|d| *d < 1 << 100)?;
        }
        (x.abs() < 1e30).then(|| Fraction::new(x as i128, denominator))?
    }

    fn plus(self, other: Self) -> Option<Self> {
        let a = self.numerator.checked_mul(other.denominator)?;
        let b = other.numerator.checked_mul(self.denominator)?;
        Fraction::new(a.checked_add(b)?, self.denominator.checked_mul(other.denominator)?)
    }

    fn times(self, other: Self) -> Option<Self> {
        // Across first, which keeps the products small.
        let a = Fraction::new(self.numerator, other.denominator)?;
        let b = Fraction::new(other.numerator, self.denominator)?;
        Fraction::new(a.numerator.checked_mul(b.numerator)?, a.denominator.checked_mul(b.denominator)?)
    }

    /// The nearest number.
    pub fn to_f64(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }
}

impl std::fmt::Display for Fraction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.numerator)?;
        if self.denominator == 1 { Ok(()) } else { write!(f, "/{}", self.denominator) }
    }
}

/// A linear function of symbols: inputs, and the Gaussian parts of products; symbol `None` is the constant 1.
type Linear = BTreeMap<Option<usize>, Fraction>;

/// The limit of a program all of whose functions are linear, exactly: semicircle, Marchenko–Pastur and products of matrices
/// come out as the integers of combinatorics.
///
/// ```
/// use ntk_analytic::program::LinearLimit;
/// use ntk_core::program::Builder;
///
/// // E Z^v Z^{Mᵏv} for M = W + Wᵀ with entries N(0, 1/(2n)): the moments of the semicircle.
/// let mut p = Builder::new();
/// let (v, w) = (p.input("v", 0.0, 1.0)?, p.matrix("W", 0.5)?);
/// let mut powers = vec![v];
/// for k in 0..4 {
///     let (a, b) = (p.matmul(w, powers[k])?, p.matmul_transposed(w, powers[k])?);
///     powers.push(p.combine(&[(1.0, a), (1.0, b)])?);
/// }
/// let limit = LinearLimit::new(p.finish())?;
/// let moments: Vec<String> = powers.iter().map(|&x| limit.exact(v, x).unwrap().to_string()).collect();
/// assert_eq!(moments, ["1", "0", "1", "0", "2"]);
/// # Ok::<(), ntk_analytic::program::Error>(())
/// ```
#[derive(Debug)]
pub struct LinearLimit {
    program: Program,
    vectors: Vec<Linear>,
    scalars: Vec<Fraction>,
    /// Covariances of symbols, of those that have one.
    covariances: BTreeMap<(usize, usize), Fraction>,
    /// Means of inputs.
    means: BTreeMap<usize, Fraction>,
}

impl LinearLimit {
    /// Evaluates a program.
    ///
    /// # Errors
    /// [`Error::NotLinear`], [`Error::Fraction`].
    pub fn new(program: Program) -> Result<Self, Error> {
        let mut limit = LinearLimit {
            program: Program::default(),
            vectors: Vec::new(),
            scalars: Vec::new(),
            covariances: BTreeMap::new(),
            means: BTreeMap::new(),
        };
        for (at, line) in program.lines().iter().enumerate() {
            match line {
                Line::Inputs(group) => limit.input(&program, *group, at + 1)?,
                Line::Vector(id) => {
                    let value = limit.vector(&program, *id, at + 1)?;
                    limit.vectors.push(value);
                }
                Line::Scalar(id) => {
                    let value = limit.scalar_value(&program, *id, at + 1)?;
                    limit.scalars.push(value);
                }
                Line::Matrix(_) | Line::Dimension { .. } | Line::Output(_) => {}
            }
        }
        limit.program = program;
        Ok(limit)
    }

    /// E Z^x Z^y.
    ///
    /// # Errors
    /// [`Error::Fraction`].
    pub fn exact(&self, x: VectorId, y: VectorId) -> Result<Fraction, Error> {
        let (a, b) = (&self.vectors[x.index()], &self.vectors[y.index()]);
        self.product(a, b).ok_or_else(|| Error::Fraction { name: self.program.name(y).to_owned() })
    }

    fn input(&mut self, program: &Program, group: usize, line: usize) -> Result<(), Error> {
        let inputs = &program.inputs()[group];
        let name = |x: VectorId| Error::NotLinear { line, name: program.name(x).to_owned() };
        for (i, &x) in inputs.vectors.iter().enumerate() {
            let fraction = |value: f64| Fraction::of(value).ok_or_else(|| name(x));
            self.means.insert(x.index(), fraction(inputs.mean[i])?);
            for (j, y) in inputs.vectors.iter().enumerate().take(i + 1) {
                let value = fraction(inputs.covariance[[i, j]])?;
                self.covariances.insert((x.index(), y.index()), value);
                self.covariances.insert((y.index(), x.index()), value);
            }
            self.vectors.push(Linear::from([(Some(x.index()), Fraction::ONE)]));
        }
        Ok(())
    }

    fn vector(&mut self, program: &Program, id: VectorId, line: usize) -> Result<Linear, Error> {
        let overflow = || Error::Fraction { name: program.name(id).to_owned() };
        let not_linear = || Error::NotLinear { line, name: program.name(id).to_owned() };
        match program.vector(id) {
            VectorOp::Input { .. } => Err(not_linear()),
            VectorOp::LinComb(terms) => {
                let terms: Option<Vec<(Fraction, &Linear)>> =
                    terms.iter().map(|(a, x)| Some((Fraction::of(*a)?, &self.vectors[x.index()]))).collect();
                combine(&terms.ok_or_else(not_linear)?, Fraction::ZERO).ok_or_else(overflow)
            }
            VectorOp::Nonlin { f, vectors, scalars } => {
                let (slopes, constant) = self.affine(f, scalars, vectors.len()).ok_or_else(not_linear)?;
                let terms = slopes.into_iter().zip(vectors).map(|(a, x)| (a, &self.vectors[x.index()]));
                combine(&terms.collect::<Vec<_>>(), constant).ok_or_else(overflow)
            }
            VectorOp::MatMul { matrix, transposed, vector } => {
                let variance = Fraction::of(program.variance(*matrix, *transposed)).ok_or_else(not_linear)?;
                self.multiply(program, id, (*matrix, *transposed), *vector, variance).ok_or_else(overflow)
            }
        }
    }

    /// Ẑ + Ż of one product.
    fn multiply(
        &mut self,
        program: &Program,
        id: VectorId,
        of: (ntk_core::program::MatrixId, bool),
        vector: VectorId,
        variance: Fraction,
    ) -> Option<Linear> {
        let mut own = Linear::from([(Some(id.index()), Fraction::ONE)]);
        let x = self.vectors[vector.index()].clone();
        for y in program.vectors().take(id.index() + 1) {
            let VectorOp::MatMul { matrix, transposed, vector: z } = *program.vector(y) else { continue };
            if matrix != of.0 {
                continue;
            }
            if transposed == of.1 {
                let covariance = variance.times(self.product(&x, &self.vectors[z.index()])?)?;
                self.covariances.insert((id.index(), y.index()), covariance);
                self.covariances.insert((y.index(), id.index()), covariance);
            } else if let Some(slope) = x.get(&Some(y.index())) {
                let factor = variance.times(*slope)?;
                own = combine(&[(Fraction::ONE, &own), (factor, &self.vectors[z.index()])], Fraction::ZERO)?;
            }
        }
        Some(own)
    }

    fn scalar_value(&self, program: &Program, id: ScalarId, line: usize) -> Result<Fraction, Error> {
        let name = || program.scalar_name(id).to_owned();
        match program.scalar(id) {
            ScalarOp::Moment { f, vectors, scalars } => {
                // A product of two linear functions is the one nonlinear function whose mean is still exact.
                self.moment(f, vectors, scalars).ok_or_else(|| Error::NotLinear { line, name: name() })
            }
            ScalarOp::Function { f, scalars } => {
                let value = self.affine(f, scalars, 0);
                value.map(|(_, c)| c).ok_or_else(|| Error::NotLinear { line, name: name() })
            }
        }
    }

    fn moment(&self, f: &Expr, vectors: &[VectorId], scalars: &[ScalarId]) -> Option<Fraction> {
        let linear = |f: &Expr| {
            let (slopes, constant) = self.affine(f, scalars, vectors.len())?;
            let terms = slopes.into_iter().zip(vectors).map(|(a, x)| (a, &self.vectors[x.index()]));
            combine(&terms.collect::<Vec<_>>(), constant)
        };
        let one = Linear::from([(None, Fraction::ONE)]);
        match f {
            Expr::Power(x, 2.0) => {
                let x = linear(x)?;
                self.product(&x, &x)
            }
            Expr::Product(factors) if linear(f).is_none() => {
                let (numbers, rest): (Vec<&Expr>, Vec<&Expr>) =
                    factors.iter().partition(|factor| factor.arity().0 == 0);
                let [a, b] = rest[..] else { return None };
                let constant = numbers
                    .iter()
                    .try_fold(Fraction::ONE, |product, c| product.times(self.affine(c, scalars, 0)?.1))?;
                self.product(&linear(a)?, &linear(b)?)?.times(constant)
            }
            f => self.product(&linear(f)?, &one),
        }
    }

    /// Slopes in the arguments and the constant, with scalars at their values.
    fn affine(&self, f: &Expr, scalars: &[ScalarId], args: usize) -> Option<(Vec<Fraction>, Fraction)> {
        let constant = |c: Fraction| (vec![Fraction::ZERO; args], c);
        match f {
            Expr::Arg(i) => {
                let (mut slopes, c) = constant(Fraction::ZERO);
                *slopes.get_mut(*i)? = Fraction::ONE;
                Some((slopes, c))
            }
            Expr::Param(i) => Some(constant(self.scalars[scalars.get(*i)?.index()])),
            Expr::Constant(c) => Some(constant(Fraction::of(*c)?)),
            Expr::Sum(terms) => terms.iter().try_fold(constant(Fraction::ZERO), |(a, c), term| {
                let (b, d) = self.affine(term, scalars, args)?;
                let slopes = a.iter().zip(&b).map(|(a, b)| a.plus(*b)).collect::<Option<_>>()?;
                Some((slopes, c.plus(d)?))
            }),
            Expr::Product(factors) => factors.iter().try_fold(constant(Fraction::ONE), |(a, c), factor| {
                let (b, d) = self.affine(factor, scalars, args)?;
                // One of the two is a number.
                let number = |slopes: &[Fraction]| slopes.iter().all(|a| *a == Fraction::ZERO);
                let (slopes, scale) = if number(&b) { (a, d) } else { number(&a).then_some((b, c))? };
                let slopes = slopes.iter().map(|a| a.times(scale)).collect::<Option<_>>()?;
                Some((slopes, c.times(d)?))
            }),
            Expr::Power(x, p) if p.fract() == 0.0 && (1.0..=16.0).contains(p) => {
                self.affine(&Expr::Product(vec![(**x).clone(); *p as usize]), scalars, args)
            }
            Expr::Power(..) | Expr::Apply(..) => None,
        }
    }

    /// E of a product.
    fn product(&self, x: &Linear, y: &Linear) -> Option<Fraction> {
        let mut sum = Fraction::ZERO;
        let mean = |s: &Option<usize>| match s {
            None => Fraction::ONE,
            Some(s) => self.means.get(s).copied().unwrap_or(Fraction::ZERO),
        };
        for (s, a) in x {
            for (t, b) in y {
                let covariance = match (s, t) {
                    (Some(s), Some(t)) => self.covariances.get(&(*s, *t)).copied().unwrap_or(Fraction::ZERO),
                    _ => Fraction::ZERO,
                };
                let second = covariance.plus(mean(s).times(mean(t))?)?;
                sum = sum.plus(a.times(*b)?.times(second)?)?;
            }
        }
        Some(sum)
    }
}

/// Σ a x + constant.
fn combine(terms: &[(Fraction, &Linear)], constant: Fraction) -> Option<Linear> {
    let mut sum = Linear::from([(None, constant)]);
    for (a, x) in terms {
        for (symbol, b) in *x {
            let entry = sum.entry(*symbol).or_insert(Fraction::ZERO);
            *entry = entry.plus(a.times(*b)?)?;
        }
    }
    sum.retain(|_, a| *a != Fraction::ZERO);
    Some(sum)
}

impl Interpretation for LinearLimit {
    type Error = Error;

    fn program(&self) -> &Program {
        &self.program
    }

    fn mean(&self, f: &Expr, vectors: &[VectorId], scalars: &[ScalarId]) -> Result<Estimate, Error> {
        let value = self.moment(f, vectors, scalars);
        let value = value.ok_or_else(|| Error::NotLinear { line: 0, name: f.to_string() })?;
        Ok(Estimate::exact(value.to_f64()))
    }

    fn scalar(&self, s: ScalarId) -> Result<Estimate, Error> {
        Ok(Estimate::exact(self.scalars[s.index()].to_f64()))
    }
}
