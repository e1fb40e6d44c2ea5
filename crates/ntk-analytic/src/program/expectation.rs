//! E F(Z) for an expression F of jointly Gaussian variables, by the cheapest way that is exact enough.
//!
//! In this order: sums are taken apart; factors of independent variables are; an affine factor is pulled out by Stein's
//! identity, E z G = E z E G + Σ Cov(z, zⱼ) E ∂ⱼG; what remains has a closed form, or goes to quadrature over as many
//! dimensions as its covariance has ranks.

use std::collections::HashMap;

use ndarray::Array2;
use ntk_core::Activation;
use ntk_core::program::{Estimate, Expr, Function};

use super::gaussian;
use super::quadrature;
use crate::{Cov2, dual};

/// The law of the variables, and what was computed already.
pub(super) struct Gaussians {
    pub(super) mean: Vec<f64>,
    pub(super) covariance: Array2<f64>,
    memo: HashMap<String, Estimate>,
}

/// Products that a sum of products may have when it is taken apart.
const TERMS: usize = 4096;

impl Gaussians {
    pub(super) fn new() -> Self {
        Gaussians { mean: Vec::new(), covariance: Array2::zeros((0, 0)), memo: HashMap::new() }
    }

    /// Another variable, with its covariances with all before it and its variance.
    pub(super) fn push(&mut self, mean: f64, covariances: &[f64]) {
        let n = self.mean.len();
        let mut next = Array2::zeros((n + 1, n + 1));
        next.slice_mut(ndarray::s![..n, ..n]).assign(&self.covariance);
        for (i, &c) in covariances.iter().enumerate().take(n + 1) {
            (next[[i, n]], next[[n, i]]) = (c, c);
        }
        self.mean.push(mean);
        self.covariance = next;
    }

    /// E F, where argument i of F is variable i.
    pub(super) fn mean_of(&mut self, f: &Expr) -> Estimate {
        match expand(f, TERMS) {
            Some(terms) => self.sum(terms),
            None => self.term(1.0, vec![f.clone()]),
        }
    }

    fn sum(&mut self, terms: Vec<Term>) -> Estimate {
        let mut total = Estimate::default();
        for Term { constant, factors } in terms {
            total = total.plus(self.term(constant, factors));
        }
        total
    }

    /// E of a product.
    fn term(&mut self, constant: f64, factors: Vec<Expr>) -> Estimate {
        let mut product = Estimate::exact(constant);
        for block in self.blocks(factors) {
            if product.value == 0.0 && product.error == 0.0 {
                return product;
            }
            product = product.times(self.block(block));
        }
        product
    }

    /// Factors that share no correlated variables.
    fn blocks(&self, factors: Vec<Expr>) -> Vec<Vec<Expr>> {
        let mut blocks: Vec<(Vec<usize>, Vec<Expr>)> = Vec::new();
        for factor in factors {
            let (mut variables, mut own) = (variables(&factor), vec![factor]);
            let touches = |other: &[usize], variables: &[usize]| {
                variables.iter().any(|&i| other.iter().any(|&j| i == j || self.correlated(i, j)))
            };
            while let Some(at) = blocks.iter().position(|(other, _)| touches(other, &variables)) {
                let (others, more) = blocks.swap_remove(at);
                variables.extend(others);
                own.extend(more);
            }
            blocks.push((variables, own));
        }
        blocks.into_iter().map(|(_, factors)| factors).collect()
    }

    fn correlated(&self, i: usize, j: usize) -> bool {
        let scale = (self.covariance[[i, i]] * self.covariance[[j, j]]).sqrt();
        self.covariance[[i, j]].abs() > 1e-15 * scale
    }

    /// E of the product of correlated factors.
    fn block(&mut self, mut factors: Vec<Expr>) -> Estimate {
        factors.sort_by_cached_key(ToString::to_string);
        let key = factors.iter().map(|f| format!("{f:?}")).collect::<Vec<_>>().join("·");
        if let Some(&known) = self.memo.get(&key) {
            return known;
        }
        let value = self.fresh_block(factors);
        self.memo.insert(key, value);
        value
    }

