//! Expressions written as formulas: operators in, text out.

use std::fmt;
use std::ops::{Add, Mul, Neg, Sub};

use super::Expr;

impl From<f64> for Expr {
    fn from(c: f64) -> Self {
        Expr::Constant(c)
    }
}

impl<E: Into<Expr>> Add<E> for Expr {
    type Output = Expr;
    fn add(self, other: E) -> Expr {
        Expr::sum([self, other.into()])
    }
}

impl<E: Into<Expr>> Sub<E> for Expr {
    type Output = Expr;
    fn sub(self, other: E) -> Expr {
        Expr::sum([self, -other.into()])
    }
}

impl<E: Into<Expr>> Mul<E> for Expr {
    type Output = Expr;
    fn mul(self, other: E) -> Expr {
        Expr::product([self, other.into()])
    }
}

impl Neg for Expr {
    type Output = Expr;
    fn neg(self) -> Expr {
        Expr::product([Expr::Constant(-1.0), self])
    }
}

impl Add<Expr> for f64 {
    type Output = Expr;
    fn add(self, other: Expr) -> Expr {
        other + self
    }
}

impl Sub<Expr> for f64 {
    type Output = Expr;
    fn sub(self, other: Expr) -> Expr {
        -other + self
    }
}

impl Mul<Expr> for f64 {
    type Output = Expr;
    fn mul(self, other: Expr) -> Expr {
        other * self
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, &|i| format!("x{i}"), &|i| format!("θ{i}"))
    }
}

impl Expr {
    /// Writes it with names for arguments and parameters.
    pub(in crate::program) fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        arg: &dyn Fn(usize) -> String,
        param: &dyn Fn(usize) -> String,
    ) -> fmt::Result {
        let part = |f: &mut fmt::Formatter<'_>, e: &Expr, bind: bool| {
            let loose = match e {
                Expr::Sum(_) => true,
                Expr::Product(_) | Expr::Constant(_) => bind,
                _ => false,
            };
            if loose {
                f.write_str("(")?;
                e.write(f, arg, param)?;
                f.write_str(")")
            } else {
                e.write(f, arg, param)
            }
        };
        match self {
            Expr::Arg(i) => f.write_str(&arg(*i)),
            Expr::Param(i) => f.write_str(&param(*i)),
            Expr::Constant(c) => write!(f, "{c}"),
            Expr::Sum(terms) => {
                for (k, term) in terms.iter().enumerate() {
                    f.write_str(if k > 0 { " + " } else { "" })?;
                    term.write(f, arg, param)?;
                }
                Ok(())
            }
            Expr::Product(factors) => {
                for (k, factor) in factors.iter().enumerate() {
                    f.write_str(if k > 0 { "·" } else { "" })?;
                    part(f, factor, false)?;
                }
                Ok(())
            }
            Expr::Power(x, p) => {
                part(f, x, true)?;
                write!(f, "^{p}")
            }
            Expr::Apply(function, x) => {
                write!(f, "{}(", function.name())?;
                x.write(f, arg, param)?;
                f.write_str(")")
            }
        }
    }
}
