//! What can be said of an expression without evaluating it: how fast it grows, and how it turns with its arguments.

use super::{Expr, Function};

/// How fast a function grows, from the mildest to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Growth {
    /// |f(x)| ≤ C(1 + ‖x‖ᵖ): every theorem applies.
    Polynomial,
    /// |f(x)| ≤ exp(C Σ|xᵢ|^α + c) with α < 2: limits exist where no matrix is transposed.
    Controlled,
    /// No such bound could be shown.
    TooFast,
    /// Unbounded near a point: a negative power or a logarithm of what may vanish.
    Singular,
}

/// How a function depends on some variables v, taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependence {
    /// Not at all.
    Free,
    /// f(−v) = −f(v).
    Odd,
    /// f(−v) = f(v).
    Even,
    /// In no such way.
    Mixed,
}

impl Dependence {
    /// Of a sum.
    pub fn plus(self, other: Self) -> Self {
        use Dependence::{Even, Free, Mixed};
        match (self, other) {
            (a, b) if a == b => a,
            (Free | Even, Free | Even) => Even,
            _ => Mixed,
        }
    }

    /// Of a product.
    pub fn times(self, other: Self) -> Self {
        use Dependence::{Even, Free, Mixed, Odd};
        match (self, other) {
            (Free, x) | (x, Free) => x,
            (Mixed, _) | (_, Mixed) => Mixed,
            (Odd, Odd) | (Even, Even) => Even,
            (Odd, Even) | (Even, Odd) => Odd,
        }
    }

    /// Of a function of it that is odd, even or neither.
    fn through(self, odd: bool, even: bool) -> Self {
        match self {
            Dependence::Odd if odd => Dependence::Odd,
            Dependence::Odd if even => Dependence::Even,
            Dependence::Odd => Dependence::Mixed,
            other => other,
        }
    }
}

/// What is known of the values of an expression.
#[derive(Clone, Copy)]
struct Range {
    below: bool,
    above: bool,
    /// At least 0 everywhere.
    nonnegative: bool,
    /// At least some c > 0 everywhere.
    away: bool,
    /// A power of ‖x‖ that bounds it, where growth is polynomial.
    degree: f64,
    growth: Growth,
}

impl Range {
    const CONSTANT: Range = Range {
        below: true,
        above: true,
        nonnegative: false,
        away: false,
        degree: 0.0,
        growth: Growth::Polynomial,
    };

    fn bounded(self) -> bool {
        self.below && self.above
    }
}

impl Expr {
    /// How fast it grows in its arguments. Scalars count as constants away from 0: their limits are checked when they are
    /// known.
    pub fn growth(&self) -> Growth {
        self.range().growth
    }

    fn range(&self) -> Range {
        match self {
            Expr::Arg(_) => Range { below: false, above: false, degree: 1.0, ..Range::CONSTANT },
            Expr::Param(_) => Range::CONSTANT,
            Expr::Constant(c) => Range { nonnegative: *c >= 0.0, away: *c > 0.0, ..Range::CONSTANT },
            Expr::Sum(terms) => {
                let all: Vec<Range> = terms.iter().map(Expr::range).collect();
                let nonnegative = all.iter().all(|r| r.nonnegative);
                Range {
                    below: all.iter().all(|r| r.below),
                    above: all.iter().all(|r| r.above),
                    nonnegative,
                    away: nonnegative && all.iter().any(|r| r.away),
                    ..worst(&all)
                }
            }
            Expr::Product(factors) => self.range_of_product(factors),
            Expr::Power(x, p) => {
                let inner = x.range();
                let even = p.fract() == 0.0 && p.rem_euclid(2.0) == 0.0;
                let nonnegative = even || inner.nonnegative;
                let parameters = x.arity().0 == 0;
                if *p < 0.0 {
                    let growth = if inner.away || parameters { inner.growth } else { Growth::Singular };
                    let bounded = inner.away || parameters;
                    return Range {
                        below: bounded || nonnegative,
                        above: bounded,
                        nonnegative,
                        away: nonnegative && inner.bounded(),
                        degree: 0.0,
                        growth,
                    };
                }
                Range {
                    below: inner.bounded() || nonnegative,
                    above: inner.bounded(),
                    nonnegative,
                    away: inner.away,
                    degree: inner.degree * p,
                    growth: inner.growth,
                }
            }
            Expr::Apply(f, x) => range_of_function(*f, x.range(), x.arity().0 == 0),
        }
    }

    fn range_of_product(&self, factors: &[Expr]) -> Range {
        let all: Vec<Range> = factors.iter().map(Expr::range).collect();
        let bounded = all.iter().all(|r| r.bounded());
        let nonnegative = all.iter().all(|r| r.nonnegative);
        // A constant turns one bound into the other.
        if let ([Expr::Constant(c), _], [_, inner]) = (factors, &all[..]) {
            let (below, above) = if *c >= 0.0 {
                (inner.below, inner.above)
            } else {
                (inner.above || inner.bounded(), inner.below)
            };
            let (nonnegative, away) = (*c >= 0.0 && inner.nonnegative, *c > 0.0 && inner.away);
            return Range { below, above, nonnegative, away, ..*inner };
        }
        Range {
            below: bounded || nonnegative,
            above: bounded,
            nonnegative,
            away: nonnegative && all.iter().all(|r| r.away),
            degree: all.iter().map(|r| r.degree).sum(),
            growth: worst(&all).growth,
        }
    }