    fn fresh_block(&mut self, mut factors: Vec<Expr>) -> Estimate {
        // A jump has no derivative, and those of exp(−z²) or tanh z² bring back the variable that is pulled out.
        let refuses = |f: &Expr| {
            let mut refuses = false;
            f.visit(&mut |e| {
                refuses |= match e {
                    Expr::Apply(Function::Step, _) => true,
                    Expr::Apply(function, x) => {
                        x.as_affine().is_none() && (*function == Function::Exp || has_products(x))
                    }
                    Expr::Power(x, p) => *p < 0.0 && x.as_affine().is_none(),
                    _ => false,
                }
            });
            refuses
        };
        if let Some(at) = factors.iter().position(|f| power(f).is_some())
            && !factors.iter().any(refuses)
        {
            let factor = factors.remove(at);
            let Some(((slopes, constant), x, p)) = power(&factor) else { return Estimate::default() };
            let rest = Expr::product(factors.into_iter().chain([x.clone().power(p - 1.0)]));
            let mean = slopes.iter().map(|&(i, a)| a * self.mean[i]).sum::<f64>() + constant;
            let mut total = if mean == 0.0 { Estimate::default() } else { self.mean_of(&rest).scaled(mean) };
            for j in variables(&rest) {
                let c = self.covariance_of(&slopes, &[(j, 1.0)]);
                if c != 0.0 {
                    total = total.plus(self.mean_of(&rest.derivative(j)).scaled(c));
                }
            }
            return total;
        }
        self.closed(&factors).unwrap_or_else(|| self.integral(&Expr::product(factors)))
    }

    /// Mean and variances of an affine function of the variables.
    fn affine(&self, f: &Expr) -> Option<Affine> {
        let (slopes, constant) = f.as_affine()?;
        let mean = slopes.iter().map(|&(i, a)| a * self.mean[i]).sum::<f64>() + constant;
        Some((slopes, mean))
    }

    fn covariance_of(&self, x: &[(usize, f64)], y: &[(usize, f64)]) -> f64 {
        let row =
            |&(i, a): &(usize, f64)| y.iter().map(|&(j, b)| a * b * self.covariance[[i, j]]).sum::<f64>();
        x.iter().map(row).sum()
    }

    /// The means of pairs that have a closed form: ReLU, step and erf of variables with mean 0.
    fn closed(&self, factors: &[Expr]) -> Option<Estimate> {
        let part = |f: &Expr| match f {
            Expr::Apply(function, x) => {
                let (slopes, mean) = self.affine(x)?;
                (mean == 0.0).then_some((*function, slopes))
            }
            _ => None,
        };
        let square = |f: &Expr| match f {
            Expr::Power(x, 2.0) => part(x),
            _ => None,
        };
        let ((f, x), (g, y)) = match factors {
            [a, b] => (part(a)?, part(b)?),
            [a] => (square(a)?, square(a)?),
            _ => return None,
        };
        let (phi, slope) = match (f, g) {
            (Function::Relu, Function::Relu) => (Activation::Relu, false),
            (Function::Step, Function::Step) => (Activation::Relu, true),
            (Function::Erf, Function::Erf) => (Activation::ERF, false),
            _ => return None,
        };
        let (a, b, c) = (self.covariance_of(&x, &x), self.covariance_of(&y, &y), self.covariance_of(&x, &y));
        let bound = (a * b).sqrt();
        let pair = dual(&phi, Cov2::new(a, b, c.clamp(-bound, bound)).ok()?).ok()?;
        Some(Estimate::exact(if slope { pair.slope } else { pair.value }))
    }

    /// E by quadrature over the affine functions of the variables that F is a function of.
    fn integral(&self, f: &Expr) -> Estimate {
        let mut forms = Vec::new();
        let f = of_forms(f, &mut forms);
        let slopes: Vec<&[(usize, f64)]> = forms.iter().map(|(slopes, _)| slopes.as_slice()).collect();
        let n = forms.len();
        let covariance = Array2::from_shape_fn((n, n), |(i, j)| self.covariance_of(slopes[i], slopes[j]));
        let mean = |(slopes, constant): &Affine| {
            slopes.iter().map(|&(i, a)| a * self.mean[i]).sum::<f64>() + constant
        };
        let mean: Vec<f64> = forms.iter().map(mean).collect();
        quadrature::mean(&f, &mean, &gaussian::factor(&covariance))
    }
}