    /// How it depends on variables v that its arguments depend on in these ways.
    pub fn dependence(&self, args: &[Dependence]) -> Dependence {
        match self {
            Expr::Arg(i) => args.get(*i).copied().unwrap_or(Dependence::Mixed),
            Expr::Param(_) | Expr::Constant(_) => Dependence::Free,
            Expr::Sum(terms) => {
                let all = terms.iter().map(|term| term.dependence(args));
                all.reduce(Dependence::plus).unwrap_or(Dependence::Free)
            }
            Expr::Product(factors) => {
                let all = factors.iter().map(|factor| factor.dependence(args));
                all.reduce(Dependence::times).unwrap_or(Dependence::Free)
            }
            Expr::Power(x, p) => {
                let even = p.rem_euclid(2.0) == 0.0;
                x.dependence(args).through(p.fract() == 0.0 && !even, even)
            }
            Expr::Apply(f, x) => {
                let (odd, even) = f.parity();
                x.dependence(args).through(odd, even)
            }
        }
    }
}

/// The largest degree and growth.
fn worst(all: &[Range]) -> Range {
    let degree = all.iter().map(|r| r.degree).fold(0.0, f64::max);
    let growth = all.iter().map(|r| r.growth).max().unwrap_or(Growth::Polynomial);
    Range { degree, growth, ..Range::CONSTANT }
}

fn range_of_function(f: Function, x: Range, parameters: bool) -> Range {
    let bounded = Range { degree: 0.0, growth: x.growth, ..Range::CONSTANT };
    match f {
        Function::Erf | Function::Tanh | Function::Sin | Function::Cos => bounded,
        Function::Step => Range { nonnegative: true, ..bounded },
        Function::Sigmoid => Range { nonnegative: true, away: x.below, ..bounded },
        Function::Relu => Range { below: true, nonnegative: true, away: x.away, ..x },
        Function::Softplus => Range { below: true, nonnegative: true, away: x.below, ..x },
        Function::Exp => Range {
            below: true,
            above: x.above,
            nonnegative: true,
            away: x.below,
            degree: 0.0,
            growth: match x.growth {
                Growth::Polynomial if x.above => Growth::Polynomial,
                Growth::Polynomial if x.degree < 2.0 => Growth::Controlled,
                Growth::Polynomial | Growth::Controlled => Growth::TooFast,
                other => other,
            },
        },
        Function::Ln if x.away || parameters => {
            Range { below: true, above: x.above, nonnegative: false, away: false, ..x }
        }
        Function::Ln => Range {
            below: false,
            above: x.above,
            growth: Growth::Singular,
            nonnegative: false,
            away: false,
            ..x
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_found() {
        let (x, y) = (Expr::arg(0), Expr::arg(1));
        let cases = [
            (x.clone().relu() * y.clone().power(3.0), Growth::Polynomial),
            (x.clone().erf().derivative(0), Growth::Polynomial),
            ((-(x.clone().power(2.0)) * 0.5).exp(), Growth::Polynomial),
            (x.clone().exp(), Growth::Controlled),
            (x.clone().power(2.0).exp(), Growth::TooFast),
            ((x.clone() * y.clone()).exp(), Growth::TooFast),
            (x.clone().exp().exp(), Growth::TooFast),
            (x.clone().power(-1.0), Growth::Singular),
            ((1.0 + x.clone().power(2.0)).power(-0.5), Growth::Polynomial),
            (x.clone() * Expr::param(0).power(-0.5), Growth::Polynomial),
            (Expr::apply(Function::Ln, 1.0 + x.clone().power(2.0)), Growth::Polynomial),
            ((x.clone().power(2.0) + y.power(2.0)).power(0.5).derivative(0), Growth::Singular),
            (x.tanh().exp(), Growth::Polynomial),
        ];
        for (f, growth) in cases {
            assert_eq!(f.growth(), growth, "{f}");
        }
    }

    #[test]
    fn dependence_is_a_lattice() {
        use Dependence::{Even, Free, Mixed, Odd};
        let all = [Free, Odd, Even, Mixed];
        for a in all {
            assert_eq!(a.plus(a), a);
            for b in all {
                assert_eq!(a.plus(b), b.plus(a));
                assert_eq!(a.times(b), b.times(a));
                for c in all {
                    assert_eq!(a.plus(b).plus(c), a.plus(b.plus(c)));
                    assert_eq!(a.times(b).times(c), a.times(b.times(c)));
                }
            }
        }
        let (v, x) = (Expr::arg(0), Expr::arg(1));
        let with = [Odd, Free];
        assert_eq!((v.clone() * x.clone().relu()).dependence(&with), Odd);
        assert_eq!((v.clone().power(2.0) + x.clone()).dependence(&with), Even);
        assert_eq!(v.clone().relu().dependence(&with), Mixed);
        assert_eq!((v.clone() + x.clone()).dependence(&with), Mixed);
        assert_eq!((v.tanh() * x.exp()).dependence(&with), Odd);
    }
}