/// Slopes and constant.
type Affine = (Vec<(usize, f64)>, f64);

/// An affine function of the variables to a power, if that is what F is.
fn power(f: &Expr) -> Option<(Affine, &Expr, f64)> {
    match f {
        Expr::Power(x, p) if p.fract() == 0.0 && (1.0..=16.0).contains(p) => Some((x.as_affine()?, x, *p)),
        f => Some((f.as_affine()?, f, 1.0)),
    }
}

/// Whether a derivative may have factors that are variables.
fn has_products(f: &Expr) -> bool {
    let mut has = false;
    f.visit(&mut |e| {
        has |= match e {
            Expr::Power(..) => true,
            Expr::Product(factors) => factors.iter().filter(|f| !matches!(f, Expr::Constant(_))).count() > 1,
            _ => false,
        }
    });
    has
}

/// F as a function of its largest affine parts, which are collected.
fn of_forms(f: &Expr, forms: &mut Vec<Affine>) -> Expr {
    match f {
        Expr::Constant(_) | Expr::Param(_) => return f.clone(),
        _ => {}
    }
    if let Some(mut form) = f.as_affine() {
        form.0.sort_unstable_by_key(|(i, _)| *i);
        let at = forms.iter().position(|other| *other == form).unwrap_or_else(|| {
            forms.push(form);
            forms.len() - 1
        });
        return Expr::arg(at);
    }
    match f {
        Expr::Sum(terms) => Expr::sum(terms.iter().map(|term| of_forms(term, forms)).collect::<Vec<_>>()),
        Expr::Product(all) => Expr::product(all.iter().map(|x| of_forms(x, forms)).collect::<Vec<_>>()),
        Expr::Power(x, p) => of_forms(x, forms).power(*p),
        Expr::Apply(function, x) => Expr::apply(*function, of_forms(x, forms)),
        _ => f.clone(),
    }
}

/// The arguments an expression reads.
fn variables(f: &Expr) -> Vec<usize> {
    let mut all = Vec::new();
    f.visit(&mut |e| {
        if let Expr::Arg(i) = e {
            all.push(*i);
        }
    });
    all.sort_unstable();
    all.dedup();
    all
}

/// A constant times factors.
#[derive(Clone)]
struct Term {
    constant: f64,
    factors: Vec<Expr>,
}

/// An expression as a sum of products; none if there would be too many.
fn expand(f: &Expr, most: usize) -> Option<Vec<Term>> {
    let one = |factor: &Expr| Some(vec![Term { constant: 1.0, factors: vec![factor.clone()] }]);
    match f {
        Expr::Constant(c) => Some(vec![Term { constant: *c, factors: Vec::new() }]),
        // A Gaussian variable like any other.
        f if f.as_affine().is_some() => one(f),
        Expr::Sum(terms) => {
            let mut all = Vec::new();
            for term in terms {
                all.extend(expand(term, most)?);
                if all.len() > most {
                    return None;
                }
            }
            Some(all)
        }
        Expr::Product(factors) => {
            let mut all = vec![Term { constant: 1.0, factors: Vec::new() }];
            for factor in factors {
                let next = expand(factor, most)?;
                if all.len() * next.len() > most {
                    return None;
                }
                let times = |a: &Term| {
                    next.iter()
                        .map(|b| Term {
                            constant: a.constant * b.constant,
                            factors: a.factors.iter().chain(&b.factors).cloned().collect(),
                        })
                        .collect::<Vec<_>>()
                };
                all = all.iter().flat_map(times).collect();
            }
            Some(all)
        }
        // Small powers of sums and products.
        Expr::Power(x, p) if p.fract() == 0.0 && (2.0..=8.0).contains(p) => match **x {
            Expr::Sum(_) | Expr::Product(_) => {
                expand(&Expr::Product(vec![(**x).clone(); *p as usize]), most).or_else(|| one(f))
            }
            _ => one(f),
        },
        _ => one(f),
    }
}
